"""How texts are decoded fastest: where weights lie in memory.

To decode is to read every matrix once for each token: it is as fast as that is read. So for texts
all matrices are copied once into one stretch of memory, in the order of their use, those of one
input side by side. Reading runs on from one matrix into the next, and Linux gives a long stretch
in large pages.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ...attention import attend_blocked
from ...backend import Array
from ...kv_cache import KVCache
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap, no_tap
from ...tokens import Tokens, check_tokens
from ..blas import has_avx512
from .one_token import Block, Columns, OneToken
from .reader import reader
from .wavefront import LONG, InParts

MOST = 2 << 30  # bytes of a model whose copy is soon made, and fits beside its file
CACHED = 128 << 20  # bytes of a model of which a processor's cache may hold a good part
TILE = 512, 64  # rows and columns copied at a time: what both sides of a copy keep in the cache
LINE = 64  # bytes that a processor reads at once

Layer = tuple[np.ndarray, np.ndarray | None]  # a matrix (out, in), and its bias (out,)


def in_rows(nbytes: int) -> bool:
    """Whether matrices of a model of so many bytes are read faster row after row, as stored.

    If not, a matrix with more rows than columns is kept column after column. Measured, decoding
    SmolLM2: 1.1 times as fast in rows on a processor with AVX-512 (AMD's Zen 5), where a model that
    its cache holds is 1.2 times as slow; and up to 1.4 times as slow on one without (Zen 3).
    """
    return nbytes > CACHED and has_avx512()


def stretch(size: int, dtype: np.dtype) -> np.ndarray:
    """Memory for so many values, which begins where a line of the cache does: (size,)."""
    memory = np.empty(size + LINE // dtype.itemsize, dtype)
    begin = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[begin : begin + size]


def side_by_side(memory: np.ndarray, rows_stay: bool, *matrices: np.ndarray) -> np.ndarray:
    """Matrices (out, in) of the same input as one, (in, all outs), in `memory`, which they fill.

    The longer axis is contiguous, unless `rows_stay`. A column is copied a tile at a time: to go
    down all of it would miss the cache each time.
    """
    rows, columns = sum(map(len, matrices)), matrices[0].shape[1]
    if rows_stay or rows <= columns:
        return np.concatenate(matrices, out=memory.reshape(rows, columns)).T
    turned = memory.reshape(columns, rows)
    at = 0
    down, across = TILE
    for w in matrices:
        part = turned[:, at : at + len(w)]
        at += len(w)
        for i in range(0, len(w), down):
            for j in range(0, columns, across):
                part[j : j + across, i : i + down] = w[i : i + down, j : j + across].T
    return turned


def joined(memory: np.ndarray, rows_stay: bool, *layers: Layer) -> Columns:
    """Linear layers of the same input as one, its matrix in `memory`."""
    A = side_by_side(memory, rows_stay, *(w for w, _ in layers))
    if all(b is None for _, b in layers):
        return Columns(A, None)
    biases = [np.zeros(len(w), w.dtype) if b is None else b for w, b in layers]
    return Columns(A, np.concatenate(biases))


def by_input(layer: LayerWeights) -> tuple[tuple[Layer, ...], ...]:
    """The linear layers of a block, those of one input together, in the order of their use."""
    return (
        ((layer.wq, layer.bq), (layer.wk, layer.bk), (layer.wv, layer.bv)),
        ((layer.wo, layer.bo),),
        ((layer.w_gate, layer.b_gate), (layer.w_up, layer.b_up)),
        ((layer.w_down, layer.b_down),),
    )


def laid_out(layer: LayerWeights, memory: np.ndarray, rows_stay: bool) -> Block:
    """One block, its matrices in `memory`, which they fill."""
    groups = by_input(layer)
    ends = np.cumsum([sum(w.size for w, _ in group) for group in groups])
    pieces = np.split(memory, ends[:-1])
    qkv, out, gate_up, down = (
        joined(piece, rows_stay, *group) for piece, group in zip(pieces, groups, strict=True)
    )
    return Block(layer.attn_norm, qkv, out, layer.ffn_norm, gate_up, down)


def matrices_of(layer: LayerWeights) -> int:
    """How many values the matrices of a block have."""
    return sum(w.size for group in by_input(layer) for w, _ in group)


class Later:
    """A model that is laid out when it is first asked for."""

    def __init__(self, model: Llama):
        self.stored = model

    @cached_property
    def model(self) -> OneToken:
        """With two threads: a copy waits for memory, not for the processor."""
        config, weights = self.stored.config, self.stored.weights
        of_blocks, head = config.n_layers * matrices_of(weights.layers[0]), weights.lm_head
        memory = stretch(of_blocks + head.size, head.dtype)
        rows_stay = in_rows(memory.nbytes)
        with ThreadPoolExecutor(2) as pool:
            last = pool.submit(joined, memory[of_blocks:], rows_stay, (head, None))
            parts = memory[:of_blocks].reshape(config.n_layers, -1)
            blocks = pool.map(partial(laid_out, rows_stay=rows_stay), weights.layers, parts)
            return OneToken(
                config, weights.tok_embeddings, tuple(blocks), weights.final_norm, last.result()
            )


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

    def whole(self, tokens: int, last_only: bool) -> Llama:
        """The model to read a short prompt with."""
        return reader(self, tokens, 1 if last_only else None)


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
