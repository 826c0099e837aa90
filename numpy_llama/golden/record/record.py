"""Record a golden: run the truth in float64, and measure what noise does at each dtype."""

import dataclasses
import fnmatch
from collections.abc import Sequence

import numpy as np

from ...errors import InputError, NumericError
from ...model import Llama
from ...taps import tap_names
from ...tokens import check_tokens
from ..progress import Progress, no_progress
from ..replay.precision import MEASURED, in_dtype
from ..replay.replay import run
from ..replay.schedule import Schedule
from .bundle import Bundle
from .detectability import detectability
from .environment import environment
from .fingerprint import weights_sha256
from .floors import measure_floors

Taps = dict[str, np.ndarray]


def select_taps(n_layers: int, patterns: Sequence[str]) -> list[str]:
    """The taps that match any of the patterns ("all", a name, `layers.*.q`), and the logits.

    Raises InputError for a pattern that matches none.
    """
    names = tap_names(n_layers)
    chosen = {"logits"}
    for pattern in patterns:
        matching = fnmatch.filter(names, "*" if pattern == "all" else pattern)
        if not matching:
            raise InputError(f"no tap matches {pattern!r}; there are {', '.join(names[:8])}, …")
        chosen.update(matching)
    return [name for name in names if name in chosen]


def continue_greedily(model: Llama, schedule: Schedule, n: int) -> list[int]:
    """The n most likely tokens after a prompt, one after the other."""
    cache = model.new_cache(len(schedule.tokens) + n)
    start, tokens = 0, []
    for size in schedule.steps:
        logits = model.forward(schedule.tokens[start : start + size], cache, last_only=True)
        start += size
    for _ in range(n):
        tokens.append(int(logits[-1].argmax()))
        logits = model.forward(tokens[-1:], cache, last_only=True)
    return tokens


def top_two_margins(logits: np.ndarray) -> np.ndarray:
    """Per row, how far the largest logit is above the second: (T,)."""
    if logits.shape[1] == 1:
        return np.zeros(len(logits))
    two = np.partition(logits, -2, axis=-1)[:, -2:]
    return two[:, 1] - two[:, 0]


def stored(truth: Taps) -> Taps:
    """The taps rounded to float32. Raises NumericError where float64 itself is not finite."""
    rounded = {name: array.astype(np.float32) for name, array in truth.items()}
    for name, array in rounded.items():
        if not np.isfinite(array).all():
            raise NumericError(f"{name} is not finite: these weights make no model to compare with")
    return rounded


def record(
    model: Llama,
    prompt: Sequence[int],
    decode: int = 4,
    chunk: int | None = None,
    taps: Sequence[str] = ("all",),
    text: str | None = None,
    source: str = "",
    detect: bool = True,
    progress: Progress = no_progress,
) -> Bundle:
    """A golden of `model` for the ids `prompt` and `decode` greedy steps after them.

    model: of any dtype; its weights are what is exact. chunk: the prompt is run in pieces of this
    size (None: at once). source: how the model is to be found again. detect: also try which known
    faults this golden can see, which takes a run for each. Raises InputError for an impossible
    prompt or pattern, NumericError if the model overflows.
    """
    exact = in_dtype(model, "float64")
    wanted = select_taps(model.config.n_layers, taps)
    check_tokens(prompt, model.config)
    beginning = Schedule.of(prompt, chunk=chunk)
    schedule = Schedule.of(prompt, continue_greedily(exact, beginning, decode), chunk)
    truth = run(exact, schedule, wanted)
    values = stored(truth)
    measured = {dtype: measure_floors(model, schedule, truth, dtype) for dtype in MEASURED}
    bundle = Bundle(
        config=model.config,
        schedule=schedule,
        prompt=text,
        greedy=tuple(int(i) for i in truth["logits"][len(prompt) - 1 :].argmax(-1)),
        values=values,
        floors={dtype: floors for dtype, (floors, _) in measured.items()},
        logit_noise={dtype: noise for dtype, (_, noise) in measured.items()},
        margins=tuple(top_two_margins(truth["logits"]).tolist()),
        detectability={},
        weights_sha256=weights_sha256(model),
        source=source,
        environment=environment(),
    )
    if not detect:
        return bundle
    return dataclasses.replace(bundle, detectability=detectability(model, bundle, progress))
