"""The search for the fault: which model with which mistakes gives what the candidate gave?

Two passes. All faults are run once, in float32, and ranked by how much of the candidate they
explain. The best are then run exactly, and again in the candidate's dtype: a fault has noise of its
own, and only in units of that does its distance from the candidate mean anything.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...model import Llama
from ..compare.verdict import Suspect
from ..faults import CATALOGUE, Fault
from ..progress import Progress
from ..replay.metrics import DIVERGENT, SUSPICIOUS, smoothed
from ..replay.precision import UNIT_ROUNDOFF, in_dtype
from ..replay.replay import Observer, StopRun, observe_nothing, run
from ..replay.schedule import Schedule
from .evidence import Evidence

REFINED = 6  # of those that come close to it, and of those that explain most of its beginning
HOPELESS = 100.0  # floors; a fault's own noise may be larger than the correct model's, but less so
CLOSER = 0.5  # an explanation leaves at most this share of the error that there was without it

StepErrors = dict[tuple[str, int], float]  # tap and first row of a step → error


@dataclass(frozen=True)
class Trial:
    """A set of faults, and how far the candidate is from a model with them, tap by tap.

    `reach` counts the taps, step after step, that agree before the first that does not: where a
    second fault would have to begin.
    """

    faults: tuple[Fault, ...]
    errors: Mapping[str, float]
    floors: Mapping[str, float]  # the golden's in the first pass, its own in the second
    reach: int
    whole: bool = True  # compared on all that was given: the run was not ended early
    noise: Mapping[str, float] = field(default_factory=dict)  # its own, as measured in the second

    def ratio(self, tap: str) -> float:
        """The error of a tap in floors."""
        return self.errors[tap] / self.floors[tap]

    @property
    def worst(self) -> str:
        """The tap that is explained least."""
        return max(self.errors, key=self.ratio)

    @property
    def residual(self) -> float:
        """The largest ratio of any tap."""
        return self.ratio(self.worst)

    def suspect(self) -> Suspect:
        return Suspect(tuple(fault.id for fault in self.faults), self.residual, self.worst)


@dataclass(frozen=True)
class Search:
    """What stays the same over all trials."""

    model: Llama
    schedule: Schedule
    evidence: Evidence
    floors: Mapping[str, float]  # of the correct model, at the candidate's dtype
    dtype: str
    progress: Progress

    def play(
        self, faults: Iterable[Fault], dtype: str, observe: Observer = observe_nothing
    ) -> dict[str, np.ndarray]:
        """The taps in evidence of a model with these faults, at a dtype."""
        model, schedule, faults = self.model, self.schedule, tuple(faults)
        for stored in (fault for fault in faults if fault.stored):
            model, schedule = stored.apply(model, schedule)
        model = in_dtype(model, dtype)
        for fault in (fault for fault in faults if not fault.stored):
            model, schedule = fault.apply(model, schedule)
        if schedule != self.schedule or not self.evidence.by_step:
            observe = observe_nothing  # its steps are not those of the candidate
        return run(model, schedule, self.evidence.values.keys(), observe)

    def step_errors(self, faults: tuple[Fault, ...]) -> StepErrors:
        """How far the candidate is from a model with these faults, at each tap of each step."""
        errors: StepErrors = {}

        def observe(name: str, start: int, array: np.ndarray) -> None:
            errors[name, start] = self.evidence.step_error(name, start, array)

        self.play(faults, "float32", observe)
        return errors

    def screen(self, faults: tuple[Fault, ...], base: StepErrors, share: float = CLOSER) -> Trial:
        """A quick look: one run in float32, in units of the correct model's floors.

        It ends at the first tap of a step at which the candidate is off by much, and by no less
        than `share` of what it is from `base`, which these faults are to explain.
        """
        seen: list[str] = []
        hopeless: dict[str, float] = {}

        def observe(name: str, start: int, array: np.ndarray) -> None:
            error = self.evidence.step_error(name, start, array)
            if error > HOPELESS * self.floors[name] and error > share * base[name, start]:
                hopeless[name] = error
                raise StopRun
            seen.append(name)

        taps = self.play(faults, "float32", observe)
        if hopeless:  # of the other taps, only some rows are known
            return Trial(faults, hopeless, self.floors, len(seen), whole=False)
        reach = self.evidence.reach(taps, self.floors, HOPELESS, dict.fromkeys(seen))
        return Trial(faults, self.evidence.errors(taps), self.floors, reach)

    def refine(self, faults: tuple[Fault, ...]) -> Trial:
        """An exact look: in units of the noise that a model with these faults has itself."""
        order: dict[str, None] = {}

        def observe(name: str, start: int, array: np.ndarray) -> None:
            order.setdefault(name)

        exact = self.play(faults, "float64", observe)
        noisy = self.play(faults, self.dtype)
        measured = smoothed(self.evidence.floors(noisy, exact), self.dtype)
        least = UNIT_ROUNDOFF[self.dtype]
        floors = {
            tap: max(
                measured.get(tap, least),
                # The correct model's noise shows what one rounding grows to by this tap.
                one_rounding(faults, got.size) * self.floors[tap] / least,
            )
            for tap, got in self.evidence.values.items()
        }
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

    def extend(self, base: Trial) -> list[Trial]:
        """Every fault on top of those of `base`: the promising ones refined, best first."""
        faults = self.candidates(base.faults)
        trials = []
        steps = self.step_errors(base.faults)
        for done, fault in enumerate(faults):
            names = " + ".join(f.id for f in (*base.faults, fault))
            self.progress(done, len(faults), names)
            trials.append(self.screen((*base.faults, fault), steps))
        self.progress(len(faults), len(faults), "")
        best = sorted(filter(lambda trial: closer(trial, base), trials), key=by_residual)
        furthest = sorted((t for t in trials if t.reach > base.reach), key=lambda t: -t.reach)
        chosen = {trial.faults: trial for trial in (*best[:REFINED], *furthest[:REFINED])}
        refined = [self.refine(faults) for faults in chosen]
        rest = [trial for trial in trials if trial.faults not in chosen]
        return sorted(refined, key=by_residual) + rest


def one_rounding(faults: Iterable[Fault], n: int) -> float:
    """The relative RMS error of n values when one of them was rounded the other way.

    A fault that rounds to few bits does so to some value or other, and in a small model a run may
    be too short to show it: then its measured noise is too small.
    """
    coarsest = max((UNIT_ROUNDOFF[f.rounds_to] for f in faults if f.rounds_to), default=0.0)
    return coarsest / math.sqrt(n)


def by_residual(trial: Trial) -> float:
    """To sort by."""
    return trial.residual


def closer(trial: Trial, base: Trial) -> bool:
    """Whether the candidate is clearly nearer to a trial than to `base`, wherever that is off."""
    open_taps = [tap for tap in base.errors if base.ratio(tap) > DIVERGENT]
    unknown = math.inf
    return all(trial.errors.get(tap, unknown) <= CLOSER * base.errors[tap] for tap in open_taps)


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
