"""Choices that explain a candidate: right programs that keep or compute something in fewer bits.

A choice has to explain more than a mistake has: all within the floors, and of the error that there
was without it it leaves a fifth at most, or what its own noise is: in a deep model the noise of
float32 decides which way one in a hundred of the rounded values goes. So none hides a mistake that
is not smaller than that, or that does not look like it.
"""

import math
from collections.abc import Iterable, Sequence

from ...faults import CHOICES, Choice, Fault
from ...replay.metrics import DIVERGENT, SUSPICIOUS, Cell
from ..search.search import Search
from ..search.trial import CLOSER, Trial, by_residual

CLEAR = 30.0  # floors; where the error is larger, noise does not look like a choice
SHARE = 0.2  # what a choice may leave of the error that there was without it
MOST = 0.6  # what may be left where the choice's own noise leaves as much
ONCE = 0.33  # what may be left of a tap where one rounding the other way may leave as much
SCREENED = 0.8  # what a quick look may leave: two runs' noise
PART = 0.9  # the larger of two choices leaves about 0.7 of what both make, and none other less
AT_ONCE = 4  # of those of weights, whose matrices are quantised for each; then a look at them
NEAR = 3  # how many are looked at exactly


def leaves(trial: Trial, without: Trial, share: float) -> bool:
    """Whether, wherever `without` is off, a trial leaves at most this share of the error."""
    off = [cell for cell in without.errors if without.ratio(cell) > DIVERGENT]
    return all(trial.errors[cell] <= share * without.errors[cell] for cell in off)


def accounts(search: Search, trial: Trial, base: Trial, *parts: Trial) -> bool:
    """Whether a trial explains all that is off, and leaves far less than each of its parts.

    Where the choice is hardly above noise, a fifth is less than right programs may be off: three
    times its own noise will do there, as long as that is not most of what there was; or three times
    what one value makes that is rounded the other way, up to a third. That is no reason to accuse:
    where there is a mistake as well, it has to be a fifth.
    """
    right = all(fault.id in CHOICES for fault in trial.faults)

    def enough(cell: Cell, error: float) -> float:
        noise = max(search.floors[cell], trial.noise.get(cell, 0.0))
        measured = min(SUSPICIOUS * noise, MOST * error) if right else 0.0
        rounding = min(SUSPICIOUS * trial.floors[cell], once(cell) * error) if right else 0.0
        return max(SHARE * error, measured, rounding)

    def once(cell: Cell) -> float:
        """One rounding weighs more in a group that has few of the rows: as their root."""
        tap, group = cell
        rows = [len(each) for each in search.evidence.groups[tap]]
        return min(CLOSER, ONCE * math.sqrt(sum(rows) / rows[group]))

    def leaves_little_of(other: Trial) -> bool:
        off = [cell for cell, e in other.errors.items() if e > DIVERGENT * other.floors[cell]]
        return bool(off) and all(
            trial.errors[cell] <= enough(cell, other.errors[cell]) for cell in off
        )

    return trial.residual <= DIVERGENT and all(map(leaves_little_of, (base, *parts)))


def decisive(found: Sequence[Trial], base: Trial) -> bool:
    """Whether one leaves half of a large error at most: by chance, no mistake does the same."""
    return base.residual > CLEAR and any(leaves(trial, base, CLOSER) for trial in found)


def possible(search: Search, choices: Iterable[Choice]) -> list[Choice]:
    """Those that this model can have, and that change it."""
    model = search.model
    return [c for c in choices if c.applies(model.config) and c.changes(model)]


def screened(search: Search, choices: Sequence[Choice], first: Trial) -> list[Trial]:
    """A quick look at each choice on top of what a trial has."""
    return screened_sets(search, [(*first.faults, choice) for choice in choices], first)


def screened_sets(
    search: Search, sets: Sequence[tuple[Fault, ...]], first: Trial | None = None
) -> list[Trial]:
    """A quick look at sets of choices, held against what a trial has, or the correct model."""
    if not sets:
        return []
    begun = search.beginning(first.faults if first else ())
    return search.each(lambda every: search.screen(every, begun, PART), sets)


def refined(search: Search, trial: Trial) -> Trial:
    """An exact look at a trial whose choices are made in their best ways, the last first."""
    search = search.quickly(trial.faults)
    for i in reversed(range(len(trial.faults))):
        before, fault, after = trial.faults[:i], trial.faults[i], trial.faults[i + 1 :]
        ways = CHOICES[fault.id].each_way if fault.id in CHOICES else []
        if len(ways) > 1:
            steps = search.beginning(())
            sets = [(*before, way, *after) for way in ways]
            trials = [search.screen(every, steps, share=math.inf) for every in sets]
            trial = min(trials, key=by_residual)
    return search.refine(trial.faults)


def best_of(search: Search, trials: Iterable[Trial], base: Trial, *parts: Trial) -> list[Trial]:
    """Of trials that were screened those that explain, one of each name, best first."""
    least = parts[0] if parts else base
    near = [trial for trial in trials if trial.whole and leaves(trial, least, SCREENED)]
    found: dict[tuple[str, ...], Trial] = {}
    for trial in sorted(near, key=by_residual)[:NEAR]:
        exact = refined(search, trial)
        names = tuple(fault.id for fault in exact.faults)
        if names not in found and accounts(search, exact, base, *parts):
            found[names] = exact
    return list(found.values())


def quick(search: Search, base: Trial) -> tuple[list[Trial], list[Trial]]:
    """The choices that cost a run each, in their first way: those that explain, and all."""
    choices = possible(search, (c for c in CHOICES.values() if not c.stored))
    trials = screened(search.in_one_call(), choices, base)
    return best_of(search, trials, base), trials


def thorough(search: Search, base: Trial) -> tuple[list[Trial], list[Trial]]:
    """Those made in other ways, then those of weights: until one explains."""
    at_once = search.in_one_call()
    others = [way for c in CHOICES.values() if not c.stored for way in c.each_way[1:]]
    trials = screened(at_once, possible(search, others), base)
    found = best_of(search, trials, base)
    stored = possible(search, (c for c in CHOICES.values() if c.stored))
    stored = [way for c in stored for way in (c.each_way if c.far else [c])]
    for i in range(0, len(stored), AT_ONCE):
        if decisive(found, base):
            break
        more = screened(at_once, stored[i : i + AT_ONCE], base)
        trials += more
        found += best_of(search, more, base)
    return found, trials
