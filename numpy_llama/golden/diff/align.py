"""Two dumps with the same axes, rows and features, so that they can be subtracted.

There is no golden that has the right shape: each array has two or three possible readings, and the
pair of readings that fits is taken. All of a tap's axes but that of the rows come after it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...rope import adjacent
from ...taps import tap_axes
from ...wording import listed
from ..candidate.candidate import Candidate
from ..replay.metrics import CLEARLY
from ..replay.rows import visible

ROTATED = ("q", "k", "q_rot", "k_rot")  # the taps whose features RoPE's layout permutes

Arrays = tuple[np.ndarray, np.ndarray]
Reading = tuple[str, np.ndarray]  # what is otherwise than ours ("": nothing), and it, rows first


@dataclass(frozen=True)
class Aligned:
    """What can be compared of two dumps: pairs of float64, rows first, of the same shape."""

    pairs: Mapping[str, Arrays]  # in causal order
    apart: Mapping[str, str]  # taps that both give, but in shapes that do not fit
    rows: int  # of the longer dump: the last row of every tap is rows - 1
    notes: tuple[str, ...]


def row_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far two arrays are apart in each row, relative to their size there: (rows,).

    √(Σ (a - b)² / (½ Σ (a² + b²))): 0 for two rows of zeros, 2 at most, ∞ if one is not finite.
    """
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.square(a - b).sum(axis=1)
        size = (np.square(a).sum(axis=1) + np.square(b).sum(axis=1)) / 2
        distances = np.sqrt(apart / np.where(size == 0, 1.0, size))
    return np.where(np.isfinite(distances), distances, math.inf)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The same of whole arrays."""
    return float(row_distances(a[None], b[None])[0])


# — one dump —


def without_batch(a: np.ndarray, axes: int) -> np.ndarray:
    """An array without leading axes of 1 that are too many; one row of logits as a row."""
    while a.ndim > axes and a.shape[0] == 1:
        a = a[0]
    if a.ndim == axes + 1 and a.shape[-1] == 1:
        a = a[..., 0]
    return a


def row_counts(dump: Candidate) -> list[int]:
    """How many rows the arrays with one axis besides theirs have: those leave no doubt."""
    counts = []
    for tap, array in dump.values.items():
        array = without_batch(array, 2)
        if len(tap_axes(tap)) == 2 and array.ndim == 2 and tap not in dump.flat:
            counts.append(len(array))
    return counts if dump.tokens is None else [*counts, len(dump.tokens)]


def readings(a: np.ndarray, tap: str, rows: list[int]) -> Iterator[Reading]:
    """The ways to read an array with its rows first, the most usual first."""
    axes = tap_axes(tap)
    a = without_batch(a, len(axes))
    if a.ndim == 1 and len(axes) == 2:
        a = a[None]  # the logits of one row
    if a.ndim != 3:
        yield "", a
        return
    swapped = a.swapaxes(0, 1)
    heads_first = axes[0] == "H"
    ours, other = (swapped, a) if heads_first else (a, swapped)
    how = "rows before heads" if heads_first else "heads before rows"
    if len(ours) in rows or len(other) not in rows:
        yield "", ours
    if len(other) in rows or len(ours) not in rows:
        yield how, other


def shaped(dump: Candidate, tap: str, other: np.ndarray, T: int) -> np.ndarray:
    """An array of a dump; a raw file's in the shape of the other dump's, or in T rows."""
    array = np.asarray(dump.values[tap])
    if tap not in dump.flat:
        return array
    if array.size == other.size and other.ndim > 1:
        return array.reshape(other.shape)
    return array.reshape(T, -1) if T and not array.size % T else array


# — two arrays —


def one_per_group(a: np.ndarray, heads: int) -> np.ndarray | None:
    """Keys or values (L, H, hd) that were repeated for each query head, as (L, heads, hd)."""
    copies, rest = divmod(a.shape[1], heads)
    if rest or copies < 2:
        return None
    groups = a.reshape(len(a), heads, copies, -1)
    same = np.array_equal(groups, np.broadcast_to(groups[:, :, :1], groups.shape))
    return groups[:, :, 0] if same else None


def fitted(tap: str, a: np.ndarray, b: np.ndarray) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Two readings in the same shape, their last common rows; None if they do not fit."""
    n, how = min(len(a), len(b)), ""
    a, b = a[len(a) - n :], b[len(b) - n :]
    if a.ndim == b.ndim == 3 and tap_axes(tap)[-1] == "S" and a.shape[1] == b.shape[1]:
        keys = max(a.shape[2], b.shape[2])  # a cache may be longer than what was seen of it
        a, b = (np.pad(x, ((0, 0), (0, 0), (0, keys - x.shape[2]))) for x in (a, b))
    if a.ndim == b.ndim == 3 and a.shape[1] != b.shape[1] and a.shape[2] == b.shape[2]:
        heads = min(a.shape[1], b.shape[1])
        narrow = [x if x.shape[1] == heads else one_per_group(x, heads) for x in (a, b)]
        if narrow[0] is None or narrow[1] is None:
            return None
        a, b, how = narrow[0], narrow[1], "heads repeated for their group"
    if a.ndim != b.ndim and a.size == b.size:
        deeper = max(a, b, key=np.ndim)
        a, b, how = a.reshape(deeper.shape), b.reshape(deeper.shape), "merged heads"
    return (how, a, b) if a.shape == b.shape and a.ndim else None


