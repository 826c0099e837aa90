"""Llama: a decoder-only transformer, forward pass only. The page everyone came for.

    tokens → embed → x ┬→ RMSNorm → attention → + ┬→ RMSNorm → SwiGLU → + → … → RMSNorm → head
                       └────────────────────────↗  └─────────────────────↗
                       └──────────── one block, N times ─────────────────┘

One sequence, no batch axis. The axes, in every file:
    L new tokens   S cached + new positions   D dim         F hidden_dim   V vocab_size
    H n_heads      K n_kv_heads               hd head_dim   N n_layers
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .attention import attend
from .config import LlamaConfig
from .errors import InputError
from .feed_forward import swiglu
from .kv_cache import KVCache
from .norm import rms, rms_norm
from .rope import frequencies, rotate, rotation_matrices
from .taps import Tap, no_tap, within


@dataclass(frozen=True)
class LayerWeights:
    """One block. Matrices are (out, in), as in every checkpoint, and used as x @ w.T."""

    attn_norm: np.ndarray  # (D,)
    wq: np.ndarray  # (H·hd, D), pairs of RoPE adjacent
    wk: np.ndarray  # (K·hd, D), likewise
    wv: np.ndarray  # (K·hd, D)
    wo: np.ndarray  # (D, H·hd)
    ffn_norm: np.ndarray  # (D,)
    w_gate: np.ndarray  # (F, D)
    w_up: np.ndarray  # (F, D)
    w_down: np.ndarray  # (D, F)
    bq: np.ndarray | None = None  # biases, in the few models that have them
    bk: np.ndarray | None = None
    bv: np.ndarray | None = None
    bo: np.ndarray | None = None
    b_gate: np.ndarray | None = None
    b_up: np.ndarray | None = None
    b_down: np.ndarray | None = None


@dataclass(frozen=True)
class Weights:
    """All weights. `layers` is any sequence: a tuple, or a stream that expands one at a time."""

    tok_embeddings: np.ndarray  # (V, D)
    layers: Sequence[LayerWeights]
    final_norm: np.ndarray  # (D,)
    lm_head: np.ndarray  # (V, D); tok_embeddings itself in a tied model


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """x wᵀ + b.  x: (L, in); w: (out, in); b: (out,) or None; returns (L, out)."""
    y = x @ w.T
    return y if b is None else y + b


@dataclass(frozen=True)
class Llama:
    """A model: its config, its weights, and nothing that changes.

    Each method is one stage of the forward pass, so that a subclass can replace it by itself.
    """

    config: LlamaConfig
    weights: Weights
    attention: Callable[..., np.ndarray] = attend  # or attend_blocked: same values, less memory

    def forward(
        self,
        tokens: Sequence[int] | np.ndarray,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> np.ndarray:
        """The logits of the token after each of `tokens`.

        tokens: (L,) ids, which follow what `cache` holds; without a cache they are the whole
        sequence. Returns (L, V), or (1, V) if `last_only`. Writes to `cache` and to nothing else.
        Raises InputError for no tokens, an id outside the vocabulary, or a cache without room.
        """
        ids = self.check_tokens(tokens)
        L = len(ids)
        if cache is None:
            cache = self.new_cache(L)
        cache.check_room(L)

        x = self.embed(ids)  # (L, D)
        tap("embed", x)
        R = self.rotations(cache.length, L)  # (L, hd/2, 2, 2)
        for i, layer in enumerate(self.weights.layers):
            x = self.block(x, layer, i, R, cache, within(tap, f"layers.{i}."))
        cache.advance(L)

        if last_only:
            x = x[-1:]
        return self.head(x, tap)

    def __repr__(self) -> str:
        """Three lines; all fields would be thousands."""
        dtype = self.weights.tok_embeddings.dtype
        return f"{type(self).__name__} in {dtype}\n{self.config}"

    def check_tokens(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """The ids as a host array (L,). On a GPU an id out of range would wrap without a word."""
        ids = np.asarray(tokens)
        V = self.config.vocab_size
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise InputError("tokens must be a sequence of at least one whole number")
        if ids.min() < 0 or ids.max() >= V:
            wrong = next(i for i in ids.tolist() if not 0 <= i < V)
            raise InputError(f"token id {wrong} is outside the vocabulary of {V} (0 … {V - 1})")
        return ids

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions, like this model's arrays."""
        return KVCache.empty(self.config, capacity, like=self.weights.tok_embeddings)

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """One row of the embedding table for each token: (L,) to (L, D)."""
        table = self.weights.tok_embeddings
        return table[np.asarray(ids, like=table)]

    def rotations(self, start: int, L: int) -> np.ndarray:
        """The rotation matrices of the positions [start, start + L): (L, hd/2, 2, 2)."""
        f, magnitude = frequencies(self.config, start + L)
        positions = np.arange(start, start + L)
        return rotation_matrices(f, positions, magnitude, like=self.weights.tok_embeddings)

    def block(
        self, x: np.ndarray, layer: LayerWeights, i: int, R: np.ndarray, cache: KVCache, tap: Tap
    ) -> np.ndarray:
        """One block: attention, then the feed-forward network, each on a normalised copy of x.

        Both *add* to the residual stream, which no norm ever touches: (L, D) to (L, D).
        """
        normed = self.norm(x, layer.attn_norm, "attn_norm", tap)
        x = x + self.self_attention(normed, layer, i, R, cache, tap)
        tap("resid_mid", x)

        normed = self.norm(x, layer.ffn_norm, "ffn_norm", tap)
        x = x + self.feed_forward(normed, layer, tap)
        tap("resid_post", x)
        return x

    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        """RMSNorm, its statistic visible: (L, D) to (L, D)."""
        statistic = rms(x, self.config.norm_eps)  # (L,)
        tap(f"{name}.rms", statistic)
        y = rms_norm(x, gain, statistic)
        tap(name, y)
        return y

    def self_attention(
        self, x: np.ndarray, layer: LayerWeights, i: int, R: np.ndarray, cache: KVCache, tap: Tap
    ) -> np.ndarray:
        """Project to queries, keys and values; rotate; remember; attend; project back: (L, D)."""
        q, k, v = self.project(x, layer, tap)
        q, k = self.rotate(q, k, R, tap)
        keys, values = cache.write(i, k, v)  # (K, S, hd), the past included
        heads = self.attention(q, keys, values, tap)  # (L, H, hd)
        tap("heads", heads)
        out = linear(heads.reshape(len(heads), -1), layer.wo, layer.bo)
        tap("attn_out", out)
        return out

    def project(
        self, x: np.ndarray, layer: LayerWeights, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries (L, H, hd), keys and values (L, K, hd) of the normalised stream."""
        L, hd = len(x), self.config.head_dim
        q = linear(x, layer.wq, layer.bq).reshape(L, -1, hd)
        k = linear(x, layer.wk, layer.bk).reshape(L, -1, hd)
        v = linear(x, layer.wv, layer.bv).reshape(L, -1, hd)
        tap("q", q)
        tap("k", k)
        tap("v", v)
        return q, k, v

    def rotate(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the positions into queries and keys; values have none."""
        q, k = rotate(q, R), rotate(k, R)
        tap("q_rot", q)
        tap("k_rot", k)
        return q, k

    def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
        """SwiGLU between two projections: (L, D) to (L, F) and back."""
        gate = linear(x, layer.w_gate, layer.b_gate)
        up = linear(x, layer.w_up, layer.b_up)
        tap("gate", gate)
        tap("up", up)
        hidden = swiglu(gate, up)
        tap("swiglu", hidden)
        out = linear(hidden, layer.w_down, layer.b_down)
        tap("ffn_out", out)
        return out

    def head(self, x: np.ndarray, tap: Tap) -> np.ndarray:
        """The last norm, then one score for each token of the vocabulary: (L, D) to (L, V)."""
        normed = self.norm(x, self.weights.final_norm, "final_norm", tap)
        logits = linear(normed, self.weights.lm_head)
        tap("logits", logits)
        return logits
