"""The part of the report that names the mistake: which, how it is mended, what was ruled out."""

from ..compare.verdict import Diagnosis, Suspect
from ..faults import CHOICES, KNOWN
from ..replay.metrics import floors


def names_of(suspect: Suspect) -> str:
    return " + ".join(suspect.faults)


def about_suspect(suspect: Suspect) -> list[str]:
    """What was done, and what to do instead."""
    lines = []
    for fault in (KNOWN[id] for id in suspect.faults):
        lines += [f"  {fault.id}: {fault.sentence}", f"    it computes  {fault.mathematics}"]
        lines.append(f"    fix          {fault.fix}")
    left = f"{floors(suspect.residual)} floors, at {suspect.tap}"
    return [*lines, f"    evidence     a model with it differs from yours by at most {left}"]


def is_choice(suspect: Suspect) -> bool:
    """Whether no mistake is among what a suspect has."""
    return CHOICES.keys() >= set(suspect.faults)


def diagnosis_title(diagnosis: Diagnosis) -> str:
    """The outcome in one line."""
    at = f" at {diagnosis.stage}" if diagnosis.stage else ""
    best = diagnosis.suspects[0] if diagnosis.suspects else None
    if best and diagnosis.outcome == "named":
        harmless = all(KNOWN[id].harmless for id in best.faults)
        title = "CHOICE" if is_choice(best) else "DIAGNOSIS"
        return f"{title}: {names_of(best)}" + (" (harmless)" if harmless else "")
    if best:
        title = "CHOICE" if all(map(is_choice, diagnosis.suspects)) else "DIAGNOSIS"
        return f"{title}: one of {len(diagnosis.suspects)}, which this evidence cannot tell apart"
    return (
        f"UNEXPLAINED{at}: none of {diagnosis.tried} known mistakes and choices gives these values"
    )


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
        lines.append(f"    tried        {diagnosis.tried} mistakes and choices")
    return [*lines, *([f"    {diagnosis.detail}"] if diagnosis.detail else [])]
