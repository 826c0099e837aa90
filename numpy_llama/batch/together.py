"""One forward over several sequences: their new tokens are rows of the same matrix products.

The model needs no batch axis for it. All that a row of a forward has of its own sequence is its
position, the keys that it may see, and where it ends; so a cache of caches, an attention that goes
from one sequence to the next, and two overridden stages are enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..backend import Array
from ..kv_cache import KVCache, LayerCache
from ..model import Llama
from ..taps import Tap, no_tap


class Part(NamedTuple):
    """What one sequence brings to a forward: new tokens, its cache, the rows of logits it wants."""

    tokens: list[int]
    cache: KVCache
    last_only: bool


Views = tuple[Array, ...]  # of each sequence, the keys or the values of a layer: (K, S, hd)


class SharedLayer(LayerCache):
    """One layer of several caches: what each sequence has seen stays its own."""

    def __init__(self, layers: Sequence[LayerCache], ends: Sequence[int]):
        self.index = layers[0].index
        self.layers, self.ends = layers, ends

    def write(self, k: Array, v: Array) -> tuple[Views, Views]:  # type: ignore[override]
        """Each sequence's rows into its own cache; returns each one's keys and values."""
        rows = zip(self.layers, np.split(k, self.ends), np.split(v, self.ends), strict=True)
        keys, values = zip(
            *(layer.write(own_k, own_v) for layer, own_k, own_v in rows), strict=True
        )
        return keys, values


class SharedCache(KVCache):
    """The caches of several sequences, as one forward over all of their new tokens sees them."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts
        self.length = 0
        self.ends = list(accumulate(len(part.tokens) for part in parts))[:-1]

    def check_room(self, new: int) -> None:
        """Raise InputError unless each sequence's tokens fit its own cache."""
        for part in self.parts:
            part.cache.check_room(len(part.tokens))

    def __iter__(self) -> Iterator[LayerCache]:
        for layers in zip(*(part.cache for part in self.parts), strict=True):
            yield SharedLayer(layers, self.ends)

    def advance(self, new: int) -> None:
        """Count each sequence's tokens as seen by it."""
        for part in self.parts:
            part.cache.advance(len(part.tokens))


@dataclass(frozen=True, repr=False)
class Together(Llama):
    """A model for one forward over the new tokens of several sequences."""

    parts: Sequence[Part] = ()

    def rotations(self, start: int, L: int) -> Array:
        """Each sequence at its own positions: (L, hd/2, 2, 2)."""
        plain = super().rotations
        tables = [plain(part.cache.length, len(part.tokens)) for part in self.parts]
        return np.concatenate(tables)

    def head(self, x: Array, tap: Tap) -> Array:
        """The logits of the rows that are wanted, one sequence after the other."""
        wanted = [np.full(len(part.tokens), not part.last_only) for part in self.parts]
        for rows in wanted:
            rows[-1] = True
        return super().head(x[np.concatenate(wanted)], tap)


def forward_together(model: Llama, parts: Sequence[Part]) -> list[Array]:
    """`model.forward(part.tokens, part.cache)` of each part, in one pass over the weights.

    The same values but for rounding: a product of more rows may add in another order. Returns of
    each part (L, V), or (1, V) where it is `last_only`.
    """

    def attend_each(q: Array, keys: Views, values: Views, tap: Tap = no_tap) -> Array:
        own = zip(np.split(q, cache.ends), keys, values, strict=True)
        return np.concatenate([model.attention(q, k, v) for q, k, v in own])

    cache = SharedCache(parts)
    together = Together(model.config, model.weights, attend_each, parts)
    logits = together.forward([token for part in parts for token in part.tokens], cache)
    rows = accumulate(1 if part.last_only else len(part.tokens) for part in parts)
    return np.split(logits, list(rows)[:-1])
