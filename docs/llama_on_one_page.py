"""Llama on one page: from tokens to the scores of what comes next, in plain NumPy.

    L tokens   D features of a token   F features inside the feed-forward
    H query heads   K key and value heads   hd features of a head   V vocabulary

A matrix is (out, in), as in every checkpoint, and used as x @ w.T.
"""

import numpy as np


def rms_norm(x, gain, eps):
    """Divide each row by its root mean square; scale each feature by its gain."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def softmax(scores):
    """Turn each row of scores into probabilities; a score of -∞ becomes 0."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def silu(z):
    """A smooth ReLU."""
    return z / (1 + np.exp(-z))


def rope(x, theta):
    """Write positions into heads (L, H, hd): at p, pair i turns by p · θ^(-2i/hd).

    A query times a key then depends on the distance of their positions alone.
    """
    L, H, hd = x.shape
    angle = np.arange(L)[:, None] * theta ** -(np.arange(0, hd, 2) / hd)  # (L, hd/2)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)[:, None]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(L, H, hd)


def attention(x, w, H, K, theta):
    """Each token looks back, and takes the average of what it finds: (L, D)."""
    L, group = len(x), H // K
    q = rope((x @ w["wq"].T).reshape(L, H, -1), theta)  # what a token looks for
    k = rope((x @ w["wk"].T).reshape(L, K, -1), theta)  # how it is found
    v = (x @ w["wv"].T).reshape(L, K, -1)  # what it gives
    k, v = k.repeat(group, axis=1), v.repeat(group, axis=1)  # a group shares k and v

    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])  # (H, L, L)
    scores = np.where(np.tri(L, dtype=bool), scores, -np.inf)  # none sees the future
    heads = np.einsum("hij,jhd->ihd", softmax(scores), v)  # (L, H, hd)
    return heads.reshape(L, -1) @ w["wo"].T


def feed_forward(x, w):
    """Each token by itself; silu decides how much of w_up's features passes: (L, D)."""
    return (silu(x @ w["w_gate"].T) * (x @ w["w_up"].T)) @ w["w_down"].T


def llama(tokens, weights, n_heads, n_kv_heads, rope_theta=10000.0, norm_eps=1e-5):
    """Scores (L, V). Row i is of the token after tokens[i], and sees none beyond it."""
    x = weights["tok_embeddings"][tokens]  # (L, D): a stream to which all layers add
    for w in weights["layers"]:
        normed = rms_norm(x, w["attn_norm"], norm_eps)
        x = x + attention(normed, w, n_heads, n_kv_heads, rope_theta)
        normed = rms_norm(x, w["ffn_norm"], norm_eps)
        x = x + feed_forward(normed, w)
    return rms_norm(x, weights["final_norm"], norm_eps) @ weights["lm_head"].T