def best_fit(
    tap: str, a: np.ndarray, b: np.ndarray, rows: tuple[list[int], list[int]]
) -> tuple[list[str], Arrays] | None:
    """Of all pairs of readings that fit, the most usual, unless another is clearly nearer."""
    found = []
    for how_a, one in readings(a, tap, rows[0]):
        for how_b, other in readings(b, tap, rows[1]):
            fit = fitted(tap, one, other)
            if fit is not None:
                same = [] if how_a == how_b else [how_a or how_b]
                hows = [how for how in (*same, fit[0]) if how]
                found.append((distance(fit[1], fit[2]), hows, (fit[1], fit[2])))
    if not found:
        return None
    nearest = min(found, key=lambda one: one[0])
    chosen = nearest if nearest[0] < CLEARLY * found[0][0] else found[0]
    return chosen[1], chosen[2]


def seen_only(pair: Arrays, T: int) -> Arrays:
    """Scores (rows, H, S), the last of T rows, with 0 where a row may not see a key."""
    n, _, S = pair[0].shape
    seen = visible(max(T, S))[max(T, n) - n : max(T, n), None, :S]
    return np.where(seen, pair[0], 0.0), np.where(seen, pair[1], 0.0)


# — two dumps —


def layouts(pairs: Mapping[str, Arrays]) -> dict[str, Callable[[Arrays], Arrays]]:
    """How RoPE's layout may be undone: of the first dump, or of the second."""
    widths = {a.shape[2] for tap, (a, _) in pairs.items() if is_rotated(tap) and a.ndim == 3}
    hd = widths.pop() if len(widths) == 1 else None

    def ours(x: np.ndarray) -> np.ndarray:
        if x.ndim == 3:
            return adjacent(x)
        if hd is None or x.shape[1] % hd:
            return x
        return adjacent(x.reshape(len(x), -1, hd)).reshape(x.shape)

    return {
        "the first has queries and keys in Hugging Face's order of features": lambda p: (
            ours(p[0]),
            p[1],
        ),
        "the second has queries and keys in Hugging Face's order of features": lambda p: (
            p[0],
            ours(p[1]),
        ),
    }


def is_rotated(tap: str) -> bool:
    return tap.rpartition(".")[2] in ROTATED


def same_layout(pairs: dict[str, Arrays]) -> tuple[dict[str, Arrays], list[str]]:
    """The pairs with RoPE's features in the same order, if one dump has Hugging Face's.

    The first tap that tells decides for all, as the projections before the rotation do best.
    """
    for tap, pair in pairs.items():
        if not is_rotated(tap) or pair[0].shape[1:] == (1,):
            continue
        for note, change in layouts(pairs).items():
            if distance(*change(pair)) < CLEARLY * distance(*pair):
                changed = {t: change(p) if is_rotated(t) else p for t, p in pairs.items()}
                return changed, [note]
            if distance(*pair) < CLEARLY * distance(*change(pair)):
                return pairs, []
    return pairs, []


def align(a: Candidate, b: Candidate, order: list[str]) -> Aligned:
    """Bring two dumps to the same axes, rows and features, with a note on what was otherwise."""
    counts = row_counts(a), row_counts(b)
    T = max(max(counts[0], default=0), max(counts[1], default=0))
    pairs: dict[str, Arrays] = {}
    apart, noted = {}, dict[str, list[str]]()
    for tap in order:
        if tap not in a.values or tap not in b.values:
            continue
        one = shaped(a, tap, b.values[tap], T)
        other = shaped(b, tap, one, T)
        fit = best_fit(tap, one, other, counts)
        if fit is None:
            apart[tap] = f"{one.shape} and {other.shape} do not fit"
            continue
        for how in fit[0]:
            noted.setdefault(how, []).append(tap)
        pair = fit[1][0].astype(np.float64), fit[1][1].astype(np.float64)
        scores = tap.endswith(".scores") and pair[0].ndim == 3
        pairs[tap] = seen_only(pair, T) if scores else pair
    pairs, layout = same_layout(pairs)
    notes = [f"{how} in one of the two: {listed(taps)}" for how, taps in noted.items()]
    T = max([T, *(len(pair[0]) for pair in pairs.values())])
    return Aligned(pairs, apart, T, (*notes, *layout, *fewer_rows(pairs, T)))


def fewer_rows(pairs: Mapping[str, Arrays], T: int) -> list[str]:
    """A note, where not all rows could be compared."""
    short = [tap for tap, (a, _) in pairs.items() if len(a) < T]
    return [f"only the last rows that both give were compared of {listed(short)}"] if short else []
