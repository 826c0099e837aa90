"""Two mistakes at once: one that explains the beginning and any other, or both in one stage."""

import itertools
import math

from ...formats.checkpoint import expected_shapes
from ..replay.metrics import DIVERGENT
from .search.search import Search
from .search.trial import Trial, explains

EXTENDED = 3  # how many faults that explain the beginning are each tried with every other
# Multiplications that pairs of faults in one stage may take without being asked for: half a minute
# or so. Counted, not timed, so that the diagnosis is the same on every machine.
PATIENCE = 3e11


def affordable(search: Search, patience: float = PATIENCE) -> int:
    """How many runs that is enough for: all pairs of a small model, some of a large one."""
    sizes = (math.prod(shape) for _, shape in expected_shapes(search.model.config))
    return int(patience / (sum(sizes) * len(search.schedule.tokens)))


def explaining_pairs(
    search: Search, base: Trial, singles: list[Trial]
) -> tuple[list[Trial], list[Trial]]:
    """Pairs of which one fault explains the beginning: those that explain all, and all tried.

    `singles` are refined where it matters: the first fault is one that reaches further than the
    correct model does, the second any other.
    """
    further = [trial for trial in singles if trial.reach > base.reach]
    further.sort(key=lambda trial: (-trial.reach, trial.residual))
    tried, found = [], []
    for first in further[:EXTENDED]:
        pairs = search.extend(first)
        tried += pairs
        found += [pair for pair in pairs if explains(pair, base) and explains(pair, first)]
    return found, tried


def pairs_in_one_stage(
    search: Search, base: Trial, singles: list[Trial], deep: bool
) -> tuple[list[Trial], list[Trial]]:
    """Pairs of faults that both act on the first bad tap; with `deep`, of any two faults."""
    taps = list(search.evidence.values)
    first = taps[base.reach % len(taps)]
    noise = DIVERGENT * max(floor for (tap, _), floor in base.floors.items() if tap == first)
    steps = search.beginning(())
    # How far off the correct model is here, in one step or over all: what a fault leaves as it was.
    untouched = [e for (tap, _), e in (*base.errors.items(), *steps.errors.items()) if tap == first]

    def off_with(trial: Trial, off: float) -> float:
        error = trial.error(first)
        return off if error is None else error

    touching = [
        trial.faults[0]
        for trial in singles
        if deep or all(abs(off_with(trial, off) - off) > noise for off in untouched)
    ]
    pairs = list(itertools.combinations(touching, 2))
    pairs = pairs if deep else pairs[: affordable(search)]
    tried = search.each(lambda pair: search.screen(pair, steps), pairs)
    best = sorted(tried, key=lambda trial: (-trial.reach, trial.residual))[:EXTENDED]
    refined = [search.refine(trial.faults) for trial in best]
    return [pair for pair in refined if explains(pair, base)], tried
