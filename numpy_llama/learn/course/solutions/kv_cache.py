"""Stage 4: the KV cache. Keep the keys and values of past tokens, so that each is computed once.

One forward pass does this: every layer calls `write` once, with its keys and values of the same
new tokens; then the model calls `advance` once. So `write` must not change `length`.

Letters of the shapes: L new tokens, S all tokens so far with the new ones, K key heads,
hd features of a head.
"""

import numpy as np


class KVCache:
    """Room for the keys and values of all layers, and how many positions are filled."""

    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        """Make room for `capacity` positions in each layer; set self.length = 0."""
        shape = (n_layers, capacity, n_kv_heads, head_dim)
        self.k = np.zeros(shape)
        self.v = np.zeros(shape)
        self.length = 0

    def write(self, layer, k, v):
        """Store the new keys and values of one layer behind those that are there; return all.

        layer: its number. k, v: (L, K, hd), for the positions length, length + 1, …
        Returns keys and values, each (S, K, hd): the past ones first.
        """
        end = self.length + len(k)
        self.k[layer, self.length : end] = k
        self.v[layer, self.length : end] = v
        return self.k[layer, :end], self.v[layer, :end]

    def advance(self, new):
        """Count `new` more positions as filled."""
        self.length += new
