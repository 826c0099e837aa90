"""How errors are measured, judged and written: in one way, for all who need it."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from .precision import UNIT_ROUNDOFF
from .rows import row_axis, rows_of
from .schedule import Schedule

# How many floors an error may be: up to the first it is noise, above the second it is not.
SUSPICIOUS, DIVERGENT = 3.0, 10.0
CLEARLY = 0.5  # of two readings, the one whose error is below this share of the other's is right

Groups = tuple[float, ...]  # a number for each group of rows of a schedule
Cell = tuple[str, int]  # a tap, and the number of a group of rows
Of = TypeVar("Of", str, Cell)

Grade = Literal["ok", "suspicious", "divergent"]


def relative_rms(got: np.ndarray, want: np.ndarray) -> float:
    """The size of the error relative to the size of what it is an error of.

    √(Σ (got - want)² / Σ want²)

    Any shape, the same for both; computed in float64. 0 if both are zero; ∞ if `want` alone is, or
    if anything is not finite: NaN equals nothing.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ - ∞; it is reported as ∞ below
        want = np.asarray(want, np.float64)
        difference = np.asarray(got, np.float64) - want
        wrong, size = np.vdot(difference, difference), np.vdot(want, want)
    if wrong == 0:
        return 0.0
    if size == 0 or not math.isfinite(wrong) or not math.isfinite(size):
        return math.inf
    return math.sqrt(wrong / size)


def group_errors(name: str, got: np.ndarray, want: np.ndarray, schedule: Schedule) -> Groups:
    """The relative RMS error of a joined tap in each group of its rows.

    A group is a chunk of the prompt, or all decode steps together.
    """
    return tuple(
        relative_rms(rows_of(name, got, rows), rows_of(name, want, rows))
        for rows in schedule.groups
    )


def tap_error(name: str, got: np.ndarray, want: np.ndarray, schedule: Schedule) -> float:
    """The relative RMS error of a joined tap: the largest of its groups of rows."""
    return max(group_errors(name, got, want, schedule))


def row_errors(name: str, got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The relative RMS error of each row by itself: (rows,)."""
    axis = row_axis(name)
    return np.array(
        [relative_rms(got.take(row, axis), want.take(row, axis)) for row in range(want.shape[axis])]
    )


def first_bad_row(name: str, got: np.ndarray, want: np.ndarray, floors: Sequence[float]) -> int:
    """The first row whose own error is above noise; failing that, the worst. Of each its floor."""
    ratios = row_errors(name, got, want) / np.asarray(floors)
    bad = np.flatnonzero(ratios > DIVERGENT)
    return int(bad[0]) if len(bad) else int(ratios.argmax())


def is_statistic(what: str | Cell) -> bool:
    """Whether a tap has one number a row."""
    return (what if isinstance(what, str) else what[0]).endswith(".rms")


def smoothed(floors: dict[Of, float], dtype: str) -> dict[Of, float]:
    """Floors that no luck made small.

    A statistic is one number a row, too few to measure noise by: all of them share the largest.
    A tap that overflowed at this dtype has no floor; the largest that was measured stands in.
    """
    finite = [floor for floor in floors.values() if np.isfinite(floor)]
    largest = max(finite, default=UNIT_ROUNDOFF[dtype])
    floors = {cell: floor if np.isfinite(floor) else largest for cell, floor in floors.items()}
    shared = max((floor for cell, floor in floors.items() if is_statistic(cell)), default=0.0)
    return {
        cell: max(shared if is_statistic(cell) else floor, UNIT_ROUNDOFF[dtype])
        for cell, floor in floors.items()
    }


def smoothed_groups(errors: Mapping[str, Sequence[float]], dtype: str) -> dict[str, Groups]:
    """Floors, of each tap in each group of rows, that no luck made small.

    All statistics share one, as in `smoothed`. What overflowed at this dtype has the floor 1: any
    error up to the size of the values themselves, so that nothing there can be judged.
    """
    least = UNIT_ROUNDOFF[dtype]
    floors = {
        tap: tuple(max(error, least) if math.isfinite(error) else 1.0 for error in groups)
        for tap, groups in errors.items()
    }
    shared = max((max(groups) for tap, groups in floors.items() if is_statistic(tap)), default=0.0)
    return {
        tap: (shared,) * len(groups) if is_statistic(tap) else groups
        for tap, groups in floors.items()
    }


def grade_of(ratio: float) -> Grade:
    """What an error of so many floors is."""
    if ratio <= SUSPICIOUS:
        return "ok"
    return "suspicious" if ratio <= DIVERGENT else "divergent"


def floors(ratio: float | None) -> str:
    """A ratio for people: 0.9, 12, 2.1e+05; nothing where there is none."""
    if ratio is None:
        return ""
    if math.isinf(ratio):
        return "∞"
    if ratio < 100:
        return f"{ratio:.1f}"
    return f"{ratio:,.0f}" if ratio < 1e5 else f"{ratio:.1e}"
