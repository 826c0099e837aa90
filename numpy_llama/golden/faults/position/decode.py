"""Mistakes in the positions of decode steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ....kv_cache import KVCache, LayerCache
from ....model import Llama
from ....parameters import LayerWeights
from ....taps import Tap
from ....tokens import Tokens
from ...replay.override import override
from ...replay.schedule import Schedule
from ..fault import Change, Fault


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
)
