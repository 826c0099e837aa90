"""Several choices at once, or a mistake and choices: what each alone leaves too much of.

Two choices of one program may hide each other: activations in int8 are rounded another way where
the weights are, so that neither alone comes near. Those are tried together; of the others, one has
to be seen first.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from ...faults import CHOICES, Choice, Fault
from ...faults.choices import go_together
from ...replay.metrics import DIVERGENT
from ..search.search import Search
from ..search.trial import CLOSER, Trial, by_residual
from .alone import PART, accounts, best_of, leaves, possible, screened, screened_sets
from .noisy import pointing, tellable, within_noise

FIRST = 2  # how many choices, and how many mistakes, are each tried with every other choice
# Of what weights change, if they are a part of the explanation: its cosine with the error, how many
# times it is in it, and how many formats are as like it as that.
HALF, ONCE, LIKE = 0.2, (0.5, 2.0), 4
ENOUGH = 1000  # sets of three, in a small model


def kind(fault: Fault) -> str:
    """What a choice is about: "kv", "weights", …; only one of a kind can be made."""
    return fault.id.partition("-")[0] if fault.id in CHOICES else fault.id


def on_top(
    search: Search, first: Trial, of: Iterable[Choice], each_way: bool = False
) -> list[Trial]:
    """A quick look at each choice of another kind than those of a trial, beside these."""
    kinds = {kind(fault) for fault in first.faults}
    others = possible(search, (c for c in of if kind(c) not in kinds))
    ways = [way for c in others for way in (c.each_way if each_way and not c.stored else [c])]
    return screened(search.in_one_call(), ways, first)


def promising(trials: list[Trial], base: Trial, share: float) -> list[Trial]:
    """Those that may be a part of the explanation: they leave less, or reach further."""
    near = [
        trial
        for trial in trials
        if (trial.reach > base.reach or (trial.whole and leaves(trial, base, share)))
        and trial.residual > DIVERGENT  # else there is nothing for another to explain
        and not trial.faults[0].harmless
    ]
    near.sort(key=lambda t: (-t.reach, t.residual))
    best: dict[frozenset[str], Trial] = {}  # each in its best way
    for trial in near:
        best.setdefault(frozenset(fault.id for fault in trial.faults), trial)
    return list(best.values())[:FIRST]


def is_part(trial: Trial) -> bool:
    """Whether what it changes is seen in the error, about once."""
    least, most = ONCE
    return trial.along >= HALF and least <= trial.times <= most


def seen(chosen: Sequence[Trial]) -> list[Trial]:
    """Weights of which something is seen, most first; what is before them is given."""
    weights = [trial for trial in chosen if trial.faults[-1].stored and is_part(trial)]
    return sorted(weights, key=lambda trial: trial.along, reverse=True)[:LIKE]


def fed_to(search: Search, weights: Trial, of: Sequence[Choice]) -> list[Choice]:
    """The activations that go with some weights, each in its ways."""
    fed = possible(search, (c for c in of if go_together(weights.faults[-1].id, c.id)))
    return [way for choice in fed for way in choice.each_way]


def of_one_program(
    search: Search, base: Trial, chosen: Sequence[Trial], of: Sequence[Choice]
) -> tuple[list[Trial], list[Trial]]:
    """Weights of which something is seen, each with the activations that go with them."""
    tried: list[Trial] = []
    found: list[Trial] = []
    for first in seen(chosen):
        trials = screened(search.in_one_call(), fed_to(search, first, of), first)
        tried += trials
        found += best_of(search, trials, base, first)
    return found, tried


def three(
    search: Search, base: Trial, chosen: Sequence[Trial], of: Sequence[Choice], most: int
) -> tuple[list[Trial], list[Trial]]:
    """Weights of which something is seen, the activations that go with them, and a third choice.

    No two of them need be nearer than one: what is rounded last hides what was rounded before. So
    the weights may be seen only beside the third. No more than `most` are tried.
    """
    tried: list[Trial] = []

    def needed(trials: Sequence[Trial]) -> list[Trial]:
        tried.extend(trials)
        return [t for t in best_of(search, trials, base) if needs_each(search, t, base)]

    for weights in seen(chosen):
        trials = []
        for fed in fed_to(search, weights, of):
            pair = dataclasses.replace(weights, faults=(*weights.faults, fed))
            trials += on_top(search, pair, of, each_way=True)
        if (found := needed(trials)) or len(tried) >= most:
            return found, tried
    stored = [choice for choice in of if choice.stored]
    for third in [trial for trial in chosen if is_part(trial) and not trial.faults[0].stored]:
        trials = on_top(search, third, stored)
        sets = [(*w.faults, fed) for w in seen(trials) for fed in fed_to(search, w, of)]
        trials = screened_sets(search.in_one_call(), sets, third)
        if (found := needed(trials)) or len(tried) >= most:
            return found, tried
    return [], tried


def hidden(
    search: Search, base: Trial, chosen: Sequence[Trial], of: Iterable[Choice] = CHOICES.values()
) -> tuple[list[Trial], list[Trial]]:
    """What explains of one, two or three choices whose own noise hides them; and all tried."""
    if not tellable(search, base):
        return [], []
    of = list(of)
    alone = [trial for trial in chosen if len(trial.faults) == 1]
    computed = [t for t in pointing(alone) if not t.faults[0].stored]
    fed: list[Trial] = []
    for weights in seen(alone):
        kept = CHOICES[weights.faults[0].id].each_way
        sets: list[tuple[Fault, ...]] = [*itertools.product(kept, fed_to(search, weights, of))]
        fed += screened_sets(search.in_one_call(), sets)
    third = [c for c in possible(search, of) if kind(c) not in ("weights", "activations")]
    ways = [way for choice in third for way in choice.each_way]
    sets = [(way, *pair.faults) for pair in pointing(fed)[:FIRST] for way in ways]
    more = screened_sets(search.in_one_call(), sets)
    return once_each(within_noise(search, [*computed, *fed], more)), [*fed, *more]


def needs_each(search: Search, trial: Trial, base: Trial) -> bool:
    """Whether a trial leaves far less than it would without any one of its choices.

    What those leave is off where the golden's floors say so: one rounding may be as much.
    """
    sets = [trial.faults[:i] + trial.faults[i + 1 :] for i in range(len(trial.faults))]
    parts = (dataclasses.replace(search.refine(part), floors=search.floors) for part in sets)
    return accounts(search, trial, base, *parts)


def once_each(found: Iterable[Trial]) -> list[Trial]:
    """The best of each set of names, whose order is that of the list, whatever was tried first."""
    order = {id: i for i, id in enumerate(CHOICES)}
    best: dict[tuple[str, ...], Trial] = {}
    for trial in sorted(found, key=by_residual):
        faults = tuple(sorted(trial.faults, key=lambda fault: order.get(fault.id, -1)))
        trial = dataclasses.replace(trial, faults=faults)
        best.setdefault(tuple(fault.id for fault in faults), trial)
    return list(best.values())


def with_another(
    search: Search,
    base: Trial,
    chosen: list[Trial],
    mistakes: list[Trial],
    of: Iterable[Choice] = CHOICES.values(),
    most: int = ENOUGH,
) -> tuple[list[Trial], list[Trial]]:
    """Two choices, or a mistake and a choice, of which each alone leaves much; or three choices."""
    whole = sorted((trial for trial in chosen if trial.whole), key=by_residual, reverse=True)
    alone = {trial.faults[0].id: trial for trial in whole}  # in its best way
    of = list(of)
    found, tried = of_one_program(search, base, whole, of)
    for first in (*promising(chosen, base, PART), *promising(mistakes, base, CLOSER)):
        trials = on_top(search, first, of)
        tried += trials
        for pair in best_of(search, trials, base, first):
            second = alone.get(pair.faults[-1].id)
            if second is None or accounts(search, pair, base, second):
                found.append(pair)
    if not found:
        found, more = three(search, base, whole, of, most)
        tried += more
    return once_each(found), tried


def declared(
    search: Search, base: Trial, allowed: Sequence[str]
) -> tuple[list[Trial], list[Trial]]:
    """The choices that were declared, one or more at once: those that explain, and all tried."""
    choices = possible(search, (CHOICES[id] for id in dict.fromkeys(allowed)))
    if not choices:
        return [], []
    ways = [way for choice in choices for way in choice.each_way]
    trials = screened(search, ways, base)
    found = best_of(search, trials, base)
    if found:
        return found, trials
    found, more = hidden(search, base, trials, choices)
    trials = [*trials, *more]
    if found or len(choices) < 2:
        return found, trials
    found, more = with_another(search, base, trials, [], choices)
    return found, [*trials, *more]
