"""Mistakes in positions and in the KV cache, most of them invisible until the first decode step."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...kv_cache import KVCache, LayerCache
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap
from ...tokens import Tokens
from ..replay.override import override
from ..replay.schedule import Schedule
from .fault import Change, Fault

PAD = 0  # the token that pads a batch; many tokenizers have it there
PADS = 3  # how many are tried


def decode_position(wrong: Callable[[int, int], int]) -> Change:
    """The fault of decode steps at the position `wrong(position, length of the prompt)`."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        class Misplaced(Llama):
            def rotations(self, start: int, L: int) -> np.ndarray:
                decoding = start >= schedule.prompt
                return super().rotations(wrong(start, schedule.prompt) if decoding else start, L)

        return override(model, Misplaced), schedule

    return apply


def skip_a_row(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The first decode step leaves a row of the cache as it was: zero, and visible."""

    class Skipping(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            return super().new_cache(capacity + 1)

        def forward(
            self, tokens: Tokens, cache: KVCache | None = None, *rest: Any, **named: Any
        ) -> np.ndarray:
            if cache is not None and cache.length == schedule.prompt:
                cache.advance(1)
            return super().forward(tokens, cache, *rest, **named)

    return override(model, Skipping), schedule


def later_layers_late(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """Layers after the first see the length that the cache has after the step."""

    class Late(Llama):
        def block(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            if seen.index > 0 and seen.start >= schedule.prompt:
                R = self.rotations(seen.start + 1, len(x))
            return super().block(x, layer, R, seen, tap)

    return override(model, Late), schedule


class ReadFirst(LayerCache):
    """A layer's cache that gives back, in a decode step, what it held before the step."""

    def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys, values = super().write(k, v)
        if self.start and len(k) == 1:
            return keys[:, :-1], values[:, :-1]
        return keys, values


class WithoutNewest(KVCache):
    def __iter__(self) -> Iterator[LayerCache]:
        return (ReadFirst(self, i) for i in range(len(self.k)))


def misses_itself(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The cache is read before the new key and value are written to it."""

    class Missing(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            cache = super().new_cache(capacity)
            return WithoutNewest(cache.k, cache.v)

    return override(model, Missing), schedule


def prompt_end_lost(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """Decode steps do not see the row of the prompt's last token."""

    class WithoutRow(LayerCache):
        def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            keys, values = super().write(k, v)
            if self.start < schedule.prompt:
                return keys, values
            lost = schedule.prompt - 1
            return np.delete(keys, lost, axis=1), np.delete(values, lost, axis=1)

    class Losing(KVCache):
        def __iter__(self) -> Iterator[LayerCache]:
            return (WithoutRow(self, i) for i in range(len(self.k)))

    class Lost(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            cache = super().new_cache(capacity)
            return Losing(cache.k, cache.v)

    return override(model, Lost), schedule


def prompt_end_repeated(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The first decode step is given the prompt's last token once more."""
    tokens, end = schedule.tokens, schedule.prompt
    decoding = len(tokens) - end
    steps = schedule.steps[: len(schedule.steps) - decoding]
    again = (*tokens[:end], tokens[end - 1], *tokens[end:])
    return model, Schedule(again, (*steps, 1, *[1] * decoding))


def padded(n: int) -> Change:
    """The fault of a batch whose shorter sequences begin with n pads, which all rows see."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        first, *rest = schedule.steps
        return model, Schedule((*[PAD] * n, *schedule.tokens), (first + n, *rest))

    return apply


def run_before(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """The same run once more, with the cache that the first one left."""
    return model, Schedule(schedule.tokens * 2, schedule.steps * 2)


FAULTS = (
    Fault(
        "decode-position-plus-1",
        "position",
        "Decode steps are one position too far.",
        "a decode step at position p is rotated as if at p + 1",
        "llama3.np, generate()",
        "The first decode step has the position len(prompt), counted from 0.",
        decode_position(lambda p, prompt: p + 1),
    ),
    Fault(
        "decode-position-minus-1",
        "position",
        "Decode steps are one position too early: the first has that of the prompt's last token.",
        "a decode step at position p is rotated as if at p - 1",
        "",
        "The first decode step has the position len(prompt), counted from 0.",
        decode_position(lambda p, prompt: p - 1),
    ),
    Fault(
        "decode-position-plus-1-gap",
        "position",
        "Decode steps are one position too far, and leave a row of zeros in the cache.",
        "from len(prompt) on, position and cache row are p + 1; row len(prompt) is 0 and seen",
        "llama3.np, generate()",
        "The first decode step has the position and the cache row len(prompt), counted from 0.",
        skip_a_row,
    ),
    Fault(
        "decode-position-zero",
        "position",
        "Every decode step is at position 0.",
        "a decode step is rotated as if at position 0",
        "mlx-vlm#1983",
        "Rotate a decode step by the number of positions in the cache.",
        decode_position(lambda p, prompt: 0),
    ),
    Fault(
        "decode-position-doubled",
        "position",
        "The length of the prompt is added to the position twice.",
        "a decode step at position p is rotated as if at p + len(prompt)",
        "tiny-llm#46",
        "Advance the offset in one place only.",
        decode_position(lambda p, prompt: p + prompt),
    ),
    Fault(
        "decode-later-layers-plus-1",
        "position",
        "The first layer advances the cache's length: later layers decode one position too far.",
        "in decode, layers i ≥ 1 rotate at p + 1",
        "flash-linear-attention#766",
        "Advance the length once a forward, after the last layer.",
        later_layers_late,
        lambda config: config.n_layers > 1,
    ),
    Fault(
        "cache-misses-self",
        "position",
        "In decode the cache is read before the new key and value are in it.",
        "a decode step at p attends to the rows 0 … p - 1",
        "",
        "Write to the cache first, then attend to all of it.",
        misses_itself,
    ),
    Fault(
        "cache-stale",
        "position",
        "The cache was not emptied after an earlier run over the same tokens.",
        "the run is the second of two: positions T … 2T - 1, and the first run's rows are seen",
        "candle-vllm#6, transformers#33129",
        "Set the cache's length to 0 before a new prompt.",
        run_before,
    ),
    Fault(
        "cache-prompt-end-lost",
        "position",
        "The row of the prompt's last token is not in the cache when decoding begins.",
        "a decode step at p attends to the rows 0 … len(prompt) - 2 and len(prompt) … p",
        "",
        "Keep all rows of the prompt; decoding begins after its last row.",
        prompt_end_lost,
    ),
    Fault(
        "prompt-end-repeated",
        "position",
        "Decoding begins with the prompt's last token, which is in the cache already.",
        "the run is over the prompt, its last token again, and the answer; the last T rows",
        "",
        "Begin decoding with the token that the prompt's last row chose.",
        prompt_end_repeated,
    ),
    Fault(
        "left-padding-seen",
        "position",
        "The pads to the left of a shorter sequence are neither masked nor left out of positions.",
        f"the run is over {PADS} tokens of id {PAD}, then the tokens; the last T rows are given",
        "transformers#33095, unsloth#3795, alpaca-lora#315",
        "Mask the pads, and count positions from the first real token.",
        padded(PADS),
    ),
    Fault(
        "left-padding-decode-positions",
        "position",
        "Decode steps count the pads to the left of the prompt as positions; the prompt does not.",
        f"a decode step at position p is rotated as if at p + {PADS}",
        "transformers#33095, unsloth#3795, alpaca-lora#315",
        "Take the number of pads off the positions, when decoding too.",
        decode_position(lambda p, prompt: p + PADS),
    ),
)
