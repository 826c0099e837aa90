"""The part of the report that names the mistake: which, how it is mended, what was ruled out."""

import math

from ..compare.verdict import Diagnosis, Suspect
from ..faults import CHOICES, KNOWN
from ..faults.parameter import PARAMETERS
from ..replay.metrics import floors

SYMBOLS = {parameter.fault.id: parameter.symbol for parameter in PARAMETERS}


def number(value: float) -> str:
    """A number that was estimated: 10,000, 1e-06, 0.125; four digits of it."""
    return f"{float(f'{value:.4g}'):,g}"


def about_value(suspect: Suspect) -> str:
    """Of a wrong number, which it is: "your θ is about 10,000 (should be 500,000)"."""
    if suspect.value is None or suspect.should_be is None:
        return ""
    right = f" (should be {number(suspect.should_be)})" if math.isfinite(suspect.should_be) else ""
    return f"your {SYMBOLS[suspect.faults[0]]} is about {number(suspect.value)}{right}"


def names_of(suspect: Suspect) -> str:
    """What it is called: "norm-eps-1e-6, in the final norm only"."""
    return ", ".join(
        filter(None, [" + ".join(suspect.faults), suspect.place, about_value(suspect)])
    )


def about_suspect(suspect: Suspect) -> list[str]:
    """What was done, and what to do instead."""
    lines = []
    for fault in (KNOWN[id] for id in suspect.faults):
        where = f", {suspect.place}" if suspect.place else ""
        value = f" {about_value(suspect).capitalize()}." if suspect.value is not None else ""
        lines.append(f"  {fault.id}{where}: {fault.sentence}{value}")
        lines.append(f"    it computes  {fault.mathematics}")
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
    if diagnosis.evidence:
        lines.append(f"    rows         {diagnosis.evidence}")
    for suspect in diagnosis.suspects:
        lines += about_suspect(suspect)
    other = diagnosis.runner_up
    if other is not None:
        what = "runner-up" if diagnosis.suspects else "the nearest"
        lines.append(f"    {what:<12} {names_of(other)}: {floors(other.residual)} floors off")
    if diagnosis.suspects:
        lines.append(f"    tried        {diagnosis.tried} mistakes and choices")
    return [*lines, *([f"    {diagnosis.detail}"] if diagnosis.detail else [])]
