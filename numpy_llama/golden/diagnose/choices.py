"""Choices that explain a candidate: right programs that keep or compute something in fewer bits.

A choice has to explain more than a mistake has: all within the floors, and of the error that there
was without it a fifth at most. So none hides a mistake, which would have to look like it.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from ..faults import CHOICES, Choice, Fault
from ..record.floors import in_fewer_steps
from ..replay.metrics import DIVERGENT, SUSPICIOUS
from .search import CLOSER, Search, Trial, by_residual, closer

SHARE = 0.2  # what a choice may leave of the error that there was without it
DECISIVE = 0.02  # so little cannot be left by chance: nothing else has to be tried
PART = 0.8  # the larger of two choices leaves at most about 0.7 of what both make
NEAR = 3  # how many are looked at exactly
FIRST = 2  # how many choices, and how many mistakes, are each tried with every other choice


def leaves(trial: Trial, without: Trial, share: float) -> bool:
    """Whether, wherever `without` is off, a trial leaves at most this share of the error."""
    off = [tap for tap in without.errors if without.ratio(tap) > DIVERGENT]
    return all(trial.errors[tap] <= share * without.errors[tap] for tap in off)


def accounts(trial: Trial, *without: Trial) -> bool:
    """Whether a trial explains all that each of the others leaves open; see above.

    Near ten floors, a fifth is less than right programs may be off: three floors will do there.
    """
    if trial.residual > DIVERGENT:
        return False
    for other in without:
        for tap in other.errors:
            enough = max(SHARE * other.errors[tap], SUSPICIOUS * trial.floors[tap])
            if other.ratio(tap) > DIVERGENT and trial.errors[tap] > min(
                enough, CLOSER * other.errors[tap]
            ):
                return False
    return True


def decisive(found: Sequence[Trial], base: Trial) -> bool:
    """Whether one leaves so little that a mistake cannot leave less but by being the same."""
    return any(leaves(trial, base, DECISIVE) for trial in found)


def possible(search: Search, choices: Iterable[Choice]) -> list[Choice]:
    """Those that this model can have."""
    return [choice for choice in choices if choice.applies(search.model.config)]


def in_one_call(search: Search) -> Search:
    """The search with all decode steps in one call, which reads the weights once."""
    return dataclasses.replace(search, schedule=in_fewer_steps(search.model, search.schedule))


def screened(search: Search, choices: Sequence[Choice], first: Trial) -> list[Trial]:
    """A quick look at each choice on top of what a trial has."""
    steps = search.step_errors(first.faults) if choices else {}
    found = []
    for done, choice in enumerate(choices):
        search.progress(done, len(choices), choice.id)
        found.append(search.screen((*first.faults, choice), steps))
    return found


def refined(search: Search, trial: Trial) -> Trial:
    """An exact look at the best way to make the last choice of a trial."""
    *others, choice = trial.faults
    ways = choice.each_way if isinstance(choice, Choice) else [choice]
    if len(ways) > 1:
        trials = [search.screen((*others, way), search.step_errors(())) for way in ways]
        trial = min(trials, key=lambda one: one.residual if one.whole else DIVERGENT**9)
    found = search.refine(trial.faults)
    floors = {tap: max(floor, search.floors[tap]) for tap, floor in found.floors.items()}
    return dataclasses.replace(found, floors=floors)


def best_of(search: Search, trials: Iterable[Trial], *without: Trial) -> list[Trial]:
    """Of trials that were screened those that explain, one of each name, best first."""
    near = [trial for trial in trials if trial.whole and closer(trial, without[0])]
    found: dict[tuple[str, ...], Trial] = {}
    for trial in sorted(near, key=by_residual)[:NEAR]:
        exact = refined(search, trial)
        names = tuple(fault.id for fault in exact.faults)
        if accounts(exact, *without) and names not in found:
            found[names] = exact
    return list(found.values())


def declared(
    search: Search, base: Trial, allowed: Sequence[str]
) -> tuple[list[Trial], list[Trial]]:
    """The choices that were declared, one or two at once: those that explain, and all tried."""
    choices = possible(search, (CHOICES[id] for id in dict.fromkeys(allowed)))
    ways = [way for choice in choices for way in choice.each_way]
    trials = screened(search, ways, base)
    found = best_of(search, trials, base)
    if found or len(choices) < 2:
        return found, trials
    found, more = with_another(search, base, trials, [], choices)
    return found, [*trials, *more]


def quick(search: Search, base: Trial) -> tuple[list[Trial], list[Trial]]:
    """The choices that cost a run each, in their first way: those that explain, and all."""
    choices = possible(search, (c for c in CHOICES.values() if not c.stored))
    trials = screened(in_one_call(search), choices, base)
    return best_of(search, trials, base), trials


def thorough(search: Search, base: Trial) -> tuple[list[Trial], list[Trial]]:
    """Those made in other ways, then those of weights: until one explains."""
    others = [way for c in CHOICES.values() if not c.stored for way in c.each_way[1:]]
    trials = screened(search, possible(search, others), base)
    found = best_of(search, trials, base)
    for choice in possible(search, (c for c in CHOICES.values() if c.stored)):
        if found:
            break
        more = screened(in_one_call(search), [choice], base)
        trials += more
        found = best_of(search, more, base)
    return found, trials


def kind(fault: Fault) -> str:
    """What a choice is about: "kv", "weights", …; only one of a kind can be made."""
    return fault.id.partition("-")[0] if fault.id in CHOICES else fault.id


def with_another(
    search: Search,
    base: Trial,
    chosen: list[Trial],
    mistakes: list[Trial],
    of: Iterable[Choice] = CHOICES.values(),
) -> tuple[list[Trial], list[Trial]]:
    """Two choices, or a mistake and a choice, of which each alone leaves much."""
    alone = {trial.faults[0].id: trial for trial in chosen}
    tried: list[Trial] = []
    found: list[Trial] = []
    for first in (*promising(chosen, base, PART), *promising(mistakes, base, CLOSER)):
        others = [c for c in of if kind(c) != kind(first.faults[0])]
        trials = screened(in_one_call(search), possible(search, others), first)
        tried += trials
        for pair in best_of(search, trials, first):
            second = alone.get(pair.faults[-1].id)
            if second is None or not second.whole or accounts(pair, second):
                found.append(pair)
    return found, tried


def promising(trials: list[Trial], base: Trial, share: float) -> list[Trial]:
    """Those that may be a part of the explanation: they leave less, or reach further."""
    near = [t for t in trials if t.reach > base.reach or (t.whole and leaves(t, base, share))]
    return sorted(near, key=lambda t: (-t.reach, t.residual))[:FIRST]
