"""The KV cache: keys and values of the positions already seen, so that each is computed once."""

from typing import Self

import numpy as np

from .config import LlamaConfig
from .errors import InputError


class KVCache:
    """Two arrays and one length.

    k, v: (N, K, S_max, hd), allocated once; positions [0, length) are filled. Keys are stored as
    attention uses them: rotated. The model alone advances the length, once a forward, so that
    every layer of one forward sees the same positions.
    """

    def __init__(self, k: np.ndarray, v: np.ndarray):
        self.k = k
        self.v = v
        self.length = 0

    @classmethod
    def empty(cls, config: LlamaConfig, capacity: int, like: np.ndarray) -> Self:
        """A cache for `capacity` positions, of the dtype and on the device of `like`."""
        shape = (config.n_layers, config.n_kv_heads, capacity, config.head_dim)
        return cls(
            np.zeros(shape, like.dtype, like=like),
            np.zeros(shape, like.dtype, like=like),
        )

    @property
    def capacity(self) -> int:
        """How many positions fit: S_max."""
        return self.k.shape[2]

    def check_room(self, new: int) -> None:
        """Raise InputError unless `new` more positions fit."""
        if self.length + new > self.capacity:
            raise InputError(
                f"{self.length + new} positions do not fit in a KV cache of {self.capacity}: "
                "shorten the prompt or ask for a larger context"
            )

    def write(self, layer: int, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Store the new keys and values of one layer; return all of that layer's, as views.

        k, v: (L, K, hd), at the positions [length, length + L); returns two of (K, S, hd).
        """
        end = self.length + k.shape[0]
        self.k[layer, :, self.length : end] = k.transpose(1, 0, 2)
        self.v[layer, :, self.length : end] = v.transpose(1, 0, 2)
        return self.k[layer, :, :end], self.v[layer, :, :end]

    def advance(self, new: int) -> None:
        """Count `new` positions as seen."""
        self.length += new

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on; what is forgotten is overwritten, not cleared."""
        self.length = min(self.length, length)
