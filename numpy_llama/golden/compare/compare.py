"""Judge a candidate against a golden, tap by tap, in units of measured noise."""

import fnmatch
from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..candidate.candidate import Candidate
from ..candidate.normalise import given_rows, golden_rows, recognise
from ..record.bundle import Bundle
from ..replay.metrics import DIVERGENT, grade_of, relative_rms, row_errors, tap_error
from ..replay.precision import check_dtype, round_to_bfloat16
from ..replay.schedule import Phase
from .logits import judge_greedy, judge_logits
from .scalars import PARTS, judge_scalar
from .verdict import (
    Diagnosis,
    Flip,
    GreedyVerdict,
    Isolated,
    LogitsVerdict,
    Report,
    Suspect,
    TapVerdict,
)

__all__ = [
    "Candidate",
    "Diagnosis",
    "Flip",
    "GreedyVerdict",
    "Isolated",
    "LogitsVerdict",
    "Report",
    "Suspect",
    "TapVerdict",
    "compare",
    "judge",
]

# NumPy's dtypes that can hold what a candidate of a dtype computes. bfloat16 comes as float32.
WIDE_ENOUGH = {"float64": 8, "float32": 4, "bfloat16": 4, "float16": 2}


def wrong_before_values(
    tap: str, array: np.ndarray, golden: np.ndarray, dtype: str
) -> TapVerdict | None:
    """The verdict on an array whose values need not be looked at, or cannot be."""
    if array.dtype.kind != "f":
        return TapVerdict(tap, "wrong dtype", detail=f"is {array.dtype}, not a kind of float")
    if array.dtype.itemsize < WIDE_ENOUGH[dtype]:
        return TapVerdict(tap, "wrong dtype", detail=f"is {array.dtype}, declared is {dtype}")
    if array.shape != golden.shape:
        return TapVerdict(tap, "wrong shape", detail=f"is {array.shape}, golden is {golden.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        detail = f"{int(bad.sum())} of {bad.size} values, the first at {where}"
        return TapVerdict(tap, "not finite", worst=where, detail=detail)
    return None


def narrower_than_declared(array: np.ndarray, dtype: str) -> str:
    """A hint, where all values could be of a narrower format than what was declared."""
    if dtype not in ("float32", "float64"):
        return ""
    if np.array_equal(array, round_to_bfloat16(array)):
        return "all its values are bfloat16: was that to be declared?"
    with np.errstate(over="ignore"):
        half = np.array_equal(array, array.astype(np.float16).astype(array.dtype))
    return "all its values are float16: was that to be declared?" if half else ""


def first_bad_row(tap: str, got: np.ndarray, golden: np.ndarray, floor: float) -> int:
    """The first row whose own error is above noise; failing that, the worst row."""
    errors = row_errors(tap, got, golden)
    bad = np.flatnonzero(errors > DIVERGENT * floor)
    return int(bad[0]) if len(bad) else int(errors.argmax())


def judge_tap(bundle: Bundle, candidate: Candidate, tap: str, dtype: str) -> TapVerdict:
    """Judge one tap of a candidate that `recognise` has been over."""
    if tap not in candidate.values:
        return TapVerdict(tap, "missing")
    got = np.asarray(candidate.values[tap])
    rows = given_rows(bundle, candidate, tap)
    golden = golden_rows(bundle, tap, rows)
    wrong = wrong_before_values(tap, got, golden, dtype)
    if wrong is not None:
        return wrong
    whole = len(rows) == len(bundle.schedule.tokens)
    error = tap_error(tap, got, golden, bundle.schedule) if whole else relative_rms(got, golden)
    floor = bundle.floor(tap, dtype)
    verdict = grade_of(error / floor)
    difference = np.abs(np.asarray(got, np.float64) - golden)
    worst = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
    row: int | None = None
    phase: Phase | None = None
    if verdict != "ok":
        row = rows[first_bad_row(tap, got, golden, floor)]
        phase = bundle.schedule.phase(row)
    detail = "" if verdict == "ok" else narrower_than_declared(got, dtype)
    largest = float(difference.max())
    return TapVerdict(tap, verdict, error, floor, largest, worst, row, phase, detail=detail)


def check_rows(bundle: Bundle, candidate: Candidate) -> None:
    """Raise InputError for rows that the golden does not have."""
    T = len(bundle.schedule.tokens)
    for tap, rows in candidate.rows.items():
        wrong = [row for row in rows if not 0 <= row < T]
        if wrong:
            raise InputError(
                f"{tap}: row {wrong[0]} is not in the golden, which has rows 0 … {T - 1}"
            )


def expand_required(bundle: Bundle, patterns: Sequence[str]) -> tuple[str, ...]:
    """The taps (or "greedy") that patterns stand for. Raises InputError for one that fits none."""
    names = [*bundle.values, "greedy"]
    expanded: dict[str, None] = {}
    for pattern in patterns:
        fitting = fnmatch.filter(list(bundle.values), "*" if pattern == "all" else pattern)
        fitting = fitting or fnmatch.filter(names, pattern)
        if not fitting:
            raise InputError(f"required is {pattern!r}, but the golden has no such tap")
        expanded.update(dict.fromkeys(fitting))
    return tuple(expanded)


def judge(bundle: Bundle, candidate: Candidate, dtype: str, required: Sequence[str]) -> Report:
    """Judge a candidate that `recognise` has been over."""
    taps = [judge_tap(bundle, candidate, tap, dtype) for tap in bundle.values]
    scalars = [
        judge_scalar(bundle, tap, part, given, dtype)
        for tap in bundle.values
        for part, given in candidate.scalars.get(tap, {}).items()
        if part in PARTS
    ]
    logits = None
    verdict = next((tap for tap in taps if tap.tap == "logits"), None)
    if verdict is not None and verdict.error is not None:
        rows = given_rows(bundle, candidate, "logits")
        logits = judge_logits(bundle, candidate.values["logits"], rows, dtype)
    greedy = None if candidate.greedy is None else judge_greedy(bundle, candidate.greedy, dtype)
    given = (*candidate.values, *candidate.scalars)
    return Report(
        dtype=dtype,
        taps=tuple(taps),
        scalars=tuple(scalars),
        logits=logits,
        greedy=greedy,
        unknown=tuple(dict.fromkeys(name for name in given if name not in bundle.values)),
        notes=candidate.notes,
        required=expand_required(bundle, required),
    )


def compare(
    bundle: Bundle,
    candidate: Candidate,
    dtype: str | None = None,
    required: Sequence[str] = ("logits",),
) -> Report:
    """Judge a candidate against a golden.

    dtype: what the candidate computed in (default: what it declares); its floors are the measure.
    required: patterns of the taps, or "greedy", without which nothing is passed. Raises InputError
    for an unknown dtype, and for rows or required taps that the golden does not have.
    """
    dtype = check_dtype(dtype or candidate.dtype)
    check_rows(bundle, candidate)
    return judge(bundle, recognise(bundle, candidate, dtype), dtype, required)
