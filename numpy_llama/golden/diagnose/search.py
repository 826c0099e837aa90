"""The search for the fault: which model with which mistakes gives what the candidate gave?

Two passes. All faults are run once, in float32, and ranked by how much of the candidate they
explain. The best are then run exactly, and again in the candidate's dtype: a fault has noise of its
own, and where it is larger than the correct model's, its distance from the candidate is in units of
that. All is compared by cells: a tap in one group of rows.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ...model import Llama
from ...taps import tap_names
from ..compare.verdict import Suspect
from ..faults import CATALOGUE, Fault
from ..progress import Progress
from ..record.floors import in_fewer_steps
from ..replay.metrics import DIVERGENT, SUSPICIOUS, Cell, row_errors, smoothed
from ..replay.precision import UNIT_ROUNDOFF, in_dtype
from ..replay.replay import Observer, StopRun, observe_nothing, run
from ..replay.schedule import Schedule
from ..replay.variants import variants
from .evidence import Evidence

REFINED = 6  # of those that come close to it, and of those that explain most of its beginning
HOPELESS = 100.0  # floors; a fault's own noise may be larger than the correct model's, but less so
CLOSER = 0.5  # an explanation leaves at most this share of the error that there was without it

# Mistakes that show otherwise, or not at all, where all decode steps are one call.
BY_STEP = frozenset(
    "cache-misses-self cache-prompt-end-lost decode-later-layers-plus-1 decode-position-doubled "
    "decode-position-minus-1 decode-position-plus-1 decode-position-plus-1-gap "
    "decode-position-zero heads-not-transposed left-padding-decode-positions logits-previous-row "
    "mask-missing mask-one-ahead mask-skipped-with-cache mask-upper-left mask-upper-left-decode "
    "prompt-end-repeated softmax-over-queries".split()
)

StepErrors = dict[tuple[str, int], float]  # tap and first row of a step → error


@dataclass(frozen=True)
class Beginning:
    """A run that faults are to be added to: how far the candidate is from it, and its logits."""

    errors: StepErrors
    logits: dict[int, np.ndarray]  # of each step, by its first row


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two arrays, without its sign; 0 where one is zero or not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        inner, size = float(np.vdot(a, b)), float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return abs(inner) / size if 0 < size < math.inf and math.isfinite(inner) else 0.0


@dataclass(frozen=True)
class Trial:
    """A set of faults, and how far the candidate is from a model with them, tap by tap.

    `reach` counts the taps, step after step, that agree before the first that does not: where a
    second fault would have to begin.
    """

    faults: tuple[Fault, ...]
    errors: Mapping[Cell, float]
    floors: Mapping[Cell, float]  # the golden's; in the second pass its own, where that is larger
    reach: int
    whole: bool = True  # compared on all that was given: the run was not ended early
    along: float = 0.0  # how far it moves the logits where the candidate's are: a cosine
    shows: frozenset[int] = frozenset()  # rows of the logits in which its own run is seen
    noise: Mapping[Cell, float] = field(default_factory=dict)  # its own, as measured in the second

    def ratio(self, cell: Cell) -> float:
        """The error of a tap in a group of rows, in floors."""
        return self.errors[cell] / self.floors[cell]

    def error(self, tap: str) -> float | None:
        """The largest error of a tap."""
        return max((e for (name, _), e in self.errors.items() if name == tap), default=None)

    @property
    def worst(self) -> Cell:
        """The tap and the group of rows that is explained least."""
        return max(self.errors, key=self.ratio)

    @property
    def residual(self) -> float:
        """The largest ratio of any tap."""
        return self.ratio(self.worst)

    def suspect(self) -> Suspect:
        tap, _ = self.worst
        places = " + ".join(fault.place for fault in self.faults if fault.place)
        of = next((fault for fault in self.faults if fault.value is not None), None)
        value, should_be = (of.value, of.should_be) if of else (None, None)
        ids = tuple(fault.id for fault in self.faults)
        return Suspect(ids, self.residual, tap, places, value, should_be)


@dataclass(frozen=True)
class Search:
    """What stays the same over all trials."""

    model: Llama
    schedule: Schedule
    evidence: Evidence
    floors: Mapping[Cell, float]  # the golden's, at the candidate's dtype
    dtype: str
    progress: Progress
    jobs: int = 1  # trials at once, in threads: they share the weights, and NumPy lets others run
    begun: dict[tuple[object, ...], Beginning] = field(default_factory=dict)  # each is made once

    @property
    def complete(self) -> bool:
        """Whether all taps were given, so that an operation's inputs are those just before it."""
        return self.evidence.values.keys() >= set(tap_names(self.model.config.n_layers))

    def in_one_call(self) -> "Search":
        """The search with all decode steps in one call, which reads the weights once."""
        return dataclasses.replace(self, schedule=in_fewer_steps(self.model, self.schedule))

    @property
    def alone(self) -> bool:
        """Whether the logits are all that was given."""
        return list(self.evidence.values) == ["logits"]

    @staticmethod
    def stepless(faults: Iterable[Fault]) -> bool:
        """Whether the logits with these mistakes do not depend on how a run is divided in calls."""
        return all(fault.id in CATALOGUE and fault.id not in BY_STEP for fault in faults)

    def quickly(self, faults: tuple[Fault, ...]) -> "Search":
        """The same in one call, if these are of how weights are stored: they know no steps."""
        return self.in_one_call() if faults and all(f.stored for f in faults) else self

    def each(
        self, look: Callable[[tuple[Fault, ...]], Trial], sets: Sequence[tuple[Fault, ...]]
    ) -> list[Trial]:
        """A trial of each set of faults, in their order; `jobs` of them are made at once."""
        found: list[Trial] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            for faults, trial in zip(sets, pool.map(look, sets), strict=True):
                self.progress(len(found), len(sets), " + ".join(fault.id for fault in faults))
                found.append(trial)
        self.progress(len(sets), len(sets), "")
        return found

    def play(
        self, faults: Iterable[Fault], dtype: str, observe: Observer = observe_nothing
    ) -> dict[str, np.ndarray]:
        """The taps in evidence of the model with these faults, at a dtype."""
        model, schedule, faults = self.model, self.schedule, tuple(faults)
        for stored in (fault for fault in faults if fault.stored):
            model, schedule = stored.apply(model, schedule)
        computed = [fault for fault in faults if not fault.stored]
        return self.play_on(in_dtype(model, dtype), computed, observe)

    def play_on(
        self, model: Llama, faults: Iterable[Fault], observe: Observer = observe_nothing
    ) -> dict[str, np.ndarray]:
        """The same for this model as it is."""
        schedule = self.schedule
        for fault in faults:
            model, schedule = fault.apply(model, schedule)
        if schedule != self.schedule or not self.evidence.by_step:
            observe = observe_nothing  # its steps are not those of the candidate
        return run(model, schedule, self.evidence.values.keys(), observe)

    def beginning(self, faults: tuple[Fault, ...]) -> Beginning:
        """How far the candidate is from a model with these faults, at each tap of each step."""
        key = self.schedule.steps, faults
        if key in self.begun:
            return self.begun[key]
        base = self.begun[key] = Beginning({}, {})

        def observe(name: str, start: int, array: np.ndarray) -> None:
            base.errors[name, start] = self.evidence.step_error(name, start, array)
            if name == "logits":
                base.logits[start] = array

        self.play(faults, "float32", observe)
        return base

    def screen(self, faults: tuple[Fault, ...], base: Beginning, share: float = CLOSER) -> Trial:
        """A quick look: one run in float32, in units of the correct model's floors.

        It ends at the first tap of a step at which the candidate is off by much, and by no less
        than `share` of what it is from `base`, which these faults are to explain.
        """
        seen: list[str] = []
        along = [0.0]
        shows: set[int] = set()
        hopeless: dict[Cell, float] = {}
        # With all rows in one call, logits alone come at its end: nothing is saved by stopping.
        to_the_end = self.alone and self.schedule != self.evidence.schedule

        def observe(name: str, start: int, array: np.ndarray) -> None:
            error = self.evidence.step_error(name, start, array)
            cell = name, self.evidence.schedule.group(start)
            if name == "logits":
                before = base.logits[start]
                off = self.evidence.values[name][start : start + len(array)] - before
                along.append(cosine(off, array - before))
                ratios = row_errors(name, array, before) / self.floors[cell]
                shows.update(start + i for i in np.flatnonzero(ratios > DIVERGENT).tolist())
            left = error > share * base.errors[name, start]
            if left and error > HOPELESS * self.floors[cell] and not to_the_end:
                hopeless[cell] = error
                raise StopRun
            seen.append(name)

        taps = self.play(faults, "float32", observe)
        if hopeless:  # of the other taps, only some rows are known
            trial = Trial(faults, hopeless, self.floors, len(seen), whole=False)
        else:
            reach = self.evidence.reach(taps, self.floors, HOPELESS, dict.fromkeys(seen))
            trial = Trial(faults, self.evidence.errors(taps), self.floors, reach)
        return dataclasses.replace(trial, along=max(along), shows=frozenset(shows))

    def refine(self, faults: tuple[Fault, ...]) -> Trial:
        """An exact look: in units of the noise that a model with these faults has itself.

        Its noise is the largest of the equally right ways to compute it, of which no more are run
        than it takes to know whether it explains the candidate.
        """
        order: dict[str, None] = {}

        def observe(name: str, start: int, array: np.ndarray) -> None:
            order.setdefault(name)

        exact = self.play(faults, "float64", observe)
        noise = self.evidence.floors(self.play(faults, self.dtype), exact)
        trial = self.trial(faults, exact, noise, order)
        for variant in itertools.islice(variants(self.model, self.dtype), 1, None):
            if not DIVERGENT < trial.residual <= HOPELESS:
                break
            more = self.evidence.floors(self.play_on(variant, faults), exact)
            noise = {cell: max(more[cell], error) for cell, error in noise.items()}
            trial = self.trial(faults, exact, noise, order)
        return trial

    def trial(
        self,
        faults: tuple[Fault, ...],
        exact: Mapping[str, np.ndarray],
        noise: dict[Cell, float],
        order: Iterable[str],
    ) -> Trial:
        """The trial of a run in float64, with the noise that was found of it."""
        least = UNIT_ROUNDOFF[self.dtype]
        floors = dict(self.floors)
        measured = smoothed(noise, self.dtype)
        for cell, own in measured.items():
            floors[cell] = max(floors[cell], own)
        for (tap, group), floor in self.floors.items():
            n = self.evidence.values[tap].size * len(self.evidence.groups[tap][group])
            n //= max(sum(map(len, self.evidence.groups[tap])), 1)
            # The correct model's noise shows what one rounding grows to by this tap.
            grown = one_rounding(faults, n) * floor / least
            floors[tap, group] = max(floors[tap, group], grown)
        reach = self.evidence.reach(exact, floors, DIVERGENT, order)
        return Trial(faults, self.evidence.errors(exact), floors, reach, noise=measured)

    def candidates(self, without: tuple[Fault, ...]) -> list[Fault]:
        """The faults that could be added to those."""
        config = self.model.config
        return [
            fault
            for fault in CATALOGUE.values()
            if fault.applies(config) and fault not in without and not (without and fault.harmless)
        ]

    def extend(self, base: Trial, faults: list[Fault] | None = None) -> list[Trial]:
        """Each of these faults (default: all) on top of those of `base`.

        The promising ones are refined, and come first, the best before the others.
        """
        faults = self.candidates(base.faults) if faults is None else faults
        at_once = self.in_one_call()
        steps = self.beginning(base.faults)
        in_one = at_once.beginning(base.faults) if self.alone else steps

        def look(every: tuple[Fault, ...]) -> Trial:
            if self.alone and self.stepless(every):
                return at_once.screen(every, in_one)
            return self.screen(every, steps)

        trials = self.each(look, [(*base.faults, fault) for fault in faults])
        best = sorted(filter(lambda trial: closer(trial, base), trials), key=by_residual)
        furthest = sorted((t for t in trials if t.reach > base.reach), key=lambda t: -t.reach)
        chosen = {id(trial): trial for trial in (*best[:REFINED], *furthest[:REFINED])}
        refined = [
            dataclasses.replace(self.refine(t.faults), along=t.along, shows=t.shows)
            for t in chosen.values()
        ]
        rest = [trial for trial in trials if id(trial) not in chosen]
        return sorted(refined, key=by_residual) + rest


