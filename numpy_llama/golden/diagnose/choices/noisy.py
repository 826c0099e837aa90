"""Choices whose own noise hides much of what they change: told by rows, from logits alone.

A cache in float16 rounds thousands of values, and float32's noise decides which way some of them
go. Layer by layer that grows: in 30 of them two equally right runs with such a cache may be half as
far from each other as they are from the truth, in some rows further. But not in most rows: each
leaves far less of its error than it would of another's.
"""

from collections.abc import Iterable

import numpy as np

from ....model import Llama
from ...faults import CHOICES, Fault
from ...replay.metrics import DIVERGENT, Cell, row_errors
from ...replay.replay import Taps
from ...replay.schedule import Schedule
from ...replay.variants import variants
from ..search.search import Search
from ..search.trial import CLOSER, Trial

ALIKE = 2.0  # times its own noise; a sample of it is rarely so much larger than the largest of four
CLEAR = 30.0  # floors; where the error is larger, noise does not look like a choice
NEARLY = 0.65  # what may be left of the error of a row, as their geometric mean
ROWS = 8  # how many must be off: in fewer, chance is enough
LEAST = 0.05  # of a row: one that agrees wholly says no more
ALONG = 0.5  # the cosine, in a quick look, of what it changes with the error


def tellable(search: Search, trial: Trial) -> bool:
    """Whether all is choices, some of what is computed, and all rows of the logits speak of it."""
    right = all(fault.id in CHOICES for fault in trial.faults)
    computed = any(not fault.stored for fault in trial.faults)
    return right and computed and search.alone and search.evidence.by_step


def hopeful(search: Search, trial: Trial) -> bool:
    """Whether a quick look at choices may be of those that were made, whatever is left."""
    return trial.along >= ALONG and tellable(search, trial)


def own_noise(search: Search, trial: Trial, exact: Taps) -> dict[Cell, float]:
    """How far equally right ways to compute a model with these choices are off it, at most."""
    noise = dict.fromkeys(trial.errors, 0.0)
    computed = [fault for fault in trial.faults if not fault.stored]
    for variant in variants(with_stored(search.model, trial.faults), search.dtype):
        off = search.evidence.floors(search.play_on(variant, computed), exact)
        noise = {cell: max(error, off.get(cell, 0.0)) for cell, error in noise.items()}
    return noise


def with_stored(model: Llama, faults: Iterable[Fault]) -> Llama:
    """The model with those choices that are of how its weights are stored."""
    schedule = Schedule((0,), (1,))  # they know none
    for fault in faults:
        if fault.stored:
            model, _ = fault.apply(model, schedule)
    return model


def left_of_rows(search: Search, exact: Taps, without: Trial) -> float:
    """The geometric mean of what a run leaves of the error of each row that is off `without` it.

    1 where few are: then that says nothing.
    """
    steps = search.in_one_call().beginning(without.faults).logits
    got = search.evidence.values["logits"]
    error = row_errors("logits", got, np.concatenate([steps[start] for start in sorted(steps)]))
    left = row_errors("logits", got, exact["logits"])
    floors = [search.floors["logits", search.evidence.schedule.group(i)] for i in range(len(got))]
    off = error > DIVERGENT * np.array(floors)
    shares = np.maximum(left[off] / error[off], LEAST)
    return float(np.exp(np.log(shares).mean())) if len(shares) >= ROWS else 1.0


def within_noise(search: Search, trial: Trial, base: Trial, *parts: Trial) -> bool:
    """Whether choices leave no more than their own noise, and in most rows far less than `parts`.

    Those are what is there without one of them.
    """
    if base.faults or base.residual <= CLEAR or not tellable(search, trial):
        return False
    exact = search.play(trial.faults, "float64")
    if any(left_of_rows(search, exact, without) > NEARLY for without in (base, *parts)):
        return False
    noise = own_noise(search, trial, exact)

    def enough(cell: Cell) -> float:
        """What one rounding the other way makes will do too, as far as that is not most of all."""
        once = min(ALIKE * trial.floors[cell], CLOSER * base.errors[cell])
        return max(ALIKE * noise[cell], once)

    return all(error <= enough(cell) for cell, error in trial.errors.items())
