"""A prompt in parts, each read by a thread of its own, all at once.

A part needs of the one before it only the keys and values, layer by layer. So each goes through
the model by itself, as a prompt in chunks does, and waits in each layer until the part before has
written there:

    part 0   layer 0 │ layer 1 │ layer 2 │ …
    part 1           │ layer 0 │ layer 1 │ layer 2 │ …

All is shared so, not the products alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np

from ...backend import Array
from ...kv_cache import KVCache, LayerCache
from ...model import Llama
from ...taps import Tap, no_tap
from ...tokens import Tokens, check_tokens
from ..parallel import a_blas_of_one, in_parallel
from ..threads import own_threads
from .reader import reader

LEAST = 4  # tokens of a part: each reads all weights
LONG = 128  # of a part that is read by threads of our own where the BLAS has as many
EVEN = 16  # tokens that the BLAS multiplies at once: of long parts, a multiple of it is faster


class Abandoned(Exception):
    """The part before has ended early, whose error is raised."""


class Part(KVCache):
    """The cache as one part sees it, which begins where the part before it ends."""

    def __init__(self, cache: KVCache, start: int, before: "Part | None"):
        super().__init__(cache.k, cache.v)
        self.length, self.before = start, before
        self.written = [Event() for _ in cache.k]  # of each layer
        self.whole = True

    def __iter__(self) -> Iterator[LayerCache]:
        return (PartOfLayer(self, i) for i in range(len(self.k)))

    def abandon(self) -> None:
        """Let those that wait for it end, too."""
        self.whole = False
        for event in self.written:
            event.set()


class PartOfLayer(LayerCache):
    """One layer's part of it, in turn."""

    def __init__(self, part: Part, index: int):
        super().__init__(part, index)
        self.part = part

    def write(self, k: Array, v: Array) -> tuple[Array, Array]:
        before = self.part.before
        if before is not None:
            before.written[self.index].wait()
            if not before.whole:
                raise Abandoned
        seen = super().write(k, v)
        self.part.written[self.index].set()
        return seen


def ends(model: Llama, start: int, L: int, parts: int) -> list[int]:
    """Where parts end that take about as long: the later see more keys, and are shorter.

    A token costs its share of the matrices, and 2 N H hd multiplications for each position it sees.
    """
    c, weights = model.config, model.weights
    matrices = sum(
        a.size for layer in weights.layers for a in vars(layer).values() if a is not None
    )
    flat: float = matrices / (2 * c.n_layers * c.n_heads * c.head_dim) + start  # in positions

    def cost(tokens: float) -> float:
        return flat * tokens + tokens**2 / 2

    even = EVEN if L >= 4 * EVEN * parts else 1
    shares = (cost(L) * i / parts for i in range(1, parts))
    borders = (math.sqrt(flat**2 + 2 * share) - flat for share in shares)
    return [even * round(border / even) for border in borders] + [L]


@dataclass(frozen=True, repr=False)
class InParts(Llama):
    """A model that reads a prompt in as many parts as there are threads of our own.

    Who looks at the taps sees it in one. So does a dynamic RoPE, whose angles know the length.
    """

    least: int = LEAST

    def forward(
        self,
        tokens: Tokens,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> Array:
        """As Llama's, but for rounding."""
        if tap is not no_tap:
            return super().forward(tokens, cache, tap=tap, last_only=last_only)
        ids = check_tokens(tokens, self.config)
        parts = min(own_threads(), len(ids) // self.least)
        if parts < 2 or self.config.rope_scaling.type == "dynamic":
            return self.whole(len(ids), last_only).forward(ids, cache, last_only=last_only)
        cache = self.new_cache(len(ids)) if cache is None else cache
        cache.check_room(len(ids))
        return read_in_parts(self, ids, cache, last_only, parts)

    def whole(self, tokens: int, last_only: bool) -> Llama:
        """The model to read so many tokens with, in one part."""
        return Llama(self.config, self.weights, self.attention)


def in_parts(model: Llama) -> Llama:
    """The model to read prompts with; itself, where it is streamed or not on the host.

    A stream would be read by each part.
    """
    resident = isinstance(model.weights.layers, tuple)
    if type(model) is not Llama or not resident or type(model.weights.lm_head) is not np.ndarray:
        return model
    return InParts(model.config, model.weights, model.attention)


def read_in_parts(model: Llama, ids: Array, cache: KVCache, last_only: bool, parts: int) -> Array:
    """What `model.forward` gives, but for rounding.

    ids: (L,), checked. They follow what `cache` holds, and are written to it.
    """
    start, borders = cache.length, ends(model, cache.length, len(ids), parts)
    chunks = np.split(ids, borders[:-1])
    turns: list[Part] = []
    for chunk_start in (0, *borders[:-1]):
        turns.append(Part(cache, start + chunk_start, turns[-1] if turns else None))

    def read(i: int) -> Array:
        one = reader(model, len(chunks[i]), int(i == parts - 1) if last_only else None)
        try:
            return one.forward(chunks[i], turns[i], last_only=last_only)
        except BaseException:
            turns[i].abandon()
            raise

    with a_blas_of_one():
        rows = in_parallel(read, parts)
    cache.advance(len(ids))
    return rows[-1] if last_only else np.concatenate(rows)
