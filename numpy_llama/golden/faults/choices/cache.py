"""Choices of the KV cache: in which dtype it keeps keys and values."""

from collections.abc import Iterator

import numpy as np

from ....attention import softmax
from ....kv_cache import KVCache, LayerCache
from ....model import Llama
from ...replay.precision import round_to_bfloat16, round_to_float16
from ..attention.parts import attention_with
from ..fault import Change, as_array_of, stage
from .choice import choice
from .flash import RunningInFloat16, half
from .quantise import Quantiser, in_groups, int8, q8_0


def cached(narrow: Quantiser, past_only: bool = False) -> Change:
    """A cache that keeps `narrow` keys and values.

    past_only: a step uses its own as they were computed, and reads what was before it.
    """

    class Layer(LayerCache):
        def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            keys, values = super().write(*(as_array_of(narrow(np.asarray(a)), a) for a in (k, v)))
            if not past_only:
                return keys, values
            keys, values = keys.copy(), values.copy()
            keys[:, self.start :], values[:, self.start :] = k.swapaxes(0, 1), v.swapaxes(0, 1)
            return keys, values

    class Cache(KVCache):
        def __iter__(self) -> Iterator[LayerCache]:
            return (Layer(self, i) for i in range(len(self.k)))

    class Cached(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            return Cache.empty(self.config, capacity, self.weights.tok_embeddings)

    return stage(Cached)


def heads_together(x: np.ndarray) -> np.ndarray:
    """int8 with one scale for all heads of a position."""
    return int8(x.reshape(len(x), -1)).reshape(x.shape)


def blocks_of_32(x: np.ndarray) -> np.ndarray:
    """Q8_0, where heads are wide enough; else int8."""
    return in_groups(q8_0, 32)(x) if x.shape[-1] % 32 == 0 else int8(x)


CHOICES = (
    choice(
        "kv-float16",
        "Keeps its KV cache in float16.",
        "k ← r(k), v ← r(v), r rounds to float16; or queries and probabilities too, or the sum of "
        "the values (flash attention)",
        "llama.cpp's and tinygrad's default",
        cached(round_to_float16),
        cached(round_to_float16, past_only=True),
        # llama.cpp multiplies only what is equally narrow: r(q) k, and r(p) v.
        attention_with(read=half, normalise=lambda scores: half(softmax(scores))),
        attention_with(RunningInFloat16),
        attention_with(RunningInFloat16, threads=4),
        rounds_to="float16",
    ),
    choice(
        "kv-bfloat16",
        "Keeps its KV cache in bfloat16.",
        "k ← r(k), v ← r(v), r rounds to bfloat16",
        "llama.cpp's -ctk bf16 -ctv bf16",
        cached(round_to_bfloat16),
        cached(round_to_bfloat16, past_only=True),
        rounds_to="bfloat16",
    ),
    choice(
        "kv-int8",
        "Keeps its KV cache in int8.",
        "k ≈ s·q, q = round(k/s), s = max |k| / 127 of each head, or of 32 of its features",
        "llama.cpp's -ctk q8_0 -ctv q8_0",
        cached(int8),
        cached(blocks_of_32),
        cached(heads_together),
        cached(int8, past_only=True),
        rounds_to="bfloat16",
    ),
)
