"""Compare a candidate with a golden, tap by tap, in units of measured noise."""

import fnmatch
from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..candidate.candidate import SCALARS, Candidate
from ..record.bundle import Bundle
from ..replay.metrics import first_bad_row, grade_of
from ..replay.rows import rows_of
from .excluded import not_excluded
from .logits import compare_greedy, compare_logits
from .scalars import compare_scalar
from .verdict import Report, TapVerdict

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
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
        if np.array_equal(single, array) and not (single.view(np.uint32) & 0xFFFF).any():
            return "all its values are bfloat16: was that to be declared?"
        half = np.array_equal(array, array.astype(np.float16).astype(array.dtype))
    return "all its values are float16: was that to be declared?" if half else ""


def compare_tap(
    golden: Bundle, tap: str, got: np.ndarray, rows: Sequence[int], dtype: str
) -> TapVerdict:
    """Judge some rows of one tap."""
    schedule = golden.schedule
    want = rows_of(tap, golden.values[tap], rows)
    wrong = wrong_before_values(tap, got, want, dtype)
    if wrong is not None:
        return wrong
    error, floor = golden.worst_group(tap, got, rows, dtype)
    verdict = grade_of(error / floor)
    difference = np.abs(np.asarray(got, np.float64) - want)
    worst = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
    there = slice(worst[-1], worst[-1] + 3)
    bad = None
    if verdict != "ok":
        floors = golden.group_floors(tap, dtype)
        of_rows = [floors[schedule.group(row)] for row in rows]
        bad = rows[first_bad_row(tap, got, want, of_rows)]
    return TapVerdict(
        tap,
        verdict,
        error,
        floor,
        max_abs=float(difference.max()),
        worst=worst,
        got=tuple(got[worst[:-1]][there].tolist()),
        expected=tuple(want[worst[:-1]][there].tolist()),
        first_bad_row=bad,
        phase=None if bad is None else schedule.phase(bad),
        detail="" if verdict == "ok" else narrower_than_declared(got, dtype),
    )


def expand_required(golden: Bundle, patterns: Sequence[str]) -> tuple[str, ...]:
    """The taps (or "greedy") that patterns stand for. Raises InputError for one that fits none."""
    names = [*golden.values, "greedy"]
    expanded: dict[str, None] = {}
    for pattern in patterns:
        fitting = fnmatch.filter(list(golden.values), "*" if pattern == "all" else pattern)
        fitting = fitting or fnmatch.filter(names, pattern)
        if not fitting:
            raise InputError(f"required is {pattern!r}, but the golden has no such tap")
        expanded.update(dict.fromkeys(fitting))
    return tuple(expanded)


@np.errstate(invalid="ignore")  # of a damaged golden, which is not finite: it diverges
def compare(golden: Bundle, candidate: Candidate, required: Sequence[str] = ("logits",)) -> Report:
    """Judge a normalised candidate against a golden, at the dtype that it declares.

    required: patterns of the taps, or "greedy", without which nothing is passed. Raises InputError
    for required taps that the golden does not have.
    """
    values, rows, dtype = candidate.values, candidate.rows, candidate.dtype
    taps = {
        tap: compare_tap(golden, tap, values[tap], rows[tap], dtype)
        if tap in values
        else TapVerdict(tap, "missing")
        for tap in golden.values
    }
    scalars = [
        compare_scalar(golden, tap, part, given, dtype)
        for tap in golden.values
        for part, given in candidate.scalars.get(tap, {}).items()
        if part in SCALARS
    ]
    logits = None
    if "logits" in taps and taps["logits"].error is not None:
        logits = compare_logits(golden, values["logits"], rows["logits"], dtype)
    greedy = candidate.greedy
    given = dict.fromkeys((*values, *candidate.scalars))
    needed = expand_required(golden, required)
    return Report(
        dtype=dtype,
        taps=tuple(taps.values()),
        scalars=tuple(scalars),
        logits=logits,
        greedy=None if greedy is None else compare_greedy(golden, greedy, dtype),
        unknown=tuple(name for name in given if name not in golden.values),
        notes=(*candidate.notes, *filter(None, [golden.remark])),
        required=needed,
        judgeable=all(  # ids are chosen from logits
            golden.judgeable(dtype, "logits" if name == "greedy" else name) for name in needed
        ),
        not_excluded=not_excluded(golden, candidate, dtype),
    )
