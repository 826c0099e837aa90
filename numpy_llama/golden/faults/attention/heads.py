"""Mistakes in the axes of attention: what softmax runs over, and which heads belong together."""

import numpy as np

from ....attention import softmax
from ..fault import Fault
from .parts import attention_with


def softmax_over_queries(scores: np.ndarray) -> np.ndarray:
    """Softmax along L instead of S."""
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2)


def tiled(H: int, K: int) -> np.ndarray:
    """The key head of each query head: h mod K."""
    return np.arange(H) % K


def merged_without_transpose(heads: np.ndarray) -> np.ndarray:
    """(H, L, hd) read as (L, H, hd)."""
    H, L, hd = heads.shape
    return heads.reshape(L, H, hd)


FAULTS = (
    Fault(
        "softmax-over-queries",
        "attention",
        "Softmax is taken along the wrong axis: over the queries of a step, not over the keys.",
        "probs[h, i, j] = e^s[h,i,j] / Σ over i' of e^s[h,i',j], after the mask",
        "llms-from-scratch-rs#30, annotated_dl#146",
        "Softmax along the last axis of (H, L, S).",
        attention_with(normalise=softmax_over_queries),
    ),
    Fault(
        "gqa-tiled",
        "attention",
        "Query heads are matched with the wrong key heads: tiled 0 1 0 1, not repeated 0 0 1 1.",
        "query head h reads key head h mod K instead of h // G",
        "onnx#7274, jax-js#180, HipKittens#22, nntile#347",
        "Repeat each key and value head G times in a row.",
        attention_with(key_head=tiled, value_head=tiled),
        lambda config: 1 < config.n_kv_heads < config.n_heads,
    ),
    Fault(
        "gqa-tiled-keys",
        "attention",
        "Query heads are matched with the wrong key heads, and with the right value heads.",
        "query head h reads key head h mod K and value head h // G",
        "",
        "Repeat each key and value head G times in a row, both in the same way.",
        attention_with(key_head=tiled),
        lambda config: 1 < config.n_kv_heads < config.n_heads,
    ),
    Fault(
        "heads-not-transposed",
        "attention",
        "The heads are merged without bringing their axis back behind the positions.",
        "heads (H, L, hd) is read as (L, H, hd), in each step",
        "transformer-from-scratch#6",
        "Transpose (H, L, hd) to (L, H, hd) before reshaping to (L, H·hd).",
        attention_with(merge=merged_without_transpose),
        lambda config: config.n_heads > 1,
    ),
)
