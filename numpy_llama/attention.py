"""Causal attention with grouped queries: the textbook function, then its blocked twin.

H query heads share K key and value heads, G = H / K queries to each: K = H is multi-head
attention, K = 1 multi-query, and anything between grouped-query (Ainslie et al. 2023). The G·L
queries of a group are the rows of one matrix, so that keys and values are never repeated.
"""

import math
from collections.abc import Callable

import numpy as np

from .backend import Array
from .taps import Tap, no_tap

Attention = Callable[..., Array]


def softmax(scores: Array) -> Array:
    """Turn each row of scores into probabilities.

    softmax(s)ⱼ = e^(sⱼ - max s) / Σₖ e^(sₖ - max s)

    Subtracting the maximum changes nothing but that e^s cannot overflow. A score of -∞ gets
    probability 0 exactly.
    """
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def causal_mask(L: int, S: int, like: Array) -> Array:
    """Which keys each query may see: (L, S), True where key j is not after query i.

    The queries are the *last* L of the S positions: query i stands at S - L + i. Were the mask
    aligned at the upper left instead, a chunk would not see what was cached before it.

    Example: two queries, after three positions that are cached.

    >>> causal_mask(2, 5, like=np.empty(0)).astype(int)
    array([[1, 1, 1, 1, 0],
           [1, 1, 1, 1, 1]])
    """
    queries = np.arange(S - L, S, like=like)
    keys = np.arange(S, like=like)
    return keys[None, :] <= queries[:, None]


def attend(q: Array, k: Array, v: Array, tap: Tap = no_tap) -> Array:
    """Each query takes the average of the values, weighted by how well their keys match it.

    heads = softmax(mask(q kᵀ / √hd)) v

    q: (L, H, hd), the last L of the S positions; k, v: (K, S, hd); returns (L, H, hd).
    Query head h reads key head h // G. Taps `scores` and `probs`. Vaswani et al. 2017, eq. 1.

    Example: two positions, one head. The queries are zero, so that all keys match alike: the
    first position takes the value that it sees, the second the mean of both.

    >>> q, k = np.zeros((2, 1, 2)), np.ones((1, 2, 2))
    >>> attend(q, k, v=np.array([[[3.0, 0.0], [5.0, 1.0]]]))[:, 0]
    array([[3. , 0. ],
           [4. , 0.5]])
    """
    L, H, hd = q.shape
    K, S, _ = k.shape

    # For H = 4 and K = 2, so that G = 2:
    #
    #   ┌ q (H, L, hd) ──┐      ┌ grouped (K, G·L, hd) ┐      ┌ k (K, S, hd) ──┐
    #   │ head 0: L rows │      │ heads 0 and 1:       │      │                │
    #   │ head 1: L rows │  →   │ G·L rows             │  @   │ head 0: S rows │ᵀ
    #   │ head 2: L rows │      ├──────────────────────┤      ├────────────────┤
    #   │ head 3: L rows │      │ heads 2 and 3:       │      │                │
    #   └────────────────┘  →   │ G·L rows             │  @   │ head 1: S rows │ᵀ
    #                           └──────────────────────┘      └────────────────┘
    grouped = q.transpose(1, 0, 2).reshape(K, -1, hd)  # (K, G·L, hd)
    scores = grouped @ k.transpose(0, 2, 1) / math.sqrt(hd)  # (K, G·L, S)
    scores = scores.reshape(H, L, S)
    tap("scores", scores)

    visible = causal_mask(L, S, like=q)
    probs = softmax(np.where(visible, scores, -math.inf))
    tap("probs", probs)

    heads = probs.reshape(K, -1, S) @ v  # (K, G·L, hd)
    return heads.reshape(H, L, hd).transpose(1, 0, 2)  # (L, H, hd)


def attend_blocked(q: Array, k: Array, v: Array, tap: Tap = no_tap, block: int = 64) -> Array:
    """`attend`, a block of queries at a time, each looking only at the keys that it may see.

    It holds B × S scores a head instead of L × S, works on them in place, and leaves out those
    that the mask would throw away, but for a corner of B × B at the end of each block: with
    block = 1, no masked score is computed. Shows no scores: use `attend` to tap them.
    """
    L, H, hd = q.shape
    K, S, _ = k.shape
    q = (q / math.sqrt(hd)).transpose(1, 0, 2).reshape(K, -1, L, hd)  # (K, G, L, hd)
    heads = np.empty_like(q)

    for first in range(0, L, block):
        B = min(block, L - first)
        seen = S - L + first + B  # the last query of the block sees this many keys
        rows = q[:, :, first : first + B].reshape(K, -1, hd)  # (K, G·B, hd)
        scores = (rows @ k[:, :seen].transpose(0, 2, 1)).reshape(K, -1, B, seen)

        if B > 1:  # a single query, as in decoding, sees every key
            corner = scores[..., seen - B :]  # only here are some keys after some query
            corner[...] = np.where(causal_mask(B, B, like=q), corner, -math.inf)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        # Σ eˢ divides the few averages at the end, not the many weights before them.
        sums = scores.sum(axis=-1)[..., None]  # (K, G, B, 1)
        summed = scores.reshape(K, -1, seen) @ v[:, :seen]  # (K, G·B, hd)
        heads[:, :, first : first + B] = summed.reshape(K, -1, B, hd) / sums

    return heads.reshape(H, L, hd).transpose(1, 0, 2)  # (L, H, hd)
