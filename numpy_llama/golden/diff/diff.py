"""Compare two dumps tap by tap: which is the first that differs, and by how many roundoffs."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from ...errors import InputError
from ...taps import tap_names
from ...wording import listed
from ..candidate.candidate import Candidate
from ..compare.compare import narrower_than_declared
from ..replay.metrics import CLEARLY
from ..replay.precision import check_dtype
from .align import Aligned, Arrays, align, row_distances
from .limit import ROUNDOFF, Limit, coarser, limit, measured_limit
from .truth import Floors
from .verdict import Diff, Side, TapDiff

USUAL_LAYERS = 32  # where no tap of a layer tells how many there are


def compare_pair(tap: str, pair: Arrays, rows: int, most: float, u: float) -> TapDiff:
    """Judge one tap, its rows being the last of `rows`."""
    a, b = pair
    bad = [int((~np.isfinite(x)).sum()) for x in pair]
    if any(bad):
        detail = f"{bad[0]} values of the first and {bad[1]} of the second, of {a.size}"
        return TapDiff(tap, "not finite", limit=most, detail=detail)
    distances = row_distances(a, b)
    beyond = np.flatnonzero(distances > most)
    start = rows - len(a)
    apart = np.abs(a - b)
    worst = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    there = slice(worst[-1], worst[-1] + 3)
    return TapDiff(
        tap,
        "differs" if len(beyond) else "alike",
        error=float(distances.max()),
        limit=most,
        roundoffs=tuple((distances / u).tolist()),
        first_row=start + int(beyond[0]) if len(beyond) else None,
        worst=(start + worst[0], *worst[1:]),
        first=tuple(a[worst[:-1]][there].tolist()),
        second=tuple(b[worst[:-1]][there].tolist()),
    )


def compare_aligned(aligned: Aligned, order: list[str], most: Limit, u: float) -> list[TapDiff]:
    """Judge every tap that both have."""
    found = []
    for t, tap in enumerate(order, 1):
        if tap in aligned.pairs:
            found.append(compare_pair(tap, aligned.pairs[tap], aligned.rows, most(tap, t), u))
        elif tap in aligned.apart:
            found.append(TapDiff(tap, "wrong shape", detail=aligned.apart[tap]))
    return found


def causal_order(*dumps: Candidate) -> list[str]:
    """All taps of the model that these are of, as far as their names tell how deep it is."""
    layers = [
        int(tap.split(".")[1]) + 1
        for dump in dumps
        for tap in (*dump.values, *dump.scalars)
        if tap.startswith("layers.") and tap.split(".")[1].isdigit()
    ]
    return tap_names(max(layers, default=USUAL_LAYERS))


def dtype_of(dump: Candidate, taps: list[str]) -> str:
    """What a dump computed in, or the coarser format in which it is stored."""
    stored = {str(np.asarray(dump.values[tap]).dtype) for tap in taps if tap in dump.values}
    return coarser(check_dtype(dump.dtype), *(dtype for dtype in stored if dtype in ROUNDOFF))


def needed(a: Candidate, b: Candidate) -> tuple[set[str], list[str]]:
    """At which dtypes floors are needed for two dumps, and of which taps."""
    given = {tap for dump in (a, b) for tap in dump.values}
    taps = [tap for tap in causal_order(a, b) if tap in given]
    return {dtype_of(dump, taps) for dump in (a, b)}, taps


def check_same_tokens(a: Candidate, b: Candidate) -> None:
    """Raise InputError where two dumps say that they are of different tokens."""
    if a.tokens is not None and b.tokens is not None and a.tokens != b.tokens:
        raise InputError(
            f"the two say that they were run on different tokens: "
            f"{listed(map(str, a.tokens), 8)} and {listed(map(str, b.tokens), 8)}"
        )


def known_only(dump: Candidate, order: list[str]) -> tuple[Candidate, list[str]]:
    """A dump with its taps alone, and a note on what it holds besides."""
    known = set(order)
    values = {
        t: np.asarray(v) for t, v in dump.values.items() if t in known and v.dtype.kind == "f"
    }
    rest = [name for name in (*dump.values, *dump.scalars) if name not in values]
    flat = dump.flat & set(values)
    notes = [f"not compared, as no whole tap: {listed(rest, 4)}"] if rest else []
    return Candidate(values, dump.dtype, flat=flat, tokens=dump.tokens), notes


def narrower(dump: Candidate) -> list[str]:
    """A note, where a dump was computed in a narrower format than it says."""
    found = {narrower_than_declared(array, dump.dtype) for array in dump.values.values()}
    return list(found) if len(found) == 1 and "" not in found else []


def about_ids(a: Candidate, b: Candidate) -> list[str]:
    """Whether the tokens that the two chose are the same."""
    if a.greedy is None or b.greedy is None or a.greedy == b.greedy:
        return []
    same = next(
        (i for i, (x, y) in enumerate(zip(a.greedy, b.greedy, strict=False)) if x != y),
        min(len(a.greedy), len(b.greedy)),
    )
    return [f"the greedy ids agree in the first {same}, then no more"]


def diff(
    a: Candidate,
    b: Candidate,
    names: tuple[str, str] = ("the first", "the second"),
    floors: Floors | None = None,
) -> Diff:
    """Two programs' dumps of the same tokens against each other.

    floors: of the model, with its truth: then they are the limit, and each dump is judged against
    the truth as well. Raises InputError if the two have no tap in common, or other tokens.
    """
    check_same_tokens(a, b)
    order = causal_order(a, b) if floors is None else floors.order
    dumps, notes = [a, b], list[str]()
    for i, (dump, name) in enumerate(zip((a, b), names, strict=True)):
        dumps[i], more = known_only(dump, order)
        more += narrower(dumps[i])
        notes += [f"{name}: {note}" for note in (*dump.notes, *more)]
    one, other = dumps
    common = [tap for tap in order if tap in one.values and tap in other.values]
    if not common:
        raise InputError(f"{names[0]} and {names[1]} have no tap in common")
    dtypes = dtype_of(one, common), dtype_of(other, common)
    unit = coarser(*dtypes)
    most = limit(unit) if floors is None else measured_limit(*map(floors.at, dtypes))
    aligned = align(one, other, order)
    found = tuple(compare_aligned(aligned, order, most, ROUNDOFF[unit]))
    if floors is None and not any(tap.startswith("layers.") for tap in common):
        notes.append(f"how many layers there are is not known: taken as {USUAL_LAYERS}")
    first, second = (
        Side(name, dtype, tuple(tap for tap in order if tap in mine.values and tap not in common))
        for name, dtype, mine in zip(names, dtypes, dumps, strict=True)
    )
    result = Diff(first, second, unit, found, (*notes, *aligned.notes, *about_ids(a, b)))
    return result if floors is None else judged(result, one, other, floors)


def check_rows(name: str, rows: int, tokens: int) -> None:
    """Raise InputError for more rows than tokens."""
    if rows > tokens:
        raise InputError(f"{name}: has {rows} rows, which cannot be of {tokens} tokens")


def judged(result: Diff, a: Candidate, b: Candidate, floors: Floors) -> Diff:
    """The same, with each of the two against the truth."""
    sides = []
    for side, dump in ((result.first, a), (result.second, b)):
        aligned = align(dump, floors.truth, floors.order)
        check_rows(side.name, aligned.rows, len(floors.truth.tokens or ()))
        most = measured_limit(floors.at(side.dtype))
        u = ROUNDOFF[side.dtype]
        found = compare_aligned(aligned, floors.order, most, u)
        sides.append(replace(side, truth=tuple(found)))
    return replace(result, first=sides[0], second=sides[1], nearer=which_is_nearer(result, *sides))


def which_is_nearer(
    result: Diff, first: Side, second: Side
) -> Literal["first", "second", "neither"]:
    """Which is nearer to the truth, at the first tap where the two differ: by half, or neither."""
    at = result.first_difference
    errors = [
        next((t.error for t in side.truth or () if at and t.tap == at.tap), None)
        for side in (first, second)
    ]
    a, b = (math.inf if error is None else error for error in errors)
    if a < CLEARLY * b:
        return "first"
    return "second" if b < CLEARLY * a else "neither"
