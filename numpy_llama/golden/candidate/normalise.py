"""Normalise a candidate: after this it looks like ours, once and for all.

Names were translated when it was read, and axes.py arranges each array. Here is undone what looks
like a mistake and is none: the other RoPE layout, positions from 1 or that count pads, hidden
scores. Each leaves a note.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from ...errors import InputError
from ...rope import adjacent, rotate, rotation_matrices
from ...rope_scaling import frequencies
from ...taps import tap_names
from ...wording import listed
from ..record.bundle import Bundle
from ..replay.metrics import CLEARLY, SUSPICIOUS, relative_rms
from ..replay.rows import rows_of, visible
from .axes import with_our_axes
from .candidate import Candidate

Change = Callable[[np.ndarray], np.ndarray]


def check_rows(candidate: Candidate, T: int) -> None:
    """Raise InputError for declared rows that the golden does not have."""
    for tap, rows in candidate.rows.items():
        if not len(rows):
            raise InputError(f"{tap}: its rows are named, and there are none: leave it out")
        wrong = [row for row in rows if not 0 <= row < T]
        if wrong:
            raise InputError(
                f"{tap}: row {wrong[0]} is not in the golden, which has rows 0 … {T - 1}"
            )


def tokens_note(golden: Bundle, candidate: Candidate, pads: int) -> list[str]:
    """Whether the candidate says that it was run on other tokens."""
    tokens, expected = candidate.tokens, golden.schedule.tokens
    if tokens is None or tokens == expected or pads and tokens[pads:] == expected:
        return []
    return [
        f"it says that it was run on other tokens ({len(tokens)}: {listed(map(str, tokens))}) "
        f"than the golden ({len(expected)})"
    ]


def golden_rows(golden: Bundle, candidate: Candidate, tap: str) -> np.ndarray | None:
    """The golden's rows that the candidate gives of a tap; None if they cannot be compared."""
    if tap not in candidate.values or tap not in golden.values:
        return None
    array = candidate.values[tap]
    want = rows_of(tap, golden.values[tap], candidate.rows[tap])
    right = array.shape == want.shape and array.dtype.kind == "f"
    return want if right and np.isfinite(array).all() else None


def changed(
    golden: Bundle, candidate: Candidate, parts: Iterable[str], change: Change
) -> Candidate:
    """The candidate with `change` done to the heads of all taps that end in these parts."""
    ours = {name for name in tap_names(golden.config.n_layers) if name.rpartition(".")[2] in parts}
    hd = golden.config.head_dim
    values = {
        name: change(array) if name in ours and array.ndim == 3 and array.shape[2] == hd else array
        for name, array in candidate.values.items()
    }
    return dataclasses.replace(candidate, values=values)


def nearer(golden: Bundle, before: Candidate, after: Candidate, taps: Iterable[str]) -> bool:
    """Whether the first of these taps that tells the two apart is clearly nearer in `after`."""
    for tap in taps:
        want = golden_rows(golden, before, tap)
        if want is not None:
            was = relative_rms(before.values[tap], want)
            now = relative_rms(after.values[tap], want)
            if now < CLEARLY * was or was < CLEARLY * now:
                return now < was
    return False


def with_adjacent_pairs(golden: Bundle, candidate: Candidate) -> Candidate:
    """Queries and keys with RoPE's pairs adjacent, if they come as Hugging Face has them.

    The layers before any fault tell best, and the projections before the rotation.
    """
    parts = ("q", "k", "q_rot", "k_rot")
    other = changed(golden, candidate, parts, adjacent)
    taps = [f"layers.{i}.{part}" for i in range(golden.config.n_layers) for part in parts]
    if not nearer(golden, candidate, other, taps):
        return candidate
    note = "queries and keys in Hugging Face's order of features (half-split RoPE)"
    return dataclasses.replace(other, notes=(*candidate.notes, note))


