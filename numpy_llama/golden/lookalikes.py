"""What looks like a mistake and is none: other axes, the other RoPE layout, positions from 1.

All of it is recognised before anything is judged, undone, and said.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..rope import adjacent, rotate, rotation_matrices
from ..rope_scaling import frequencies
from ..taps import tap_axes, tap_names
from .bundle import Bundle, tap_shape
from .measure import relative_rms, tap_error
from .run import rows_of, visible
from .verdict import SUSPICIOUS, Candidate

# A reading of an array that has another shape than its tap: a name for it, and the array.
Reading = tuple[str, np.ndarray]

CLEARLY = 0.5  # of two readings, one is taken for right when its error is below this share


def readings(a: np.ndarray, shape: tuple[int, ...], axes: tuple[str, ...]) -> Iterator[Reading]:
    """The ways in which an array can be an array of `shape`, the most obvious first."""
    if a.shape == shape:
        yield "", a
    while a.ndim > len(shape) and a.shape[0] == 1:
        a = a[0]
        if a.shape == shape:
            yield "a batch axis of 1", a
    if a.ndim == len(shape) + 1 and a.shape[-1] == 1 and a.shape[:-1] == shape:
        yield "a last axis of 1", a[..., 0]
    if len(shape) != 3:
        return
    if a.ndim == 2 and a.shape == (shape[0], shape[1] * shape[2]):
        yield "merged heads", a.reshape(shape)
    if a.ndim == 3 and a.shape == (shape[1], shape[0], shape[2]):
        order = "rows before heads" if axes[0] == "H" else "heads before rows"
        yield order, a.swapaxes(0, 1)
    if a.ndim == 3 and "K" in axes and a.shape[2] == shape[2]:
        yield from ungrouped(a, shape)


def ungrouped(a: np.ndarray, shape: tuple[int, ...]) -> Iterator[Reading]:
    """Keys or values that were repeated for every query head of their group."""
    L, K, _ = shape
    for heads in (a, a.swapaxes(0, 1)):
        copies, rest = divmod(heads.shape[1], K)
        if heads.shape[0] == L and not rest and copies > 1:
            groups = heads.reshape(L, K, copies, -1)
            if np.array_equal(groups, np.broadcast_to(groups[:, :, :1], groups.shape)):
                yield "heads repeated for their group", groups[:, :, 0]


def best_reading(name: str, a: np.ndarray, golden: np.ndarray) -> Reading | None:
    """The reading of an array that is nearest to the golden; None if it has no such shape."""
    found = list(readings(a, golden.shape, tap_axes(name)))
    if not found:
        return None
    obvious, *others = sorted(found, key=lambda reading: relative_rms(reading[1], golden))
    preferred = found[0]
    if not others or preferred is obvious:
        return preferred
    clear = relative_rms(obvious[1], golden) < CLEARLY * relative_rms(preferred[1], golden)
    return obvious if clear else preferred


def given_rows(bundle: Bundle, candidate: Candidate, name: str) -> list[int]:
    """The rows of the schedule that the candidate gives of a tap.

    Logits of one row are those after the last token: that is what most programs print.
    """
    T = len(bundle.schedule.tokens)
    if name in candidate.rows:
        return list(candidate.rows[name])
    one = name == "logits" and candidate.values[name].size == bundle.config.vocab_size
    return [T - 1] if one else list(range(T))


def golden_rows(bundle: Bundle, name: str, rows: list[int]) -> np.ndarray:
    """Those rows of the golden."""
    golden = bundle.values[name]
    return golden if len(rows) == len(bundle.schedule.tokens) else rows_of(name, golden, rows)


def with_our_axes(bundle: Bundle, candidate: Candidate) -> Candidate:
    """The candidate with the axes of our table, wherever that can be told."""
    values, rows = dict(candidate.values), dict(candidate.rows)
    recognised: dict[str, list[str]] = {}
    for name, array in candidate.values.items():
        if name not in bundle.values or np.asarray(array).dtype.kind != "f":
            continue
        of = given_rows(bundle, candidate, name)
        golden = golden_rows(bundle, name, of)
        array = array.reshape(1, -1) if name == "logits" and array.ndim == 1 else array
        reading = best_reading(name, array, golden)
        if reading is None:
            continue
        how, values[name] = reading
        if len(of) != len(bundle.schedule.tokens):
            rows[name] = of
        if how:
            recognised.setdefault(how, []).append(name)
    notes = [f"{how}: {listed(names)}" for how, names in recognised.items()]
    notes += (
        ["the logits are of the last row alone"]
        if "logits" in rows.keys() - candidate.rows.keys()
        else []
    )
    return dataclasses.replace(
        candidate, values=values, rows=rows, notes=(*candidate.notes, *notes)
    )


def listed(names: Iterable[str]) -> str:
    """A few of the names, and how many more there are."""
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first


def comparable(bundle: Bundle, candidate: Candidate, name: str) -> bool:
    """Whether the candidate gives all rows of a tap, in our shape, as finite numbers."""
    if name not in candidate.values or name not in bundle.values or name in candidate.rows:
        return False
    array = candidate.values[name]
    T = len(bundle.schedule.tokens)
    right = array.shape == tap_shape(name, bundle.config, T) and array.dtype.kind == "f"
    return right and bool(np.isfinite(array).all())


def undo(
    bundle: Bundle,
    candidate: Candidate,
    parts: Iterable[str],
    change: Callable[[np.ndarray], np.ndarray],
) -> Candidate:
    """The candidate with `change` done to all taps of which these are the last parts."""
    ours = {name for name in tap_names(bundle.config.n_layers) if name.rpartition(".")[2] in parts}
    values = {
        name: change(array) if name in ours and array.ndim == 3 else array
        for name, array in candidate.values.items()
    }
    return dataclasses.replace(candidate, values=values)


def nearer(bundle: Bundle, before: Candidate, after: Candidate, names: list[str]) -> bool:
    """Whether the first of these taps that tells the two apart is clearly nearer in `after`."""
    for name in names:
        if comparable(bundle, before, name):
            golden = bundle.values[name]
            was = relative_rms(before.values[name], golden)
            now = relative_rms(after.values[name], golden)
            if now < CLEARLY * was or was < CLEARLY * now:
                return now < was
    return False


def with_adjacent_pairs(bundle: Bundle, candidate: Candidate) -> Candidate:
    """Queries and keys with RoPE's pairs adjacent, if they come as Hugging Face has them.

    The layers before any fault tell best, and the projections before the rotation.
    """
    parts = ("q", "k", "q_rot", "k_rot")
    other = undo(bundle, candidate, parts, adjacent)
    names = [f"layers.{i}.{part}" for i in range(bundle.config.n_layers) for part in parts]
    if not nearer(bundle, candidate, other, names):
        return candidate
    note = "queries and keys in Hugging Face's order of features (half-split RoPE)"
    return dataclasses.replace(other, notes=(*candidate.notes, note))


def turned_back(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """Rotate by one position backwards."""
    f, _ = frequencies(bundle.config, len(bundle.schedule.tokens))
    one_back = np.array([-1.0])

    def turn(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return rotate(x, rotation_matrices(f, one_back, 1.0, like=x))

    return turn


def with_positions_from_0(bundle: Bundle, candidate: Candidate, dtype: str) -> Candidate:
    """Rotated queries and keys one position earlier, if *all* of them are one too far.

    Only then is it harmless: the scores see differences of positions alone.
    """
    rotated = [n for n in bundle.values if n.endswith((".q_rot", ".k_rot"))]
    given = [name for name in rotated if comparable(bundle, candidate, name)]
    both = {name.rpartition(".")[2] for name in given} == {"q_rot", "k_rot"}
    if not both or not nearer(
        bundle,
        candidate,
        other := undo(bundle, candidate, ("q_rot", "k_rot"), turned_back(bundle)),
        given,
    ):
        return candidate
    for name in given:
        error = tap_error(name, other.values[name], bundle.values[name], bundle.schedule)
        if error > SUSPICIOUS * bundle.floor(name, dtype):
            return candidate
    note = "positions counted from 1: rotated queries and keys differ, scores do not (rope-from-1)"
    return dataclasses.replace(other, notes=(*candidate.notes, note))


def without_hidden_scores(candidate: Candidate) -> Candidate:
    """Scores that a row may not see as 0, whatever the candidate keeps there (-∞, -1e9, junk)."""

    def hide(name: str, array: np.ndarray) -> np.ndarray:
        square = array.ndim == 3 and array.shape[1] == array.shape[2]
        if not name.endswith(".scores") or not square:
            return array
        return np.where(visible(array.shape[1]), array, np.zeros((), array.dtype))

    values = {name: hide(name, array) for name, array in candidate.values.items()}
    return dataclasses.replace(candidate, values=values)


def recognise(bundle: Bundle, candidate: Candidate, dtype: str) -> Candidate:
    """The candidate as our own taps would be, with a note on each thing that was otherwise."""
    candidate = with_our_axes(bundle, candidate)
    candidate = without_hidden_scores(candidate)
    candidate = with_adjacent_pairs(bundle, candidate)
    return with_positions_from_0(bundle, candidate, dtype)
