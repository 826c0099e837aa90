"""What a candidate gave, to be compared with any run: the golden's model, or one with faults."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..record.bundle import Bundle
from ..replay.metrics import Cell, relative_rms
from ..replay.rows import by_key, last_rows, row_axis, rows_of, visible
from ..replay.schedule import Schedule

Taps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """The candidate's taps that can be compared, in causal order.

    They may have other numbers of rows than the golden: a missing or doubled first token makes one
    row less or more. Runs and candidates are lined up at their last rows.
    """

    values: Mapping[str, np.ndarray]
    rows: Mapping[str, list[int]]  # of taps of which only some rows were given
    schedule: Schedule
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)  # what the golden has

    def cut(self, name: str, run: np.ndarray) -> np.ndarray | None:
        """The rows of a run that the candidate gives of a tap; None if it cannot have them."""
        got = self.values[name]
        if name not in self.rows:
            cut = last_rows(name, run, got.shape[row_axis(name)])
        else:  # counted from the last row: a run may have more rows than the golden, or fewer
            shift = run.shape[row_axis(name)] - len(self.schedule.tokens)
            rows = [row + shift for row in self.rows[name]]
            if min(rows, default=0) < 0:
                return None
            cut = rows_of(name, run, rows)
        return cut if cut.shape == got.shape else None

    @functools.cached_property
    def groups(self) -> dict[str, list[list[int]]]:
        """Of each tap, which of the rows that were given are in each group of the schedule."""
        T, number = len(self.schedule.tokens), self.schedule.group
        found = {}
        for name, got in self.values.items():
            n = got.shape[row_axis(name)]
            rows = self.rows.get(name, range(T - n, T))
            of_rows = [number(max(row, 0)) for row in rows]  # the first, where there are too many
            groups = range(len(self.schedule.groups))
            found[name] = [[i for i in range(n) if of_rows[i] == group] for group in groups]
        return found

    def between(
        self, name: str, got: np.ndarray | None, want: np.ndarray | None
    ) -> Iterator[tuple[Cell, float]]:
        """The errors of one array of a tap against another, both cut; ∞ where one is missing."""
        given = [(group, rows) for group, rows in enumerate(self.groups[name]) if rows]
        if got is None or want is None:
            yield from (((name, group), math.inf) for group, _ in given)
            return
        for group, rows in given:
            yield (name, group), relative_rms(rows_of(name, got, rows), rows_of(name, want, rows))

    @property
    def whole(self) -> dict[str, np.ndarray]:
        """The taps of which all rows were given."""
        T = len(self.schedule.tokens)
        return {
            name: array
            for name, array in self.values.items()
            if name not in self.rows and array.shape[row_axis(name)] == T
        }

    @property
    def by_step(self) -> bool:
        """Whether all rows of all taps were given, so that each step can be looked at by itself."""
        return len(self.whole) == len(self.values)

    def step_error(self, name: str, start: int, array: np.ndarray) -> float:
        """The candidate's error against one step of a run, as the model showed it to a tap."""
        got = self.values[name]
        if not by_key(name):
            return relative_rms(got[start : start + len(array)], array)
        L, S = array.shape[1:]
        if S > got.shape[-1]:
            return math.inf
        seen = visible(got.shape[-1])[start : start + L, :S]
        hidden = name.endswith(".scores")
        return relative_rms(
            got[:, start : start + L, :S], np.where(seen, array, 0) if hidden else array
        )

    def reach(
        self, taps: Taps, floors: Mapping[Cell, float], limit: float, order: Iterable[str] = ()
    ) -> int:
        """How many taps, step after step, agree with a run before the first that does not.

        `order`: as the run showed them. A faulty model may do things in another order than ours.
        """
        order = list(dict.fromkeys([*order, *self.values]))
        cuts = {n: self.cut(n, taps[n]) if n in taps else None for n in self.values}
        sizes = self.schedule.steps if self.by_step else (len(self.schedule.tokens),)
        agreeing = start = 0
        for size in sizes:
            for name in order:
                got, cut = self.values[name], cuts[name]
                if self.by_step and cut is not None:
                    rows = slice(start, start + size)
                    error = relative_rms(rows_of(name, got, rows), rows_of(name, cut, rows))
                    errors = [((name, self.schedule.group(start)), error)]
                else:
                    errors = list(self.between(name, got, cut))
                if any(error > limit * floors[cell] for cell, error in errors):
                    return agreeing
                agreeing += 1
            start += size
        return agreeing

    def errors(self, taps: Taps) -> dict[Cell, float]:
        """The candidate's error against a run, of each tap in each group of rows."""
        cuts = {n: self.cut(n, taps[n]) if n in taps else None for n in self.values}
        return dict(e for n, got in self.values.items() for e in self.between(n, got, cuts[n]))

    def floors(self, noisy: Taps, exact: Taps) -> dict[Cell, float]:
        """The error of one run against another, likewise."""
        names = [name for name in self.values if name in noisy and name in exact]
        cuts = [(n, self.cut(n, noisy[n]), self.cut(n, exact[n])) for n in names]
        return dict(error for name, got, want in cuts for error in self.between(name, got, want))


def usable(array: np.ndarray, golden: np.ndarray, axis: int, whole: bool) -> bool:
    """Whether an array could be a tap of some run of this model, if perhaps of other rows.

    axis: of the rows. whole: it is not of some of the golden's rows alone; then an axis of keys,
    which follows an axis of rows that is not the first, is as long as that of the rows.
    """
    if array.dtype.kind != "f" or array.ndim != golden.ndim:
        return False
    shape = list(golden.shape)
    shape[axis] = rows = array.shape[axis]
    if axis and whole:
        shape[-1] = rows
    return array.shape == tuple(shape) and bool(np.isfinite(array).all())


def gather(golden: Bundle, values: Taps, rows: Mapping[str, Sequence[int]]) -> Evidence:
    """The evidence in the arrays and rows of a normalised candidate."""
    T = len(golden.schedule.tokens)
    found, some = {}, {}
    for name, want in golden.values.items():
        array = values.get(name)
        whole = array is None or len(rows[name]) == T
        if array is not None and usable(array, want, row_axis(name), whole):
            found[name] = array
            if not whole:
                some[name] = list(rows[name])
    return Evidence(found, some, golden.schedule, golden.values)
