"""Golden outputs: what a correct Llama gives, and what is wrong with one that does not give it.

golden = record(model, prompt_ids)      a golden; golden.save(directory), load(directory)
report = check(golden, candidate)       right, or where it is wrong, and which known mistake it is
print(as_text(report))
"""

from .candidate.candidate import Candidate
from .check import check
from .compare.verdict import Diagnosis, Report
from .faults import CATALOGUE, CHOICES, Fault
from .record.bundle import Bundle, load
from .record.record import record
from .record.reference import load_reference
from .replay.replay import run
from .replay.schedule import Schedule
from .report.text import as_text

__all__ = [
    "CATALOGUE",
    "CHOICES",
    "Bundle",
    "Candidate",
    "Diagnosis",
    "Fault",
    "Report",
    "Schedule",
    "as_text",
    "check",
    "load",
    "load_reference",
    "record",
    "run",
]