def one_rounding(faults: Iterable[Fault], n: int) -> float:
    """The relative RMS error of n values when one of them was rounded the other way.

    A fault that rounds to few bits does so to some value or other, and in a small model a run may
    be too short to show it: then its measured noise is too small.
    """
    coarsest = max((UNIT_ROUNDOFF[f.rounds_to] for f in faults if f.rounds_to), default=0.0)
    return coarsest / math.sqrt(max(n, 1))


def by_residual(trial: Trial) -> float:
    """To sort by."""
    return trial.residual


def closer(trial: Trial, base: Trial) -> bool:
    """Whether the candidate is clearly nearer to a trial than to `base`, wherever that is off."""
    left = [cell for cell in base.errors if base.ratio(cell) > DIVERGENT]
    unknown = math.inf
    return all(trial.errors.get(cell, unknown) <= CLOSER * base.errors[cell] for cell in left)


def explains(trial: Trial, base: Trial) -> bool:
    """Whether a trial accounts for everything that `base` leaves open.

    All taps within the floors; and none that was off stays nearly as far off, which would only
    mean that this fault's own noise is as large as the error.
    """
    return trial.residual <= DIVERGENT and closer(trial, base)


def indistinguishable(explaining: list[Trial]) -> list[Trial]:
    """Of trials that explain, best first, those that this evidence cannot tell from the best."""
    limit = max(SUSPICIOUS, 2 * explaining[0].residual)
    return [trial for trial in explaining if trial.residual <= limit]
