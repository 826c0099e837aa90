"""Causal attention with grouped queries: the textbook function, then its blocked twin.

H query heads share K key and value heads, G = H / K queries to each: K = H is multi-head
attention, K = 1 multi-query, and anything between grouped-query (Ainslie et al. 2023). The G·L
queries of a group are the rows of one matrix, so that keys and values are never repeated.
"""

import math

import numpy as np

from .taps import Tap, no_tap


def softmax(scores: np.ndarray) -> np.ndarray:
    """Turn each row of scores into probabilities.

    softmax(s)ⱼ = e^(sⱼ - max s) / Σₖ e^(sₖ - max s)

    Subtracting the maximum changes nothing but that e^s cannot overflow. A score of -∞ gets
    probability 0 exactly.
    """
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def causal_mask(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """Which keys each query may see: (L, S), True where key j is not after query i.

    The queries are the *last* L of the S positions: query i stands at S - L + i. Were the mask
    aligned at the upper left instead, a chunk would not see what was cached before it.
    """
    queries = np.arange(S - L, S, like=like)
    keys = np.arange(S, like=like)
    return keys[None, :] <= queries[:, None]


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
    """Each query takes the average of the values, weighted by how well their keys match it.

    heads = softmax(mask(q kᵀ / √hd)) v

    q: (L, H, hd), the last L of the S positions; k, v: (K, S, hd); returns (L, H, hd).
    Query head h reads key head h // G. Taps `scores` and `probs`. Vaswani et al. 2017, eq. 1.
    """
    L, H, hd = q.shape
    K, S, _ = k.shape

    grouped = q.transpose(1, 0, 2).reshape(K, -1, hd)  # (K, G·L, hd): head h = (h // G, h % G)
    scores = grouped @ k.transpose(0, 2, 1) / math.sqrt(hd)  # (K, G·L, S)
    scores = scores.reshape(H, L, S)
    tap("scores", scores)

    visible = causal_mask(L, S, like=q)
    probs = softmax(np.where(visible, scores, -math.inf))
    tap("probs", probs)

    heads = probs.reshape(K, -1, S) @ v  # (K, G·L, hd)
    return heads.reshape(H, L, hd).transpose(1, 0, 2)  # (L, H, hd)


def attend_blocked(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap, block: int = 128
) -> np.ndarray:
    """`attend`, a block of queries at a time, each looking only at the keys that it may see.

    Holds block × S scores for each head instead of L × S, and leaves out the half of them that the mask
    would throw away, but for the corner of each block: with block = 1, not one masked score is
    computed. It shows no scores: use `attend` to tap them.
    """
    L, S = len(q), k.shape[1]
    heads = np.empty_like(q)
    for first in range(0, L, block):
        rows = q[first : first + block]
        seen = S - L + first + len(rows)  # the last query of the block sees this many keys
        heads[first : first + block] = attend(rows, k[:, :seen], v[:, :seen])
    return heads
