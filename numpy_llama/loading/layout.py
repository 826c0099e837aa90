"""How texts are decoded fastest: where weights lie in memory, and how one query looks back.

To decode is to read every matrix once for each token: it is as fast as that is read, and with the
longer axis contiguous that is up to twice as fast. So for texts, matrices with more rows than
columns are copied once, column after column. The model still computes `x @ w.T`, and does not know.
"""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..attention import attend_blocked
from ..backend import Array
from ..kv_cache import KVCache
from ..model import Llama
from ..parameters import LayerWeights
from ..taps import Tap, no_tap
from ..tokens import Tokens

LARGE = 1 << 20  # bytes; a smaller matrix stays in the processor's cache
MOST = 2 << 30  # bytes of a model whose copy is soon made, and fits beside its file
TILE = 512, 64  # rows and columns copied at a time: what both sides of a copy keep in the cache


def longer_axis_contiguous(w: np.ndarray) -> np.ndarray:
    """The matrix (out, in) with its longer axis contiguous; itself, where it is so already.

    Copied a tile at a time: to go down a column of the whole would miss the cache each time.
    """
    if w.ndim != 2 or w.shape[0] <= w.shape[1] or w.nbytes < LARGE or w.T.flags.c_contiguous:
        return w
    turned = np.empty(w.shape[::-1], w.dtype)
    down, across = TILE
    for i in range(0, w.shape[0], down):
        for j in range(0, w.shape[1], across):
            turned[j : j + across, i : i + down] = w[i : i + down, j : j + across].T
    return turned.T


def arrays(layer: LayerWeights) -> list[np.ndarray]:
    """What a block holds."""
    return [array for array in vars(layer).values() if isinstance(array, np.ndarray)]


def laid_out(layer: LayerWeights) -> LayerWeights:
    """One block, likewise."""
    matrices = {
        name: longer_axis_contiguous(array)
        for name, array in vars(layer).items()
        if isinstance(array, np.ndarray)
    }
    return dataclasses.replace(layer, **matrices)


def attend_one(q: Array, k: Array, v: Array, tap: Tap = no_tap) -> Array:
    """`attend` of a single query: the product of keys with one vector after the other.

    For the few queries of a group at once, the BLAS would first copy the keys into an order of its
    own, which takes longer than to multiply them. q: (1, H, hd); k, v: (K, S, hd).
    """
    _, H, hd = q.shape
    grouped = (q / math.sqrt(hd)).reshape(len(k), -1, hd, 1)  # (K, G, hd, 1)
    scores = (k[:, None] @ grouped)[..., 0]  # (K, G, S)
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    heads: Array = weights @ v / weights.sum(axis=-1, keepdims=True)  # (K, G, hd)
    return heads.reshape(1, H, hd)


class Later:
    """A model that is laid out when it is first asked for."""

    def __init__(self, model: Llama):
        self.stored = model

    @cached_property
    def model(self) -> Llama:
        """With two threads: a copy waits for memory, not for the processor."""
        weights = self.stored.weights
        with ThreadPoolExecutor(2) as pool:
            head = pool.submit(longer_axis_contiguous, weights.lm_head)
            layers = tuple(pool.map(laid_out, weights.layers))
        weights = dataclasses.replace(weights, layers=layers, lm_head=head.result())
        blocked = self.stored.attention is attend_blocked
        attention = attend_one if blocked else self.stored.attention
        return Llama(self.stored.config, weights, attention)


@dataclass(frozen=True, repr=False)
class ForTexts(Llama):
    """A model that reads a prompt with its weights as they are, and decodes with the copy.

    So the first token does not wait for it, and a text of one token never makes it.
    """

    later: Later | None = None

    def forward(
        self,
        tokens: Tokens,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> Array:
        """As Llama's."""
        if len(tokens) == 1 and self.later is not None:
            return self.later.model.forward(tokens, cache, tap=tap, last_only=last_only)
        return super().forward(tokens, cache, tap=tap, last_only=last_only)


def for_texts(model: Llama) -> Llama:
    """The model for texts; itself where a copy would not pay.

    The values are the same, and sums may be taken in another order. Not where it is streamed, in
    float64, which is the reference, on a GPU, large, or a model that does something of its own.
    The embeddings stay where they are: of them a token reads one row.
    """
    weights, table = model.weights, model.weights.tok_embeddings
    resident = isinstance(weights.layers, tuple) and type(table) is np.ndarray
    if type(model) is not Llama or not resident or table.dtype != np.float32:
        return model
    if sum(array.nbytes for layer in weights.layers for array in arrays(layer)) > MOST:
        return model
    return ForTexts(model.config, weights, model.attention, Later(model))
