"""How errors are measured: in one way, for floors, verdicts and the search for faults alike."""

import math

import numpy as np

from .replay import Schedule, row_axis, rows_of


def relative_rms(got: np.ndarray, want: np.ndarray) -> float:
    """The size of the error relative to the size of what it is an error of.

    √(Σ (got - want)² / Σ want²)

    Any shape, the same for both; computed in float64. 0 if both are zero; ∞ if `want` alone is, or
    if anything is not finite: NaN equals nothing.
    """
    want = np.asarray(want, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ - ∞; it is reported as ∞ below
        difference = np.asarray(got, np.float64) - want
        wrong, size = np.vdot(difference, difference), np.vdot(want, want)
    if wrong == 0:
        return 0.0
    if size == 0 or not math.isfinite(wrong) or not math.isfinite(size):
        return math.inf
    return math.sqrt(wrong / size)


def tap_error(name: str, got: np.ndarray, want: np.ndarray, schedule: Schedule) -> float:
    """The relative RMS error of a joined tap: the largest of its groups of rows.

    A group is a chunk of the prompt, or all decode steps together.
    """
    return max(
        relative_rms(rows_of(name, got, rows), rows_of(name, want, rows))
        for rows in schedule.groups
    )


def row_errors(name: str, got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The relative RMS error of each row by itself: (rows,)."""
    axis = row_axis(name)
    return np.array(
        [relative_rms(got.take(row, axis), want.take(row, axis)) for row in range(want.shape[axis])]
    )
