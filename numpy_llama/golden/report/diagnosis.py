"""The part of the report that names the mistake: which, how it is mended, what was ruled out."""

from ..compare.verdict import Diagnosis, Suspect
from ..faults import CATALOGUE
from ..replay.metrics import floors


def names_of(suspect: Suspect) -> str:
    """What it is called: "norm-eps-1e-6, in the final norm only"."""
    return ", ".join(filter(None, [" + ".join(suspect.faults), suspect.place]))


def about_suspect(suspect: Suspect) -> list[str]:
    """What was done, and what to do instead."""
    lines = []
    for fault in (CATALOGUE[id] for id in suspect.faults):
        where = f", {suspect.place}" if suspect.place else ""
        lines.append(f"  {fault.id}{where}: {fault.sentence}")
        lines.append(f"    it computes  {fault.mathematics}")
        lines.append(f"    fix          {fault.fix}")
    left = f"{floors(suspect.residual)} floors, at {suspect.tap}"
    return [*lines, f"    evidence     a model with it differs from yours by at most {left}"]


def diagnosis_title(diagnosis: Diagnosis) -> str:
    """The outcome in one line."""
    at = f" at {diagnosis.stage}" if diagnosis.stage else ""
    best = diagnosis.suspects[0] if diagnosis.suspects else None
    if best and diagnosis.outcome == "named":
        harmless = all(CATALOGUE[id].harmless for id in best.faults)
        return f"DIAGNOSIS: {names_of(best)}" + (" (harmless)" if harmless else "")
    if best:
        return f"DIAGNOSIS: one of {len(diagnosis.suspects)}, which this evidence cannot tell apart"
    return f"UNEXPLAINED{at}: none of {diagnosis.tried} known mistakes gives these values"


def about_diagnosis(diagnosis: Diagnosis) -> list[str]:
    """The mistake that was found, how sure that is, and what was ruled out."""
    if diagnosis.outcome == "correct":
        return []
    lines = ["", diagnosis_title(diagnosis)]
    for suspect in diagnosis.suspects:
        lines += about_suspect(suspect)
    other = diagnosis.runner_up
    if other is not None:
        what = "runner-up" if diagnosis.suspects else "the nearest"
        lines.append(f"    {what:<12} {names_of(other)}: {floors(other.residual)} floors off")
    if diagnosis.suspects:
        lines.append(f"    tried        {diagnosis.tried} mistakes")
    return [*lines, *([f"    {diagnosis.detail}"] if diagnosis.detail else [])]
