"""The KV cache: keys and values of the positions already seen, so that each is computed once."""

from collections.abc import Iterator
from typing import Self

import numpy as np

from .backend import Array
from .config import LlamaConfig
from .errors import InputError


class LayerCache:
    """One layer's part of a cache, for one forward: views, and which positions come next.

    index: the layer, 0 … N - 1; start: how many positions were seen before this forward.
    """

    def __init__(self, cache: "KVCache", index: int):
        self.index = index
        self.start = cache.length
        self.k = cache.k[index]  # (K, S_max, hd)
        self.v = cache.v[index]

    def write(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Store the new keys and values; return all of this layer's, the past included, as views.

        k, v: (L, K, hd), at the positions [start, start + L); returns two of (K, S, hd).
        """
        end = self.start + len(k)
        self.k[:, self.start : end] = k.transpose(1, 0, 2)
        self.v[:, self.start : end] = v.transpose(1, 0, 2)
        return self.k[:, :end], self.v[:, :end]


class KVCache:
    """Two arrays and one length.

    k, v: (N, K, S_max, hd), allocated once; positions [0, length) are filled. Keys are stored as
    attention uses them: rotated. Layers write to it, each to its own part; the model alone advances
    the length, once a forward, so that every layer of one forward sees the same positions.
    """

    def __init__(self, k: Array, v: Array):
        self.k = k
        self.v = v
        self.length = 0

    @classmethod
    def empty(cls, config: LlamaConfig, capacity: int, like: Array) -> Self:
        """A cache for `capacity` positions, of the dtype and on the device of `like`."""
        shape = (config.n_layers, config.n_kv_heads, capacity, config.head_dim)
        return cls(
            np.zeros(shape, like.dtype, like=like),
            np.zeros(shape, like.dtype, like=like),
        )

    @property
    def capacity(self) -> int:
        """How many positions fit: S_max."""
        return int(self.k.shape[2])

    def check_room(self, new: int) -> None:
        """Raise InputError unless `new` more positions fit."""
        if self.length + new > self.capacity:
            raise InputError(
                f"{self.length + new} positions do not fit in a KV cache of {self.capacity}: "
                "shorten the prompt or ask for a larger context"
            )

    def __iter__(self) -> Iterator[LayerCache]:
        """The part of each layer, from the first to the last."""
        return (LayerCache(self, i) for i in range(len(self.k)))

    def advance(self, new: int) -> None:
        """Count `new` positions as seen."""
        self.length += new

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on; what is forgotten is overwritten, not cleared."""
        self.length = min(self.length, length)
