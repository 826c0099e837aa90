"""Run a model over a fixed sequence, in fixed steps, and see every intermediate.

A *row* is one position of the sequence. Rows of all steps are joined, so that a tap of a run does
not show in which steps it was made, unless the model is wrong.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from ...attention import attend, attend_blocked
from ...backend import to_host
from ...errors import InputError
from ...model import Llama
from ...taps import tap_names
from .rows import by_key, empty_joined, place, visible
from .schedule import Schedule

Taps = dict[str, np.ndarray]

# What looks at a run while it goes on: a tap's name, the row where its step begins, its array.
Observer = Callable[[str, int, np.ndarray], None]


def play(model: Llama, schedule: Schedule, observe: Observer) -> None:
    """Run `model` over `schedule`, showing every tap of every step to `observe`.

    `observe` may raise to end the run early.
    """
    cache = model.new_cache(len(schedule.tokens))
    start = 0
    for size in schedule.steps:
        step = schedule.tokens[start : start + size]

        def tap(name: str, array: np.ndarray, start: int = start) -> None:
            observe(name, start, array)

        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            model.forward(step, cache, tap)  # a faulty model may overflow; the judge will see it
        start += size


class StopRun(Exception):
    """Raised by what looks at a run, to end it early."""


def observe_nothing(name: str, start: int, array: np.ndarray) -> None:
    """Look at nothing."""


def run(
    model: Llama,
    schedule: Schedule,
    wanted: Collection[str] | None = None,
    observe: Observer = observe_nothing,
) -> dict[str, np.ndarray]:
    """Every tap (or those `wanted`) of a run, in causal order, the rows of all steps joined.

    Axes are the tap's with L = T rows; scores and probs are (H, T, T). Scores that a row may not
    see are 0: what others keep there is not compared. Probabilities are kept as they are: there
    they must be 0. `observe` is shown each array, and may raise StopRun: rows that were not
    computed by then are 0. Raises InputError for a tap given twice in a step.
    """
    T = len(schedule.tokens)
    taps: dict[str, np.ndarray] = {}
    seen: set[tuple[str, int]] = set()

    def keep(name: str, start: int, array: np.ndarray) -> None:
        if wanted is not None and name not in wanted:
            return
        if (name, start) in seen:
            raise InputError(f"the tap {name} was given twice in one forward call")
        seen.add((name, start))
        array = to_host(array)
        if name not in taps:
            taps[name] = empty_joined(name, array, T)
        place(name, array, start, taps[name])
        observe(name, start, array)

    with contextlib.suppress(StopRun):
        play(with_scores(model, wanted), schedule, keep)
    for name in taps:
        if name.endswith(".scores"):
            taps[name] = np.where(visible(T), taps[name], np.zeros((), taps[name].dtype))
    return {name: taps[name] for name in tap_names(model.config.n_layers) if name in taps}


def with_scores(model: Llama, wanted: Collection[str] | None) -> Llama:
    """The model with an attention that shows its scores, where they are wanted."""
    if model.attention is not attend_blocked:
        return model
    if wanted is not None and not any(by_key(name) for name in wanted):
        return model
    return dataclasses.replace(model, attention=attend)
