"""Golden outputs: what a correct Llama gives, and what is wrong with one that does not give it.

bundle = record(model, prompt_ids)              a golden; bundle.save(directory), load(directory)
report = compare(bundle, candidate)             right, or not: report.summary, report.taps
report = diagnose(bundle, candidate, model)     and which known mistake: report.diagnosis
"""

from .bundle import Bundle, load
from .compare import compare
from .diagnose import diagnose
from .faults import CATALOGUE, Fault
from .record import record
from .reference import load_reference
from .run import Schedule, run
from .verdict import Candidate, Diagnosis, Report

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
