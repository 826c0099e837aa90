"""Choices whose own noise hides much of what they change: told by many right runs, by logits alone.

What is narrow rounds thousands of values, and float32's noise decides which way some of them go.
In 30 layers that grows: two equally right runs may be as far from each other as they are from the
truth. Two things tell all the same what was rounded, beside the one direction of the logits in
which most of the noise lies:

- the mean of several right runs is where the candidate is, far more than the truth is;
- and the candidate is as far from that mean as such runs are themselves.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ....model import Llama
from ...faults import CHOICES, Fault
from ...replay.metrics import DIVERGENT, row_errors
from ...replay.schedule import Schedule
from ...replay.variants import variants
from ..search.runs import beside
from ..search.search import Search
from ..search.trial import Trial
from .alone import CLEAR

ROWS = 8  # how many must be off: in fewer, chance is enough
MOST = 64  # of which no more are looked at
POINTS = 0.4  # the cosine, in a quick look, of what a choice changes with the error
NEAR, MORE = 3, 2  # how many are looked at exactly: at first, and with one more
WAYS, AS_WELL = 3, 0.9  # in how many ways each, and what share of the best one's cosine
NEARLY = 0.8  # what may be left of the error of a row, as their geometric mean
ALIKE = 1.5  # times as far as a right run, likewise
SURE = 2.0  # standard errors by which one is further that is ruled out
NEEDED = 3.0  # and by which it is further without a choice that is needed

Set = tuple[Fault, ...]


@dataclass(frozen=True)
class Likeness:
    """How far a candidate is from right runs with some choices: beside the noise, row by row."""

    left: np.ndarray  # from their mean
    own: np.ndarray  # as far as one run is from the mean of as many others
    error: np.ndarray  # from the truth

    @property
    def alike(self) -> bool:
        """Whether the candidate may be such a run."""
        return typical(self.left / self.error) <= NEARLY and typical(self.left / self.own) <= ALIKE

    def further_than(self, best: "Likeness", sure: float) -> bool:
        """Whether another is nearer, by so many standard errors of the mean over the rows."""
        more = np.log(self.left / best.left)
        return bool(more.mean() > sure * more.std(ddof=1) / math.sqrt(len(more)))


def typical(shares: np.ndarray) -> float:
    """The geometric mean."""
    return float(np.exp(np.log(np.maximum(shares, 1e-9)).mean()))


def with_stored(model: Llama, faults: Iterable[Fault]) -> Llama:
    """The model with those choices that are of how its weights are stored."""
    schedule = Schedule((0,), (1,))  # they know none
    for fault in faults:
        if fault.stored:
            model, _ = fault.apply(model, schedule)
    return model


def rows_off(search: Search) -> np.ndarray:
    """The rows of the logits that are off, no more than MOST of them."""
    got, truth = search.evidence.values["logits"], search.evidence.truth["logits"]
    group = search.evidence.schedule.group
    floors = np.array([search.floors["logits", group(i)] for i in range(len(got))])
    off = np.flatnonzero(row_errors("logits", got, truth) > DIVERGENT * floors)
    return off[:: -(-len(off) // MOST)] if len(off) else off


def likeness(search: Search, faults: Set, rows: np.ndarray) -> Likeness:
    """Of these rows, with all that is equally right as a model with these choices."""
    computed = [fault for fault in faults if not fault.stored]
    model = with_stored(search.model, faults)
    runs = [search.play(faults, "float64")["logits"][rows]]
    for variant in variants(model, search.dtype):
        runs.append(search.play_on(variant, computed)["logits"][rows])
    direction = search.in_one_call().beginning(()).noise

    def size(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(beside(x, direction), axis=-1)

    many = np.stack(runs)
    n, mean = len(many), many.mean(axis=0)
    apart = size(many - mean) * n / (n - 1)  # from the mean of the others
    as_many = math.sqrt((1 + 1 / n) / (1 + 1 / (n - 1)))
    got, truth = (a["logits"][rows] for a in (search.evidence.values, search.evidence.truth))
    own = np.sqrt((apart**2).mean(axis=0)) * as_many
    return Likeness(size(got - mean), np.maximum(own, 1e-30), size(got - truth))


def tellable(search: Search, base: Trial) -> bool:
    """Whether all rows of the logits are there, nothing else, and far from the truth."""
    whole = search.alone and search.evidence.by_step
    return not base.faults and base.residual > CLEAR and whole


def pointing(trials: Iterable[Trial]) -> list[Trial]:
    """Those that move the logits where the candidate's are; each set of names once, best first."""
    return [ways[0] for ways in in_their_ways(trials)]


def in_their_ways(trials: Iterable[Trial]) -> list[list[Trial]]:
    """The same, each with the other ways to make these choices that do so about as well."""
    found: dict[tuple[str, ...], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.along, reverse=True):
        if trial.along >= POINTS and all(fault.id in CHOICES for fault in trial.faults):
            ways = found.setdefault(tuple(sorted(fault.id for fault in trial.faults)), [])
            if len(ways) < WAYS and trial.along >= AS_WELL * (ways or [trial])[0].along:
                ways.append(trial)
    return list(found.values())


def within_noise(
    search: Search, trials: Sequence[Trial], more: Sequence[Trial] = ()
) -> list[Trial]:
    """Of choices that were made in a quick look those that the candidate is a right run of.

    All that are about as near as the nearest, and of these the fewest. `more`: what has a further
    choice, which is named only where it is surely needed.
    """
    rows = rows_off(search)
    if len(rows) < ROWS:
        return []
    near = [*in_their_ways(trials)[:NEAR], *in_their_ways(more)[:MORE]]
    sets = [trial.faults for ways in near for trial in ways]
    looks = {faults: likeness(search, faults, rows) for faults in sets}
    alike = {faults: look for faults, look in looks.items() if look.alike}
    return [search.refine(faults) for faults in nearest(alike)]


def nearest(alike: Mapping[Set, Likeness]) -> list[Set]:
    """Without what has a choice that is not needed: those than which none is surely nearer."""

    def needless(faults: Set) -> bool:
        fewer = [look for other, look in alike.items() if names(other) < names(faults)]
        return any(not look.further_than(alike[faults], NEEDED) for look in fewer)

    kept = [faults for faults in alike if not needless(faults)]
    return [f for f in kept if not any(alike[f].further_than(alike[b], SURE) for b in kept)]


def names(faults: Iterable[Fault]) -> set[str]:
    return {fault.id for fault in faults}
