"""Llama, a decoder-only transformer: its forward pass.

    tokens → embed → x ┬→ RMSNorm → attention → + ┬→ RMSNorm → SwiGLU → + → … → RMSNorm → head
                       └────────────────────────↗  └─────────────────────↗
                       └──────────── one block, N times ─────────────────┘

See taps.py for the letters of the axes.
"""

from dataclasses import dataclass

from .attention import Attention, attend
from .backend import Array
from .config import LlamaConfig
from .feed_forward import swiglu
from .kv_cache import KVCache, LayerCache
from .norm import rms, rms_norm
from .parameters import LayerWeights, Weights, linear, lookup, summary
from .rope import rotate
from .rope_scaling import rotation_table
from .taps import Tap, no_tap, within
from .tokens import Tokens, check_tokens


@dataclass(frozen=True)
class Llama:
    """A model: config, weights, and nothing that changes.

    Each method is one stage that a subclass can replace.
    """

    config: LlamaConfig
    weights: Weights
    attention: Attention = attend  # or attend_blocked: same values, less memory
    __repr__ = summary

    def forward(
        self,
        tokens: Tokens,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> Array:
        """The logits of the token after each of `tokens`: (L, V), or (1, V) if `last_only`.

        The tokens follow what `cache` holds; without one they are the whole sequence. Writes to
        the cache alone. Raises InputError for wrong ids or too little room.
        """
        ids = check_tokens(tokens, self.config)
        L = len(ids)
        if cache is None:
            cache = self.new_cache(L)
        cache.check_room(L)

        x = self.embed(ids)  # (L, D)
        # A tap shows an intermediate to whoever asked for it, and changes nothing.
        tap("embed", x)
        R = self.rotations(cache.length, L)
        for layer, seen in zip(self.weights.layers, cache, strict=True):
            x = self.block(x, layer, R, seen, within(tap, f"layers.{seen.index}."))
        cache.advance(L)

        return self.head(x[-1:] if last_only else x, tap)

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""
        return KVCache.empty(self.config, capacity, like=self.weights.tok_embeddings)

    def embed(self, ids: Array) -> Array:
        """One row of the table for each token: (L, D)."""
        return lookup(ids, self.weights.tok_embeddings)

    def rotations(self, start: int, L: int) -> Array:
        """RoPE's matrices for the L positions from `start`: (L, hd/2, 2, 2)."""
        return rotation_table(self.config, start, L, like=self.weights.tok_embeddings)

    def block(self, x: Array, layer: LayerWeights, R: Array, seen: LayerCache, tap: Tap) -> Array:
        """Attention, then the feed-forward network, each on a normalised copy of x: (L, D).

        Both *add* to x, the residual stream, which no norm ever touches.
        """
        normed = self.norm(x, layer.attn_norm, "attn_norm", tap)
        x = x + self.multi_head(normed, layer, R, seen, tap)
        tap("resid_mid", x)

        normed = self.norm(x, layer.ffn_norm, "ffn_norm", tap)
        x = x + self.feed_forward(normed, layer, tap)
        tap("resid_post", x)
        return x

    def norm(self, x: Array, gain: Array, name: str, tap: Tap) -> Array:
        """RMSNorm, its statistic visible: (L, D)."""
        statistic = rms(x, self.config.norm_eps)
        tap(f"{name}.rms", statistic)
        y = rms_norm(x, gain, statistic)
        tap(name, y)
        return y

    def multi_head(
        self, x: Array, layer: LayerWeights, R: Array, seen: LayerCache, tap: Tap
    ) -> Array:
        """Project, rotate, remember, attend, project back: (L, D)."""
        q, k, v = self.project(x, layer, tap)
        q, k = self.turn(q, k, R, tap)
        keys, values = seen.write(k, v)  # (K, S, hd), the past included
        heads = self.attention(q, keys, values, tap)
        tap("heads", heads)
        out = linear(heads.reshape(len(x), -1), layer.wo, layer.bo)
        tap("attn_out", out)
        return out

    def project(self, x: Array, layer: LayerWeights, tap: Tap) -> tuple[Array, Array, Array]:
        """Queries (L, H, hd), keys and values (L, K, hd)."""
        split = len(x), -1, self.config.head_dim
        q = linear(x, layer.wq, layer.bq).reshape(split)
        k = linear(x, layer.wk, layer.bk).reshape(split)
        v = linear(x, layer.wv, layer.bv).reshape(split)
        tap("q", q)
        tap("k", k)
        tap("v", v)
        return q, k, v

    def turn(self, q: Array, k: Array, R: Array, tap: Tap) -> tuple[Array, Array]:
        """Write the positions into queries and keys; values have none."""
        q, k = rotate(q, R), rotate(k, R)
        tap("q_rot", q)
        tap("k_rot", k)
        return q, k

    def feed_forward(self, x: Array, layer: LayerWeights, tap: Tap) -> Array:
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

    def head(self, x: Array, tap: Tap) -> Array:
        """One score for each token of the vocabulary: (L, V)."""
        normed = self.norm(x, self.weights.final_norm, "final_norm", tap)
        logits = linear(normed, self.weights.lm_head)
        tap("logits", logits)
        return logits
