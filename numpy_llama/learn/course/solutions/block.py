"""Stage 6: one block: attention, then the feed-forward network, each with a norm before it.

w: the weights of one layer, a dict: attn_norm (D,), wq (H·hd, D), wk and wv (K·hd, D),
    wo (D, H·hd), ffn_norm (D,), w_gate and w_up (F, D), w_down (D, F)
config: has config.n_heads, config.n_kv_heads, config.head_dim, config.norm_eps, config.rope_theta
cache: a KVCache of stage 4; layer: the number of this layer

Letters of the shapes: L new tokens, D features of a token, H query heads, K key heads,
hd features of a head.
"""

import numpy as np
from attention import attend
from feed_forward import feed_forward
from norm import rms_norm
from rope import angles, rotate


def project(x, w, config):
    """Queries, keys and values of each token, cut into heads.

    x: (L, D). Returns q (L, H, hd), k (L, K, hd) and v (L, K, hd). A matrix is used as x @ w.T;
    its first hd rows make head 0, the next hd rows head 1, and so on.
    """
    L, hd = len(x), config.head_dim
    q = (x @ w["wq"].T).reshape(L, config.n_heads, hd)
    k = (x @ w["wk"].T).reshape(L, config.n_kv_heads, hd)
    v = (x @ w["wv"].T).reshape(L, config.n_kv_heads, hd)
    return q, k, v


def multi_head(x, w, cache, layer, config):
    """Project, rotate queries and keys, write to the cache, attend to all of it, project back.

    The new tokens stand at the positions cache.length, cache.length + 1, …

    x: (L, D), normalised already. Returns (L, D).
    """
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    angle = angles(positions, config.rope_theta, config.head_dim)
    keys, values = cache.write(layer, rotate(k, angle), v)
    heads = attend(rotate(q, angle), keys, values)
    return heads.reshape(len(x), -1) @ w["wo"].T


def block(x, w, cache, layer, config):
    """Add the attention of the normalised x to x; then the feed-forward of the normalised sum.

    x ← x + multi_head(norm(x))
    x ← x + feed_forward(norm(x))

    Each norm has its own gain: attn_norm, then ffn_norm. x: (L, D). Returns (L, D).
    """
    x = x + multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
