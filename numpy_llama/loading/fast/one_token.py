"""One token through a model, in few steps: how texts are decoded.

The model's own stages are for any number of tokens. A single one is a vector, whose products take
hardly longer than it takes to ask for them, in a small model less. So what multiplies the same
vector is one matrix, a pair of features is turned as one complex number, and whatever can be is
done in place. model.py is the textbook, and tests hold the two against each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...config import LlamaConfig
from ...kv_cache import KVCache
from ...rope_scaling import frequencies
from ..blas import is_wide

Vector = np.ndarray


@dataclass(frozen=True)
class Columns:
    """One or more linear layers of the same input, as one: x A + b."""

    A: np.ndarray  # (in, out), the outputs of one layer after those of the other
    b: Vector | None  # (out,)

    def __call__(self, x: Vector) -> Vector:
        """A new array: (in,) to (out,)."""
        y: Vector = x @ self.A
        if self.b is not None:
            y += self.b
        return y


@dataclass(frozen=True)
class Block:
    """The weights of one block, as they are used here."""

    attn_norm: Vector
    qkv: Columns  # to (H·hd + K·hd + K·hd)
    out: Columns
    ffn_norm: Vector
    gate_up: Columns  # to (F + F)
    down: Columns


def norm(x: Vector, gain: Vector, eps: float) -> Vector:
    """RMSNorm of one vector."""
    y: Vector = x / x.dtype.type(math.sqrt(x @ x / len(x) + eps))
    y *= gain
    return y


def turns(config: LlamaConfig, position: int) -> Vector:
    """RoPE of one position as complex numbers, m (cos φ + i sin φ), of the pairs: (hd/2,)."""
    f, magnitude = frequencies(config, position + 1)
    return (magnitude * np.exp(1j * position * f)).astype(np.complex64)


def attend_one(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Vector:
    """`attend` of a single query: the product of keys with one vector after the other.

    For the few queries of a group at once, the BLAS would first copy the keys into an order of its
    own, which takes longer than to multiply them. The same holds for the values, except with
    OpenBLAS's kernels for AVX-512. q: (H, hd); k, v: (K, S, hd); returns (H·hd,).
    """
    K, _, hd = k.shape
    grouped = (q / q.dtype.type(math.sqrt(hd))).reshape(K, -1, hd, 1)  # (K, G, hd, 1)
    scores = (k[:, None] @ grouped)[..., 0]  # (K, G, S)
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    heads: np.ndarray = weights @ v if is_wide() else (weights[:, :, None] @ v[:, None])[:, :, 0]
    heads /= weights.sum(axis=-1, keepdims=True)  # (K, G, hd)
    return heads.reshape(-1)


def swiglu(both: Vector) -> Vector:
    """SwiGLU of gate and up, which stand one after the other: (2 F,) to (F,), a view."""
    F = len(both) // 2
    gate, up = both[:F], both[F:]
    weights = np.exp(-gate)
    weights += 1
    gate /= weights
    gate *= up
    return gate


@dataclass(frozen=True)
class OneToken:
    """A model in float32, for one token after the other."""

    config: LlamaConfig
    tok_embeddings: np.ndarray  # (V, D)
    blocks: Sequence[Block]
    final_norm: Vector
    head: Columns

    def forward(self, token: int, cache: KVCache) -> np.ndarray:
        """The logits of the token after this one, which follows what `cache` holds: (1, V)."""
        c, eps = self.config, self.config.norm_eps
        H, turned = c.n_heads, c.n_heads + c.n_kv_heads  # heads of queries; and those of keys
        cache.check_room(1)
        x = self.tok_embeddings[token].copy()
        turn = turns(c, cache.length)
        with np.errstate(over="ignore"):  # as in swish: z / ∞ is the right limit
            for block, seen in zip(self.blocks, cache, strict=True):
                heads = block.qkv(norm(x, block.attn_norm, eps)).reshape(1, -1, c.head_dim)
                pairs = heads[0, :turned].view(np.complex64)
                pairs *= turn
                keys, values = seen.write(heads[:, H:turned], heads[:, turned:])
                x += block.out(attend_one(heads[0, :H], keys, values))
                x += block.down(swiglu(block.gate_up(norm(x, block.ffn_norm, eps))))
        cache.advance(1)
        return self.head(norm(x, self.final_norm, eps))[None]
