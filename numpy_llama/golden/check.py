"""One judgement, from what another program left to the report: the way through the rooms.

read → normalise → compare → diagnose what diverged → report
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, LlamaError
from ..loading.weights import in_arrays
from ..model import Llama
from ..wording import did_you_mean
from .candidate.candidate import Candidate
from .candidate.normalise import normalise
from .candidate.read import read_candidate
from .compare.compare import compare
from .compare.verdict import Diagnosis, Report
from .diagnose.diagnose import diagnose
from .faults import CHOICES
from .progress import Progress, no_progress
from .record.bundle import Bundle, load
from .record.reference import load_reference
from .replay.precision import check_dtype


def find_reference(golden: Bundle, model: Llama | str | Path | None) -> Llama | str:
    """The golden's model; where it is not there any more, a note that says so.

    Raises LlamaError where `model` is named and is not there, or is another.
    """
    if isinstance(model, Llama):
        return in_arrays(model)
    try:
        return load_reference(golden, None if model is None else str(model))
    except LlamaError as error:
        if model is not None:
            raise
        return f"without a diagnosis, for which the golden's model is needed: {error}"


def check_allowed(allow: Sequence[str]) -> tuple[str, ...]:
    """The ids themselves. Raises InputError for one that is no choice."""
    for id in allow:
        if id not in CHOICES:
            near = did_you_mean(id, CHOICES) or f": there are {', '.join(CHOICES)}"
            raise InputError(f"{id!r} is no choice{near}")
    return tuple(allow)


def check(
    golden: Bundle | str | Path,
    candidate: Candidate | str | Path | Mapping[str, Any],
    dtype: str | None = None,
    names: str | None = None,
    required: Sequence[str] = ("logits",),
    model: Llama | str | Path | None = None,
    name_mistakes: bool = True,
    deep: bool = False,
    progress: Progress = no_progress,
    allow: Sequence[str] = (),
    jobs: int = 1,
    pads: int = 0,
) -> Report:
    """Judge what another program gave, and if it diverged, say where and by which mistake.

    golden: as loaded, or its directory. candidate: a file or a directory, arrays by name, or a
    Candidate. dtype: what it computed in (default: as it is stored or declared). names: what it
    calls the taps; see candidate/names.py. required: patterns of the taps, or "greedy", without
    which nothing is passed. model: the golden's (default: where it was recorded from). deep: also
    try every pair of faults. allow: ids of CHOICES that were declared: a candidate that they
    explain passes. jobs: how many runs with mistakes at once, in threads: as many as are left by
    those of the linear algebra. pads: how many tokens the candidate was given before the golden's,
    and masked: their rows may be there, and are not judged. Raises InputError or CheckpointError
    for what cannot be judged.
    """
    allowed = check_allowed(allow)
    if not isinstance(golden, Bundle):
        golden = load(Path(golden))
    if not isinstance(candidate, Candidate):
        candidate = read_candidate(candidate, golden.config.n_layers, dtype, names)
    candidate = dataclasses.replace(candidate, dtype=check_dtype(dtype or candidate.dtype))
    candidate = normalise(golden, candidate, pads)
    report = dataclasses.replace(compare(golden, candidate, required), allowed=allowed)
    if name_mistakes and report.summary == "passed":
        return dataclasses.replace(report, diagnosis=Diagnosis("correct"))
    if report.summary != "diverged" or not (name_mistakes or allowed):
        return report
    reference = find_reference(golden, model)
    if isinstance(reference, str):
        return dataclasses.replace(report, notes=(*report.notes, reference))
    found = diagnose(golden, candidate, report, reference, deep, progress, name_mistakes, jobs)
    return found if name_mistakes or found.chosen else report
