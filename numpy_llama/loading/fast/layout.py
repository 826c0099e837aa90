"""How texts are decoded fastest: where weights lie in memory.

To decode is to read every matrix once for each token: it is as fast as that is read, and with the
longer axis contiguous that is up to twice as fast. So for texts, matrices with more rows than
columns are copied once, column after column, those of one input side by side.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...attention import attend_blocked
from ...backend import Array
from ...kv_cache import KVCache
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap, no_tap
from ...tokens import Tokens, check_tokens
from .one_token import Block, Columns, OneToken
from .wavefront import LONG, InParts

MOST = 2 << 30  # bytes of a model whose copy is soon made, and fits beside its file
TILE = 512, 64  # rows and columns copied at a time: what both sides of a copy keep in the cache


def side_by_side(*matrices: np.ndarray) -> np.ndarray:
    """Matrices (out, in) of the same input as one, (in, all outs), its longer axis contiguous.

    A view, where one matrix is so already. Else it is copied a tile at a time: to go down a column
    of the whole would miss the cache each time.
    """
    rows, columns = sum(map(len, matrices)), matrices[0].shape[1]
    if rows <= columns:
        return (matrices[0] if len(matrices) == 1 else np.concatenate(matrices)).T
    turned = np.empty((columns, rows), matrices[0].dtype)
    at = 0
    down, across = TILE
    for w in matrices:
        part = turned[:, at : at + len(w)]
        at += len(w)
        for i in range(0, len(w), down):
            for j in range(0, columns, across):
                part[j : j + across, i : i + down] = w[i : i + down, j : j + across].T
    return turned


def joined(*layers: tuple[np.ndarray, np.ndarray | None]) -> Columns:
    """Linear layers of the same input, each a matrix (out, in) and its bias or None, as one."""
    A = side_by_side(*(w for w, _ in layers))
    if all(b is None for _, b in layers):
        return Columns(A, None)
    biases = [np.zeros(len(w), w.dtype) if b is None else b for w, b in layers]
    return Columns(A, np.concatenate(biases))


def laid_out(layer: LayerWeights) -> Block:
    """One block, likewise."""
    return Block(
        layer.attn_norm,
        joined((layer.wq, layer.bq), (layer.wk, layer.bk), (layer.wv, layer.bv)),
        joined((layer.wo, layer.bo)),
        layer.ffn_norm,
        joined((layer.w_gate, layer.b_gate), (layer.w_up, layer.b_up)),
        joined((layer.w_down, layer.b_down)),
    )


class Later:
    """A model that is laid out when it is first asked for."""

    def __init__(self, model: Llama):
        self.stored = model

    @cached_property
    def model(self) -> OneToken:
        """With two threads: a copy waits for memory, not for the processor."""
        weights = self.stored.weights
        with ThreadPoolExecutor(2) as pool:
            head = pool.submit(joined, (weights.lm_head, None))
            blocks = tuple(pool.map(laid_out, weights.layers))
        table, gain = weights.tok_embeddings, weights.final_norm
        return OneToken(self.stored.config, table, blocks, gain, head.result())


@dataclass(frozen=True, repr=False)
class ForTexts(InParts):
    """A model that reads a prompt with its weights as they are, and decodes with the copy.

    So the first token does not wait for it, and a text of one token never makes it. Who looks at
    the taps sees the stages of the model itself.
    """

    later: Later | None = None
    least: int = LONG

    def forward(
        self,
        tokens: Tokens,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> Array:
        """As Llama's."""
        if len(tokens) == 1 and cache is not None and tap is no_tap and self.later is not None:
            (token,) = check_tokens(tokens, self.config)
            return self.later.model.forward(token, cache)
        return super().forward(tokens, cache, tap=tap, last_only=last_only)


def for_texts(model: Llama) -> Llama:
    """The model for texts; itself where a copy would not pay.

    The values are the same, and sums may be taken in another order. Not where it is streamed, in
    float64, which is the reference, on a GPU, large, or a model that does something of its own.
    The embeddings stay where they are: of them a token reads one row.
    """
    weights, table = model.weights, model.weights.tok_embeddings
    resident = isinstance(weights.layers, tuple) and type(table) is np.ndarray
    ours = type(model) is Llama and model.attention is attend_blocked
    if not ours or not resident or table.dtype != np.float32:
        return model
    arrays = (array for layer in weights.layers for array in vars(layer).values())
    if sum(array.nbytes for array in arrays if array is not None) > MOST:
        return model
    return ForTexts(model.config, weights, model.attention, later=Later(model))
