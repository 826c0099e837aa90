"""One judgement as users want it: compared, and if it diverged, diagnosed if that can be done."""

import dataclasses
from collections.abc import Sequence

from ..errors import LlamaError
from .compare.compare import compare
from .compare.verdict import Candidate, Report
from .diagnose.diagnose import diagnose
from .progress import Progress, no_progress
from .record.bundle import Bundle
from .record.reference import load_reference


def judge(
    bundle: Bundle,
    candidate: Candidate,
    required: Sequence[str] = ("logits",),
    model: str | None = None,
    deep: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Compare a candidate with a golden, and look for the mistake if it diverged.

    The mistake is found with the golden's model: `model`, or what it was recorded from. Where that
    is not there any more the report says so; a `model` that is another raises InputError.
    """
    report = compare(bundle, candidate, required=required)
    if report.summary != "diverged":
        return report
    try:
        reference = load_reference(bundle, model)
    except LlamaError as error:
        if model is not None:
            raise
        note = f"without a diagnosis, for which the golden's model is needed: {error}"
        return dataclasses.replace(report, notes=(*report.notes, note))
    return diagnose(bundle, candidate, reference, required=required, deep=deep, progress=progress)
