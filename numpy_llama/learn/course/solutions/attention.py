"""Stage 3: attention. Each token looks back at those before it, and takes an average of theirs.

There may be fewer heads of keys and values than of queries: then neighbours share one (grouped
queries). With H = 4 and K = 2, query heads 0 and 1 use key head 0, query heads 2 and 3 key head 1.

Letters of the shapes: L queries, S keys (S ≥ L), H query heads, K key heads, hd features of a head.
"""

import numpy as np


def attention_scores(q, k):
    """How well each query matches each key: their product, divided by √hd.

    q: (L, H, hd); k: (S, K, hd). Returns (H, L, S), not masked yet.
    """
    keys = k.repeat(q.shape[1] // k.shape[1], axis=1)  # (S, H, hd)
    return np.einsum("lhd,shd->hls", q, keys) / np.sqrt(q.shape[-1])


def softmax(scores):
    """Turn each row (the last axis) into weights that are positive and add up to 1.

    softmax(s)ⱼ = e^(sⱼ) / Σ e^(sₖ)

    Subtract the largest of the row first: it changes nothing, but e^1000 is infinite. A score of
    -∞ gets the weight 0. Any shape; returns the same.
    """
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def causal_mask(L, S):
    """Which keys each query may see: True for its own and all before it.

    The queries are the last L of the S positions: query i stands at position S - L + i.

    Returns (L, S) of True and False.
    """
    return np.arange(S)[None, :] <= np.arange(S - L, S)[:, None]


def attend(q, k, v):
    """The average of the values that each query may see, weighted by the softmax of its scores.

    A key that a query may not see gets the score -∞.

    q: (L, H, hd); k, v: (S, K, hd). Returns (L, H, hd).
    """
    L, H, _ = q.shape
    S, K, _ = k.shape
    scores = np.where(causal_mask(L, S), attention_scores(q, k), -np.inf)
    values = v.repeat(H // K, axis=1)  # (S, H, hd)
    return np.einsum("hls,shd->lhd", softmax(scores), values)
