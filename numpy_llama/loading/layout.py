"""How texts are decoded fastest: where weights lie in memory.

To decode is to read every matrix once for each token: it is as fast as that is read, and with the
longer axis contiguous that is up to twice as fast. So for texts, matrices with more rows than
columns are copied once, column after column, those of one input side by side.
"""

import itertools
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
from ..tokens import Tokens, check_tokens
from .one_token import Block, Columns, FeedForward, OneToken
from .threads import own_threads
from .wavefront import InParts

MOST = 2 << 30  # bytes of a model whose copy is soon made, and fits beside its file
THREADS = 8  # that share a token: more take longer to wake than they save
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


Layer = tuple[np.ndarray, np.ndarray | None]  # a matrix (out, in), and its bias


@dataclass(frozen=True)
class Layout:
    """How a model is laid out: whether its matrices are copied, and in how many parts."""

    copied: bool
    parts: int

    def joined(self, *layers: Layer) -> Columns:
        """Linear layers of the same input, as one."""
        matrices = [w for w, _ in layers]
        A = (side_by_side(*matrices),) if self.copied else tuple(w.T for w in matrices)
        if all(b is None for _, b in layers):
            return Columns(A, None)
        biases = [np.zeros(len(w), w.dtype) if b is None else b for w, b in layers]
        return Columns(A, np.concatenate(biases))

    def slices(self, size: int) -> list[slice]:
        """Parts of so many features, all but one of them a multiple of 16."""
        parts = max(min(self.parts, size // 16), 1)
        ends = [16 * (size * i // (16 * parts)) for i in range(parts)] + [size]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def feed_forward(self, layer: LayerWeights) -> tuple[FeedForward, ...]:
        """A block's, in parts of its hidden features; the bias of their sum is the first's."""

        def of(part: slice) -> FeedForward:
            gate_up = [
                (w[part], None if b is None else b[part])
                for w, b in ((layer.w_gate, layer.b_gate), (layer.w_up, layer.b_up))
            ]
            down = layer.w_down[:, part], layer.b_down if part.start == 0 else None
            return FeedForward(self.joined(*gate_up), self.joined(down))

        return tuple(map(of, self.slices(len(layer.w_gate))))

    def block(self, layer: LayerWeights) -> Block:
        """One block."""
        return Block(
            layer.attn_norm,
            self.joined((layer.wq, layer.bq), (layer.wk, layer.bk), (layer.wv, layer.bv)),
            self.joined((layer.wo, layer.bo)),
            layer.ffn_norm,
            self.feed_forward(layer),
        )

    def head(self, w: np.ndarray) -> tuple[Columns, ...]:
        """The head, in parts of the vocabulary."""
        return tuple(self.joined((w[part], None)) for part in self.slices(len(w)))


class Later:
    """A model that is laid out when it is first asked for."""

    def __init__(self, model: Llama, layout: Layout):
        self.stored, self.layout = model, layout

    @cached_property
    def model(self) -> OneToken:
        """With two threads: a copy waits for memory, not for the processor."""
        weights = self.stored.weights
        with ThreadPoolExecutor(2) as pool:
            head = pool.submit(self.layout.head, weights.lm_head)
            blocks = tuple(pool.map(self.layout.block, weights.layers))
        table, gain = weights.tok_embeddings, weights.final_norm
        return OneToken(self.stored.config, table, blocks, gain, head.result())


@dataclass(frozen=True, repr=False)
class ForTexts(InParts):
    """A model that reads a prompt with its weights as they are, and decodes with the copy.

    So the first token does not wait for it, and a text of one token never makes it. Who looks at
    the taps sees the stages of the model itself.
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
        if len(tokens) != 1 or self.later is None or cache is None or tap is not no_tap:
            return super().forward(tokens, cache, tap=tap, last_only=last_only)
        (token,) = check_tokens(tokens, self.config)
        return self.later.model.forward(token, cache)


def for_texts(model: Llama) -> Llama:
    """The model for texts; itself where a copy would not pay.

    The values are the same, and sums may be taken in another order. Not where it is streamed, in
    float64, which is the reference, on a GPU, or a model that does something of its own. A large
    one is not copied. The embeddings stay where they are: of them a token reads one row.
    """
    weights, table = model.weights, model.weights.tok_embeddings
    resident = isinstance(weights.layers, tuple) and type(table) is np.ndarray
    ours = type(model) is Llama and model.attention is attend_blocked
    if not ours or not resident or table.dtype != np.float32:
        return model
    arrays = (array for layer in weights.layers for array in vars(layer).values())
    size = sum(array.nbytes for array in arrays if array is not None)
    layout = Layout(size <= MOST, min(own_threads(), THREADS))
    return ForTexts(model.config, weights, model.attention, model, Later(model, layout))
