"""A text through a model, as fast as NumPy reads it: around the model, and not in it.

OpenBLAS's kernels for AVX-512 multiply (w xᵀ)ᵀ faster than x wᵀ, as long as x has few rows. So
what the model takes for a matrix multiplies the other way round, and x lies in memory column after
column from the beginning, as such products leave it. And in the last block only those tokens go
on whose logits are asked for.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...backend import Array
from ...kv_cache import LayerCache
from ...model import Llama
from ...parameters import LayerWeights, linear
from ...taps import Tap
from ..blas import is_wide

SHORT = 384  # tokens, up to which that is faster: 1.4 times for 32 of SmolLM2, 1.04 times for 256


class Turned:
    """A matrix (out, in), to be used as `x @ matrix.T` alone."""

    __array_ufunc__ = None  # so NumPy leaves `x @` to `__rmatmul__`

    def __init__(self, w: Array):
        self.w = w

    @property
    def T(self) -> "Turned":  # noqa: N802
        """What a product takes."""
        return self

    def __rmatmul__(self, x: Array) -> Array:
        """x (L, in) times it: (L, out)."""
        return (self.w @ x.T).T


def turned(layer: LayerWeights) -> LayerWeights:
    """A block with its matrices turned."""
    arrays = vars(layer).items()
    matrices: Any = {name: Turned(w) for name, w in arrays if w is not None and w.ndim == 2}
    return replace(layer, **matrices)


@dataclass(frozen=True, repr=False)
class Reader(Llama):
    """A model for one text.

    wanted: of how many tokens, from the end, the logits are asked for: of all (None), one or none.
    Of the others the last block needs keys and values alone. few: whether its matrices are turned.
    """

    wanted: int | None = None
    few: bool = False

    def embed(self, ids: Array) -> Array:
        """As Llama's."""
        x = super().embed(ids)
        return np.asfortranarray(x) if self.few else x

    def block(self, x: Array, layer: LayerWeights, R: Array, seen: LayerCache, tap: Tap) -> Array:
        """As Llama's; the last one gives the tokens that are wanted, and shows nothing to a tap."""
        if self.wanted is None or seen.index < self.config.n_layers - 1:
            return super().block(x, layer, R, seen, tap)
        q, k, v = self.project(self.norm(x, layer.attn_norm, "attn_norm", tap), layer, tap)
        q, k = self.turn(q, k, R, tap)
        keys, values = seen.write(k, v)
        if self.wanted == 0:
            return x[:0]
        heads = self.attention(q[-self.wanted :], keys, values, tap)
        out = linear(heads.reshape(self.wanted, -1), layer.wo, layer.bo)
        x = x[-self.wanted :] + out
        return x + self.feed_forward(self.norm(x, layer.ffn_norm, "ffn_norm", tap), layer, tap)


def reader(model: Llama, tokens: int, wanted: int | None) -> Reader:
    """The model to read so many tokens with."""
    weights = model.weights
    few = is_wide() and tokens <= SHORT and weights.tok_embeddings.dtype == np.float32
    if few:
        weights = replace(weights, layers=tuple(map(turned, weights.layers)))
    return Reader(model.config, weights, model.attention, wanted, few)