def turned_back(golden: Bundle, positions: int) -> Change:
    """Rotate by so many positions backwards."""
    f, _ = frequencies(golden.config, len(golden.schedule.tokens))
    back = np.array([-float(positions)])

    def turn(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return rotate(x, rotation_matrices(f, back, 1.0, like=x))

    return turn


def with_positions_from_0(golden: Bundle, candidate: Candidate, first: int, what: str) -> Candidate:
    """Rotated queries and keys `first` positions earlier, if *all* of them are so much too far.

    Only then is it harmless: the scores see differences of positions alone.
    """
    rotated = [tap for tap in golden.values if tap.endswith((".q_rot", ".k_rot"))]
    wanted = {tap: golden_rows(golden, candidate, tap) for tap in rotated}
    given = {tap: want for tap, want in wanted.items() if want is not None}
    if {tap.rpartition(".")[2] for tap in given} != {"q_rot", "k_rot"}:
        return candidate
    other = changed(golden, candidate, ("q_rot", "k_rot"), turned_back(golden, first))
    if not nearer(golden, candidate, other, given):
        return candidate
    for tap, want in given.items():
        limit = SUSPICIOUS * golden.floor(tap, candidate.dtype)
        if relative_rms(other.values[tap], want) > limit:
            return candidate
    note = f"positions {what}: rotated queries and keys differ, scores do not"
    return dataclasses.replace(other, notes=(*candidate.notes, note))


def without_sums_of_pads(candidate: Candidate) -> Candidate:
    """The candidate without the scalars in which there is something of pads: all but the last."""
    scalars = {
        tap: {part: value for part, value in parts.items() if part == "last"}
        for tap, parts in candidate.scalars.items()
    }
    if scalars == candidate.scalars:
        return candidate
    note = "sums, means and first values not judged: there are pads in them"
    kept = {tap: parts for tap, parts in scalars.items() if parts}
    return dataclasses.replace(candidate, scalars=kept, notes=(*candidate.notes, note))


def without_hidden_scores(candidate: Candidate) -> Candidate:
    """Scores that a row may not see as 0, whatever the candidate keeps there (-∞, -1e9, junk)."""

    def hide(tap: str, array: np.ndarray) -> np.ndarray:
        if not tap.endswith(".scores") or array.ndim != 3:
            return array
        rows, keys = list(candidate.rows[tap]), array.shape[2]
        square = array.shape[1] == keys  # it may have another number of rows than the golden
        if not square and (array.shape[1] != len(rows) or max(rows) >= keys):
            return array
        seen = visible(keys) if square else visible(keys)[rows]
        return np.where(seen, array, np.zeros((), array.dtype))

    values = {tap: hide(tap, array) for tap, array in candidate.values.items()}
    return dataclasses.replace(candidate, values=values)


def normalise(golden: Bundle, candidate: Candidate, pads: int = 0) -> Candidate:
    """The candidate as our own taps would be, with a note on each thing that was otherwise.

    Of every tap `rows` says which rows are given. An array that can be no rows of its tap stays as
    it is: its shape is wrong. pads: how many tokens before the golden's the candidate was given.
    Raises InputError for declared rows that the golden does not have.
    """
    check_rows(candidate, len(golden.schedule.tokens))
    arrays = {name: np.asarray(array) for name, array in candidate.values.items()}
    notes = (*candidate.notes, *tokens_note(golden, candidate, pads))
    candidate = dataclasses.replace(candidate, values=arrays, notes=notes)
    candidate = without_sums_of_pads(candidate) if pads else candidate
    candidate = with_our_axes(golden, candidate, pads)
    candidate = without_hidden_scores(candidate)
    candidate = with_adjacent_pairs(golden, candidate)
    for first, what in ((1, "counted from 1 (rope-from-1)"), (pads, "that count the pads")):
        candidate = with_positions_from_0(golden, candidate, first, what) if first else candidate
    return candidate
