"""The axes and rows of each array: in how many ways can it be its tap, and which of them is it?

A program that was given pads before the prompt may give their rows and keys too: they are cut off.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...taps import tap_axes
from ...wording import listed
from ..record.bundle import Bundle
from ..replay.metrics import CLEARLY, relative_rms
from ..replay.rows import by_key, rows_of, tap_shape
from ..replay.schedule import Schedule
from .candidate import Candidate
from .raw import Axes, Shape, shaped


class Reading(NamedTuple):
    """One way to read an array: what is otherwise than ours (""; nothing), and it with our axes."""

    how: str
    array: np.ndarray


class Frame(NamedTuple):
    """A shape that some rows of a tap may come in, and how much of it is of pads."""

    shape: Shape
    rows: int = 0  # the first ones
    keys: int = 0


class Arranged(NamedTuple):
    """An array with our axes, the rows of the schedule that it gives, and how far off it is."""

    how: str
    rows: Sequence[int]
    array: np.ndarray
    error: float
    pads: int = 0  # rows that were cut off


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


def frames(tap: str, want: np.ndarray, rows: Sequence[int], pads: int) -> Iterator[Frame]:
    """The shapes in which a program that was given `pads` may give these rows, usual ones first.

    Rows of pads come before row 0. Keys are all, or those up to the last of the rows.
    """
    with_rows = [pads, 0] if pads and rows[0] == 0 else [0]
    if not by_key(tap):
        yield from (Frame((n + len(want), *want.shape[1:]), n) for n in with_rows)
        return
    H, L, T = want.shape
    for n in with_rows:
        for keys in dict.fromkeys((pads, n)):  # who gives the rows of pads gives their keys
            for S in dict.fromkeys((T, max(rows) + 1)):
                yield Frame((H, n + L, keys + S), n, keys)


def ways(
    a: np.ndarray, tap: str, golden: np.ndarray, choices: Iterable[Sequence[int]], pads: int = 0
) -> Iterator[Arranged]:
    """Every way to read an array as some rows of a tap, the most usual first."""
    for rows in choices:
        want = rows_of(tap, golden, rows)
        for frame in frames(tap, want, rows, pads):
            for how, found in readings(a, frame.shape, tap_axes(tap)):
                found = rows_of(tap, found, slice(frame.rows, None))
                if by_key(tap):
                    found = with_all_keys(found[..., frame.keys :], want.shape[-1])
                yield Arranged(how, rows, found, relative_rms(found, want), frame.rows)


def arranged(
    a: np.ndarray, tap: str, golden: np.ndarray, choices: Sequence[Sequence[int]], pads: int = 0
) -> Arranged | None:
    """An array of a tap with our axes and rows; None if it can be no rows of `choices`.

    Of several ways the most usual is taken, unless another is clearly nearer to the golden. As
    many rows may also be the last ones, of a program that began with another token: no choice.
    """
    found = list(ways(a, tap, golden, choices, pads))
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


def unfolded(flat: np.ndarray, tap: str, golden: Bundle, pads: int) -> np.ndarray:
    """A raw file's numbers in the shape of its tap: with what is of pads, or without."""
    for schedule in (golden.schedule.padded(pads), golden.schedule):
        shape = tap_shape(tap, golden.config, len(schedule.tokens))
        array = shaped(flat, shape, tap_axes(tap), schedule)
        if array.ndim > 1:
            return array
    return flat


def with_our_axes(golden: Bundle, candidate: Candidate, pads: int = 0) -> Candidate:
    """The candidate with the axes of our table, and of each tap the rows that it gives.

    pads: how many tokens before the golden's the candidate was given.
    """
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
            array = unfolded(array, tap, golden, pads)
        if tap == "logits" and array.ndim == 1:
            array = array.reshape(1, -1)
        declared = tap in candidate.rows
        choices, before = ([rows[tap]], 0) if declared else (usual, pads)
        found = arranged(array, tap, want, choices, before)
        values[tap] = array if found is None else found.array
        if found is None:
            continue
        rows[tap] = tuple(found.rows)
        about = "" if declared else rows_note(found.rows, schedule)
        cut = f"the first {found.pads} rows, which are of pads, left out" if found.pads else ""
        for note in filter(None, (found.how, cut, about)):
            noted.setdefault(note, []).append(tap)
    notes = [f"{note}: {listed(taps)}" for note, taps in noted.items()]
    notes = [*candidate.notes, *notes]
    return dataclasses.replace(
        candidate, values=values, rows=rows, notes=tuple(notes), flat=frozenset()
    )
