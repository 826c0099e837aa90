"""The search for the fault: which model with which mistakes gives what the candidate gave?

Two passes. All faults are run once, in float32, and ranked by how much of the candidate they
explain. The best are then run exactly, and again in the candidate's dtype: a fault has noise of its
own, and where it is larger than the correct model's, its distance from the candidate is in units of
that. All is compared by cells: a tap in one group of rows.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...faults import CATALOGUE, Fault
from ...replay.metrics import DIVERGENT, Cell, row_errors, smoothed
from ...replay.precision import UNIT_ROUNDOFF
from ...replay.replay import StopRun
from ...replay.variants import variants
from .runs import Beginning, Runs
from .towards import Towards
from .trial import CLOSER, Trial, by_residual, closer, one_rounding

REFINED = 6  # of those that come close to it, and of those that explain most of its beginning
HOPELESS = 100.0  # floors; a fault's own noise may be larger than the correct model's, but less so


@dataclass(frozen=True)
class Search(Runs):
    """What faults explain the candidate, by looking at runs with them."""

    def screen(self, faults: tuple[Fault, ...], base: Beginning, share: float = CLOSER) -> Trial:
        """A quick look: one run in float32, in units of the correct model's floors.

        It ends at the first tap of a step at which the candidate is off by much, and by no less
        than `share` of what it is from `base`, which these faults are to explain.
        """
        seen: list[str] = []
        towards = Towards(base.noise)
        shows: set[int] = set()
        hopeless: dict[Cell, float] = {}
        # With all rows in one call, logits alone come at its end: nothing is saved by stopping.
        to_the_end = self.alone and self.schedule != self.evidence.schedule

        def observe(name: str, start: int, array: np.ndarray) -> None:
            cell = name, self.evidence.schedule.group(start)
            if name == "logits":
                before = base.logits[start]
                seen_in = row_errors(name, array, before) > DIVERGENT * self.floors[cell]
                shows.update(start + i for i in np.flatnonzero(seen_in).tolist())
                off = self.evidence.values[name][start : start + len(array)] - before
                towards.add(off[seen_in], (array - before)[seen_in])
            if not to_the_end:
                error = self.evidence.step_error(name, start, array)
                left = error > share * base.errors[name, start]
                if left and error > HOPELESS * self.floors[cell]:
                    hopeless[cell] = error
                    raise StopRun
            seen.append(name)

        taps = self.play(faults, "float32", observe)
        if hopeless:  # of the other taps, only some rows are known
            trial = Trial(faults, hopeless, self.floors, len(seen), whole=False)
        else:
            reach = self.evidence.reach(taps, self.floors, HOPELESS, dict.fromkeys(seen))
            trial = Trial(faults, self.evidence.errors(taps), self.floors, reach)
        shown = frozenset(shows)
        return dataclasses.replace(trial, along=towards.along, times=towards.times, shows=shown)

    def refine(self, faults: tuple[Fault, ...]) -> Trial:
        """An exact look: in units of the noise that a model with these faults has itself.

        Its noise is the largest of the equally right ways to compute it, of which no more are run
        than it takes to know whether it explains the candidate.
        """
        order: dict[str, None] = {}

        def observe(name: str, start: int, array: np.ndarray) -> None:
            order.setdefault(name)

        play, noisily = self.play, self.taps_of
        exact, noisy = self.together(
            [partial(play, faults, "float64", observe), partial(noisily, faults, self.dtype)]
        )
        noise = self.evidence.floors(noisy, exact)
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

        def quick(every: tuple[Fault, ...]) -> Trial:
            if self.alone and self.stepless(every):
                return at_once.screen(every, in_one)
            return self.screen(every, steps)

        trials = self.each(quick, [(*base.faults, fault) for fault in faults])
        best = sorted(filter(lambda trial: closer(trial, base), trials), key=by_residual)
        furthest = sorted((t for t in trials if t.reach > base.reach), key=lambda t: -t.reach)
        chosen = {id(trial): trial for trial in (*best[:REFINED], *furthest[:REFINED])}
        looks = self.together([partial(self.refine, t.faults) for t in chosen.values()])
        refined = [
            dataclasses.replace(look, along=t.along, times=t.times, shows=t.shows)
            for t, look in zip(chosen.values(), looks, strict=True)
        ]
        rest = [trial for trial in trials if id(trial) not in chosen]
        return sorted(refined, key=by_residual) + rest
