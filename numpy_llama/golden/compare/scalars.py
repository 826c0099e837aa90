"""Judge a tap by a few numbers of it, from devices that can print no more."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from ..record.bundle import Bundle
from ..replay.metrics import grade_of
from ..replay.precision import UNIT_ROUNDOFF
from .verdict import TapVerdict

# What is known of a tap: the golden's, and a number or a list that should be of it.
Part = Callable[[np.ndarray, float | list[float]], float]


def values_error(golden: np.ndarray, got: np.ndarray) -> float:
    """The RMS error of some values, relative to the RMS of the whole tap."""
    size = math.sqrt(float(np.mean(np.square(golden, dtype=np.float64))))
    if not size or not len(got):
        return math.inf
    with np.errstate(over="ignore"):  # infinitely far off is what it is
        return math.sqrt(float(np.mean(np.square(got)))) / size


def first_error(golden: np.ndarray, given: float | list[float]) -> float:
    values = np.atleast_1d(np.asarray(given, np.float64))
    flat = golden.reshape(-1)[: len(values)]
    return values_error(golden, values - flat) if len(flat) == len(values) else math.inf


def last_error(golden: np.ndarray, given: float | list[float]) -> float:
    values = np.atleast_1d(np.asarray(given, np.float64))
    flat = golden.reshape(-1)[-len(values) :]
    return values_error(golden, values - flat) if len(flat) == len(values) else math.inf


def sum_error(golden: np.ndarray, given: float | list[float]) -> float:
    """The error of a sum, relative to what independent errors of size 1 would make of it.

    Errors of relative size ε in n values change their sum by about ε √(Σ x²). Adding them up in
    float32 has an error of its own, which is allowed for: one rounding for each value.
    """
    wide = np.asarray(golden, np.float64)
    wrong = abs(float(np.asarray(given, np.float64).reshape(())) - float(wide.sum()))
    adding = UNIT_ROUNDOFF["float32"] * float(np.abs(wide).sum())
    size = math.sqrt(float(np.vdot(wide, wide)))
    return max(wrong - adding, 0.0) / size if size else math.inf


def mean_error(golden: np.ndarray, given: float | list[float]) -> float:
    return sum_error(golden, float(np.asarray(given, np.float64).reshape(())) * golden.size)


PARTS: Mapping[str, Part] = {
    "sum": sum_error,
    "mean": mean_error,
    "first": first_error,
    "last": last_error,
}


def compare_scalar(
    bundle: Bundle, tap: str, part: str, given: float | list[float], dtype: str
) -> TapVerdict:
    """Judge one number, or a few, of a tap."""
    floor = bundle.floor(tap, dtype)
    try:
        finite = bool(np.isfinite(np.asarray(given, np.float64)).all())
        error = PARTS[part](bundle.values[tap], given) if finite else math.inf
    except (TypeError, ValueError):
        return TapVerdict(tap, "wrong shape", part=part, detail="is not a number, or not one")
    if not finite:
        return TapVerdict(tap, "not finite", part=part)
    return TapVerdict(tap, grade_of(error / floor), error, floor, part=part)
