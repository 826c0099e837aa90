"""Record a golden: run the truth in float64, and measure what noise does at each dtype."""

import dataclasses
import fnmatch
from collections.abc import Sequence

import numpy as np

from ...errors import InputError, NumericError
from ...loading.weights import in_arrays
from ...model import Llama
from ...taps import tap_names
from ...tokens import check_tokens
from ...wording import did_you_mean
from ..progress import Progress, no_progress
from ..replay.precision import MEASURED, in_dtype
from ..replay.replay import run
from ..replay.schedule import Schedule
from .bundle import Bundle
from .detectability import detectability
from .environment import environment
from .fingerprint import weights_sha256
from .floors import in_fewer_steps, measure_floors

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
            like = did_you_mean(pattern, names)
            there = ", ".join(names[:8])
            raise InputError(f"no tap matches {pattern!r}{like}; there are {there}, …")
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


def greedy_of(logits: np.ndarray, prompt: int) -> list[int]:
    """The most likely token after the prompt, and after each row that follows."""
    return [int(i) for i in logits[prompt - 1 :].argmax(-1)]


def run_truth(
    model: Llama, beginning: Schedule, decode: int, wanted: Sequence[str]
) -> tuple[Schedule, Taps]:
    """What the model gives in float64 over a prompt and its own `decode` next tokens.

    float32 guesses them, and float64 is asked step by step only where it has another opinion: its
    weights are converted at each step, which costs more than all else.
    """
    exact, tokens = in_dtype(model, "float64"), beginning.tokens
    chunks = beginning.steps
    for guesser in (in_dtype(model, "float32"), exact):
        guess = continue_greedily(guesser, beginning, decode)
        schedule = Schedule((*tokens, *guess), (*chunks, *[1] * decode))
        truth = run(exact, in_fewer_steps(model, schedule), wanted)
        if greedy_of(truth["logits"], len(tokens))[:-1] == guess:
            break
    return schedule, truth


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

    model: of any dtype; its weights are exact. chunk: the size of the pieces of the prompt (None:
    one). source: how the model is found again. detect: also try which faults this golden can see,
    a run for each. Raises InputError for an impossible prompt or pattern, NumericError if the
    model overflows.
    """
    wanted = select_taps(model.config.n_layers, taps)
    check_tokens(prompt, model.config)
    model = in_arrays(model)
    schedule, truth = run_truth(model, Schedule.of(prompt, chunk=chunk), decode, wanted)
    measured = {dtype: measure_floors(model, schedule, truth, dtype) for dtype in MEASURED}
    bundle = Bundle(
        config=model.config,
        schedule=schedule,
        prompt=text,
        greedy=tuple(greedy_of(truth["logits"], len(prompt))),
        values=stored(truth),
        floors={dtype: floors for dtype, (floors, _) in measured.items()},
        logit_noise={dtype: noise for dtype, (_, noise) in measured.items()},
        margins=tuple(top_two_margins(truth["logits"]).tolist()),
        detectability={},
        weights_sha256=weights_sha256(model),
        source=source,
        environment=environment(),
    )
    found = detectability(model, bundle, progress) if detect else {}
    return dataclasses.replace(bundle, detectability=found)
