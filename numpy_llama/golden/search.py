"""The search for the fault: which model with which mistakes gives what the candidate gave?

Two passes. All faults are run once, in float32, and ranked by how much of the candidate they
explain. The best are then run exactly, and again in the candidate's dtype: a fault has noise of its
own, and only in units of that does its distance from the candidate mean anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..model import Llama
from .detect import Progress
from .evidence import Evidence
from .faults import CATALOGUE, Fault
from .precision import UNIT_ROUNDOFF, in_dtype
from .record import steadied
from .run import Schedule, run
from .verdict import DIVERGENT, SUSPICIOUS, Suspect

REFINED = 8  # how many of the ranked are looked at exactly
CLOSER = 0.5  # an explanation leaves at most this share of the error that there was without it


@dataclass(frozen=True)
class Trial:
    """A set of faults, and how far the candidate is from a model with them, tap by tap."""

    faults: tuple[Fault, ...]
    errors: Mapping[str, float]
    floors: Mapping[str, float]  # the golden's in the first pass, its own in the second

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

    @property
    def reach(self) -> int:
        """How many taps, in causal order, are explained before the first that is not."""
        return next(
            (i for i, tap in enumerate(self.errors) if self.ratio(tap) > DIVERGENT),
            len(self.errors),
        )

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

    def play(self, faults: Iterable[Fault], dtype: str) -> dict[str, np.ndarray]:
        """The taps in evidence of a model with these faults, at a dtype."""
        model, schedule = in_dtype(self.model, dtype), self.schedule
        for fault in faults:
            model, schedule = fault.apply(model, schedule)
        return run(model, schedule, self.evidence.values.keys())

    def screen(self, faults: tuple[Fault, ...]) -> Trial:
        """A quick look: one run in float32, in units of the correct model's floors."""
        errors = self.evidence.errors(self.play(faults, "float32"))
        return Trial(faults, errors, {tap: self.floors[tap] for tap in errors})

    def refine(self, faults: tuple[Fault, ...]) -> Trial:
        """An exact look: in units of the noise that a model with these faults has itself."""
        exact = self.play(faults, "float64")
        noisy = self.play(faults, self.dtype)
        errors = self.evidence.errors(exact)
        own = steadied(self.evidence.floors(noisy, exact), self.dtype)
        least = UNIT_ROUNDOFF[self.dtype]
        return Trial(faults, errors, {tap: own.get(tap, least) for tap in errors})

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
        for done, fault in enumerate(faults):
            names = " + ".join(f.id for f in (*base.faults, fault))
            self.progress(done, len(faults), names)
            trials.append(self.screen((*base.faults, fault)))
        self.progress(len(faults), len(faults), "")
        best = sorted(trials, key=lambda trial: trial.residual)[:REFINED]
        furthest = sorted(trials, key=lambda trial: (-trial.reach, trial.residual))[:REFINED]
        chosen = {trial.faults: trial for trial in (*best, *furthest)}
        refined = [self.refine(faults) for faults in chosen]
        rest = [trial for trial in trials if trial.faults not in chosen]
        return sorted(refined, key=lambda trial: trial.residual) + rest


def explains(trial: Trial, base: Trial) -> bool:
    """Whether a trial accounts for everything that `base` leaves open.

    All taps within the floors; and none that was off stays nearly as far off, which would only
    mean that this fault's own noise is as large as the error.
    """
    if trial.residual > DIVERGENT:
        return False
    open_taps = [tap for tap in base.errors if base.ratio(tap) > DIVERGENT]
    return all(trial.errors[tap] <= CLOSER * base.errors[tap] for tap in open_taps)


def indistinguishable(explaining: list[Trial]) -> list[Trial]:
    """Of trials that explain, best first, those that this evidence cannot tell from the best."""
    limit = max(SUSPICIOUS, 2 * explaining[0].residual)
    return [trial for trial in explaining if trial.residual <= limit]
