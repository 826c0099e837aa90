"""What a verdict of PASSED does not exclude: mistakes that this dtype hides in what was given."""

from collections.abc import Collection, Mapping

from ..candidate.candidate import Candidate
from ..faults import CATALOGUE
from ..record.bundle import Bundle
from ..record.fields import Detection
from ..replay.metrics import DIVERGENT
from .verdict import NotExcluded


def hidden(detection: Detection, whole: Collection[str]) -> float | None:
    """How many floors a fault shows at most, where that is too few; None if it would be seen.

    A tap that was not given shows nothing. Of those between, only the first and the logits are
    known: what may be seen in another is still counted as hidden.
    """
    if detection.visible and detection.tap in whole:
        return None
    if "logits" not in whole:
        return 0.0 if detection.visible else detection.ratio
    logits = detection.logits if detection.logits is not None else detection.ratio
    return logits if logits <= DIVERGENT else None


def measured(of: Mapping[str, Mapping[str, Detection]], dtype: str, whole: Collection[str]) -> bool:
    """Whether a golden says enough: an older one does not know what shows in the logits alone."""
    found = [detections[dtype] for detections in of.values() if dtype in detections]
    known = all(d.logits is not None or not d.visible or d.tap in whole for d in found)
    return len(found) == len(of) > 0 and known


def not_excluded(
    golden: Bundle, candidate: Candidate, dtype: str
) -> tuple[NotExcluded, ...] | None:
    """The known mistakes that what was given cannot exclude at a dtype, the largest first.

    None where that was not measured: without detectability, of an older golden, or where not all
    rows of a tap were given. What does no harm is not among them.
    """
    T = len(golden.schedule.tokens)
    whole = {tap for tap in golden.values if len(candidate.rows.get(tap, ())) == T}
    if not whole or whole != golden.values.keys() & candidate.values.keys():
        return None
    if not measured(golden.detectability, dtype, whole):
        return None
    found = []
    for fault, detections in golden.detectability.items():
        ratio = hidden(detections[dtype], whole)
        harmless = fault in CATALOGUE and CATALOGUE[fault].harmless
        if ratio is not None and not harmless:
            found.append(NotExcluded(fault, ratio))
    return tuple(sorted(found, key=lambda one: -one.ratio))
