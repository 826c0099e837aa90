"""The axes and rows of each array: in how many ways can it be its tap, and which of them is it?"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...taps import tap_axes
from ...wording import listed
from ..record.bundle import Bundle
from ..replay.metrics import CLEARLY, relative_rms
from ..replay.rows import rows_of, tap_shape
from ..replay.schedule import Schedule
from .candidate import Candidate

Shape = tuple[int, ...]
Axes = tuple[str, ...]


class Reading(NamedTuple):
    """One way to read an array: what is otherwise than ours (""; nothing), and it with our axes."""

    how: str
    array: np.ndarray


class Arranged(NamedTuple):
    """An array with our axes, the rows of the schedule that it gives, and how far off it is."""

    how: str
    rows: Sequence[int]
    array: np.ndarray
    error: float


def readings(a: np.ndarray, shape: Shape, axes: Axes) -> Iterator[Reading]:
    """The ways in which an array can be an array of `shape`, the most obvious first."""
    if a.shape == shape:
        yield Reading("", a)
    while a.ndim > len(shape) and a.shape[0] == 1:
        a = a[0]
        if a.shape == shape:
            yield Reading("a batch axis of 1", a)
    if a.ndim == len(shape) + 1 and a.shape[-1] == 1 and a.shape[:-1] == shape:
        yield Reading("a last axis of 1", a[..., 0])
    if len(shape) != 3:
        return
    if a.ndim == 2 and a.shape == (shape[0], shape[1] * shape[2]):
        yield Reading("merged heads", a.reshape(shape))
    if a.ndim == 3 and a.shape == (shape[1], shape[0], shape[2]):
        order = "rows before heads" if axes[0] == "H" else "heads before rows"
        yield Reading(order, a.swapaxes(0, 1))
    if a.ndim == 3 and "K" in axes and a.shape[2] == shape[2]:
        yield from ungrouped(a, shape)


def ungrouped(a: np.ndarray, shape: Shape) -> Iterator[Reading]:
    """Keys or values that were repeated for every query head of their group."""
    L, K, _ = shape
    for heads in (a, a.swapaxes(0, 1)):
        copies, rest = divmod(heads.shape[1], K)
        if heads.shape[0] == L and not rest and copies > 1:
            groups = heads.reshape(L, K, copies, -1)
            if np.array_equal(groups, np.broadcast_to(groups[:, :, :1], groups.shape)):
                yield Reading("heads repeated for their group", groups[:, :, 0])


def joined_steps(
    flat: np.ndarray, shape: Shape, steps: Iterable[int], keys: int
) -> np.ndarray | None:
    """Scores or probs of consecutive steps, (H, L, S) each, one after the other in a raw file.

    keys: S of every step, for implementations that always look at a whole cache; 0: S is as many
    rows as there are so far. None if the file is not as long as those, or has values at keys that
    there are not yet.
    """
    H, T = shape[0], shape[1]
    joined = np.zeros(shape, flat.dtype)
    start = at = 0
    for L in steps:
        S = keys or start + L
        step = flat[at : at + H * L * S]
        if S < start + L or step.size < H * L * S:
            return None
        step, end = step.reshape(H, L, S), start + L
        if step[:, :, end:].any():
            return None
        joined[:, start:end, :end] = step[:, :, :end]
        start, at = end, at + step.size
    return joined if at == flat.size and start == T else None


def shaped(flat: np.ndarray, shape: Shape, axes: Axes, schedule: Schedule) -> np.ndarray:
    """A raw file's numbers in the shape of its tap, (T, …), for as many rows as there are."""
    T = len(schedule.tokens)
    if axes[-1] == "S":
        if flat.size == np.prod(shape):
            return flat.reshape(shape)
        for steps in (schedule.steps, (1,) * T):
            for keys in (0, flat.size // (shape[0] * T)):
                joined = joined_steps(flat, shape, steps, keys)
                if joined is not None:
                    return joined
        return flat
    row = int(np.prod(shape[1:]))
    return flat if flat.size % row else flat.reshape(-1, *shape[1:])


def possible_rows(schedule: Schedule) -> list[range]:
    """Which rows of a schedule programs give, the most usual first.

    All; the last alone; those of the prompt; what a generate loop computes: the last of the prompt
    and the decode rows, as many as it went on for; the decode rows; the last of the prompt alone.
    """
    P, T = schedule.prompt, len(schedule.tokens)
    loops = [range(P - 1, end) for end in range(T, P, -1)]
    found = [range(T), range(T - 1, T), range(P), *loops[:1], range(P, T), *loops[1:]]
    found.append(range(P - 1, P))
    return [rows for rows in dict.fromkeys(found) if rows]


def with_all_keys(a: np.ndarray, T: int) -> np.ndarray:
    """Scores and probs (H, L, S) with a column for each of T keys: those not there yet are 0."""
    return np.pad(a, ((0, 0), (0, 0), (0, T - a.shape[2]))) if a.shape[2] < T else a


def ways(
    a: np.ndarray, tap: str, golden: np.ndarray, choices: Iterable[Sequence[int]]
) -> Iterator[Arranged]:
    """Every way to read an array as some rows of a tap, the most usual first."""
    axes = tap_axes(tap)
    by_key = axes[-1] == "S"
    for rows in choices:
        want = rows_of(tap, golden, rows)
        T, seen = want.shape[-1], max(rows) + 1
        shapes = [want.shape]
        if by_key and seen < T:  # keys up to the last of these rows, or all
            shapes.append((*want.shape[:2], seen))
        for shape in shapes:
            for how, found in readings(a, shape, axes):
                found = with_all_keys(found, T) if by_key else found
                yield Arranged(how, rows, found, relative_rms(found, want))


def arranged(
    a: np.ndarray, tap: str, golden: np.ndarray, choices: Sequence[Sequence[int]]
) -> Arranged | None:
    """An array of a tap with our axes and rows; None if it can be no rows of `choices`.

    Of several ways the most usual is taken, unless another is clearly nearer to the golden. As
    many rows may also be the last ones, of a program that began with another token: no choice.
    """
    found = list(ways(a, tap, golden, choices))
    if not found:
        return None
    best = min(found, key=lambda way: way.error)
    best = best if best.error < CLEARLY * found[0].error else found[0]
    T = golden.shape[tap_axes(tap).index("L")]
    last = range(T - len(best.rows), T)
    if list(best.rows) == list(last) or last in choices:
        return best
    shifted = min((way.error for way in ways(best.array, tap, golden, [last])), default=np.inf)
    return None if shifted < CLEARLY * best.error else best


def rows_note(rows: Sequence[int], schedule: Schedule) -> str:
    """What is said of a candidate that gives some rows alone; "" for all."""
    P, T = schedule.prompt, len(schedule.tokens)
    first, last = rows[0], rows[-1]
    if len(rows) == T:
        return ""
    if (first, last) == (0, P - 1):
        return f"only the {P} rows of the prompt, decode steps are not judged"
    if first == T - 1:
        return "the last row alone"
    if first >= P:
        what = "the decode rows"
    elif len(rows) == 1:
        what = "the last row of the prompt"
    else:
        what = "the last row of the prompt and the decode rows"
    return f"only {what}, {first} … {last}; other rows are not judged"


def with_our_axes(golden: Bundle, candidate: Candidate) -> Candidate:
    """The candidate with the axes of our table, and of each tap the rows that it gives."""
    schedule, usual = golden.schedule, possible_rows(golden.schedule)
    T = len(schedule.tokens)
    values = dict(candidate.values)
    rows = {tap: tuple(range(T)) for tap in values} | {
        t: tuple(r) for t, r in candidate.rows.items()
    }
    noted: dict[str, list[str]] = {}
    for tap, want in golden.values.items():
        array = values.get(tap)
        if array is None or array.dtype.kind != "f":
            continue
        if tap in candidate.flat:
            array = shaped(array, tap_shape(tap, golden.config, T), tap_axes(tap), schedule)
        if tap == "logits" and array.ndim == 1:
            array = array.reshape(1, -1)
        declared = tap in candidate.rows
        found = arranged(array, tap, want, [rows[tap]] if declared else usual)
        values[tap] = array if found is None else found.array
        if found is None:
            continue
        rows[tap] = tuple(found.rows)
        about = "" if declared else rows_note(found.rows, schedule)
        for note in filter(None, (found.how, about)):
            noted.setdefault(note, []).append(tap)
    notes = [f"{note}: {listed(taps)}" for note, taps in noted.items()]
    notes = [*candidate.notes, *notes]
    return dataclasses.replace(
        candidate, values=values, rows=rows, notes=tuple(notes), flat=frozenset()
    )
