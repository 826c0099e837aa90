"""A trial: a set of faults, and how far the candidate is from a model with them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...compare.verdict import Suspect
from ...faults import Fault
from ...replay.metrics import DIVERGENT, SUSPICIOUS, Cell
from ...replay.precision import UNIT_ROUNDOFF

CLOSER = 0.5  # an explanation leaves at most this share of the error that there was without it


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
    along: float = 0.0  # how far it moves the logits where the candidate's are: see Towards
    times: float = 0.0  # how many times as far: about 1, if it is a part of what explains it
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
