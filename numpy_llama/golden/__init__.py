"""Golden outputs: what a correct Llama gives, and what is wrong with one that does not give it.

bundle = record(model, prompt_ids)              a golden; bundle.save(directory), load(directory)
report = compare(bundle, candidate)             right, or not: report.summary, report.taps
report = diagnose(bundle, candidate, model)     and which known mistake: report.diagnosis
"""

from .candidate.candidate import Candidate
from .compare.compare import compare
from .compare.verdict import Diagnosis, Report
from .diagnose.diagnose import diagnose
from .faults import CATALOGUE, Fault
from .record.bundle import Bundle, load
from .record.record import record
from .record.reference import load_reference
from .replay.replay import run
from .replay.schedule import Schedule

__all__ = [
    "CATALOGUE",
    "Bundle",
    "Candidate",
    "Diagnosis",
    "Fault",
    "Report",
    "Schedule",
    "compare",
    "diagnose",
    "load",
    "load_reference",
    "record",
    "run",
]
