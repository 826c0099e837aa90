"""The rows of a tap: one for each position, those of all forward calls joined."""

import functools
from collections.abc import Sequence

import numpy as np

from ...config import LlamaConfig
from ...taps import tap_axes


@functools.cache
def row_axis(name: str) -> int:
    """Which axis of a tap counts the rows: 0, but for scores and probs (H, L, S)."""
    return tap_axes(name).index("L")


@functools.cache
def by_key(name: str) -> bool:
    """Whether a tap has an axis of keys: scores and probs."""
    return tap_axes(name)[-1] == "S"


def visible(T: int) -> np.ndarray:
    """The cells (row, key) of T rows in which a row may see a key: (T, T)."""
    return np.tri(T, dtype=bool)


def tap_shape(name: str, config: LlamaConfig, T: int) -> tuple[int, ...]:
    """The shape of a joined tap of T rows."""
    sizes = config.axis_sizes | {"L": T, "S": T}
    return tuple(sizes[axis] for axis in tap_axes(name))


def place(name: str, array: np.ndarray, start: int, joined: np.ndarray) -> None:
    """Copy one step's array to its rows in the joined tap.

    Scores and probs (H, L, S) go to (H, T, T): column j is row j of the cache. A faulty model may
    look at more keys than there are rows so far; of those, the first T have a place.
    """
    if not by_key(name):
        joined[start : start + len(array)] = array
        return
    L, S = array.shape[1:]
    keys = min(S, joined.shape[-1])
    joined[:, start : start + L, :keys] = array[:, :, :keys]


def empty_joined(name: str, array: np.ndarray, T: int) -> np.ndarray:
    """Zeros for all T rows of a tap of which one step is `array`."""
    if by_key(name):
        return np.zeros((array.shape[0], T, T), array.dtype)
    return np.zeros((T, *array.shape[1:]), array.dtype)


def rows_of(name: str, array: np.ndarray, rows: slice | Sequence[int]) -> np.ndarray:
    """Some rows of a joined tap: a view, if they are consecutive."""
    if not isinstance(rows, slice):
        consecutive = list(rows) == list(range(rows[0], rows[0] + len(rows))) if rows else False
        rows = slice(rows[0], rows[0] + len(rows)) if consecutive else list(rows)
    return array[:, rows] if row_axis(name) == 1 else array[rows]


def last_rows(name: str, array: np.ndarray, n: int) -> np.ndarray:
    """The last n rows of a joined tap; of scores and probs, as seen among those n alone."""
    rows = array.shape[row_axis(name)]
    if rows <= n:
        return array
    tail = rows_of(name, array, slice(rows - n, None))
    return tail[..., rows - n :] if by_key(name) else tail
