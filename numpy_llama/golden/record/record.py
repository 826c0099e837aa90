"""Record a golden: run the truth in float64, and measure what noise does at each dtype."""

import dataclasses
import fnmatch
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import InputError, NumericError
from ...model import Llama
from ...taps import tap_names
from ..progress import Progress, no_progress
from ..replay.metrics import tap_error
from ..replay.precision import MEASURED, UNIT_ROUNDOFF, in_dtype
from ..replay.replay import Schedule, run
from .bundle import Bundle
from .detectability import detectability
from .environment import environment

Taps = dict[str, np.ndarray]


def named_arrays(model: Llama) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight by its name; a tied head is not named twice."""
    weights = model.weights
    yield "tok_embeddings", weights.tok_embeddings
    for i, layer in enumerate(weights.layers):
        for field in dataclasses.fields(layer):
            array = getattr(layer, field.name)
            if array is not None:
                yield f"layers.{i}.{field.name}", array
    yield "final_norm", weights.final_norm
    if not model.config.tied_head:
        yield "lm_head", weights.lm_head


def weights_sha256(model: Llama) -> str:
    """One hash of all weights as float32 in our layout: the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, array in named_arrays(model):
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


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


def steadied(floors: dict[str, float], dtype: str) -> dict[str, float]:
    """Floors that no luck made small.

    A statistic is one number a row, too few to measure noise by: all of them share the largest.
    A tap that overflowed at this dtype has no floor; the largest that was measured stands in.
    """
    finite = [floor for floor in floors.values() if np.isfinite(floor)]
    largest = max(finite, default=UNIT_ROUNDOFF[dtype])
    floors = {tap: floor if np.isfinite(floor) else largest for tap, floor in floors.items()}
    shared = max((floor for tap, floor in floors.items() if tap.endswith(".rms")), default=0.0)
    return {
        tap: max(shared if tap.endswith(".rms") else floor, UNIT_ROUNDOFF[dtype])
        for tap, floor in floors.items()
    }


def measure_floors(
    model: Llama, schedule: Schedule, truth: Taps, dtype: str
) -> tuple[dict[str, float], float]:
    """Each tap's error when this model computes in `dtype`, and the largest of a logit."""
    noisy = run(in_dtype(model, dtype), schedule, truth.keys())
    floors = {name: tap_error(name, noisy[name], truth[name], schedule) for name in truth}
    noise = float(np.abs(noisy["logits"] - truth["logits"]).max())
    return steadied(floors, dtype), noise if np.isfinite(noise) else 0.0


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
    model.check_tokens(prompt)
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
