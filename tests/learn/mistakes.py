"""Mistakes as learners make them, written by hand, and what must be said of each.

Each is a function that takes the place of the right one of its file. `says` is the id of the
mistake in the catalogue; where none is known, the function that is wrong, and words of the idea.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    name: str
    stage: str
    says: str | tuple[str, str]
    text: str


MISTAKES = (
    # — norm —
    Mistake("variance", "norm", "norm-variance", """
def rms(x, eps):
    return np.sqrt(x.var(axis=-1) + eps)
"""),
    Mistake("layer norm", "norm", ("rms_norm", "LayerNorm"), """
def rms_norm(x, gain, eps):
    mean = x.mean(axis=-1, keepdims=True)
    std = np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps)
    return (x - mean) / std * gain
"""),
    Mistake("no eps", "norm", "norm-eps-zero", """
def rms(x, eps):
    return np.sqrt((x ** 2).mean(-1))
"""),
    Mistake("eps outside the root", "norm", "norm-eps-outside-sqrt", """
def rms(x, eps):
    return np.sqrt((x ** 2).mean(-1)) + eps
"""),
    Mistake("an eps of its own", "norm", ("rms", "the one that was given"), """
def rms(x, eps):
    return np.sqrt((x ** 2).mean(-1) + 1e-8)
"""),
    Mistake("no gain", "norm", "norm-weight-missing", """
def rms_norm(x, gain, eps):
    return x / rms(x, eps).reshape(-1, 1)
"""),
    Mistake("one plus gain", "norm", "norm-one-plus-weight", """
def rms_norm(x, gain, eps):
    return x / rms(x, eps).reshape(-1, 1) * (1 + gain)
"""),
    Mistake("sum for mean", "norm", "norm-sum-not-mean", """
def rms(x, eps):
    return np.sqrt(np.sum(x ** 2, axis=-1) + eps)
"""),
    Mistake("no root", "norm", ("rms", "root"), """
def rms(x, eps):
    return np.mean(x ** 2, axis=-1) + eps
"""),
    Mistake("mean of absolute values", "norm", ("rms", "square"), """
def rms(x, eps):
    return np.mean(np.abs(x), axis=-1) + eps
"""),
    Mistake("one size for all tokens", "norm", ("rms", "last axis"), """
def rms(x, eps):
    return np.sqrt(np.mean(x ** 2) + eps) * np.ones(len(x))
"""),
    Mistake("the first axis", "norm", ("rms", "mean"), """
def rms(x, eps):
    return np.sqrt(np.mean(x ** 2, axis=0) + eps)
"""),
    Mistake("multiplied, not divided", "norm", ("rms_norm", "is divided by"), """
def rms_norm(x, gain, eps):
    return x * rms(x, eps)[:, None] * gain
"""),
    Mistake("not a column", "norm", ("rms_norm", "own number"), """
def rms_norm(x, gain, eps):
    return x / rms(x, eps) * gain
"""),
    Mistake("in place", "norm", ("rms_norm", "new one"), """
def rms_norm(x, gain, eps):
    x /= rms(x, eps)[:, None]
    x *= gain
    return x
"""),
    # — rope —
    Mistake("pairs i and i + hd/2", "rope", "rope-half-split", """
def rotate(x, angle):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
"""),
    Mistake("clockwise", "rope", "rope-backwards", """
def rotate(x, angle):
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    y = np.zeros(x.shape)
    y[..., ::2] = x[..., ::2] * cos + x[..., 1::2] * sin
    y[..., 1::2] = x[..., 1::2] * cos - x[..., ::2] * sin
    return y
"""),
    Mistake("positions from 1", "rope", ("angles", "first position"), """
def angles(positions, theta, hd):
    f = 1.0 / theta ** (np.arange(0, hd, 2) / hd)
    return np.outer(positions + 1, f)
"""),
    Mistake("the positions not used", "rope", "decode-position-zero", """
def angles(positions, theta, hd):
    f = 1.0 / theta ** (np.arange(0, hd, 2) / hd)
    return np.outer(np.arange(len(positions)), f)
"""),
    Mistake("hd/2 in the exponent", "rope", ("angles", "exponents"), """
def angles(positions, theta, hd):
    half = hd // 2
    f = 1.0 / theta ** (2 * np.arange(half) / half)
    return np.outer(positions, f)
"""),
    Mistake("i for 2i", "rope", "rope-exponent", """
def angles(positions, theta, hd):
    f = 1.0 / theta ** (np.arange(hd // 2) / hd)
    return np.outer(positions, f)
"""),
    Mistake("theta is not used", "rope", ("angles", "argument"), """
def angles(positions, theta, hd):
    f = 1.0 / 10000.0 ** (np.arange(0, hd, 2) / hd)
    return np.outer(positions, f)
"""),
    Mistake("growing frequencies", "rope", ("angles", "exponents"), """
def angles(positions, theta, hd):
    return np.outer(positions, theta ** (np.arange(0, hd, 2) / hd))
"""),
    Mistake("a overwritten", "rope", ("rotate", "old a"), """
def rotate(x, angle):
    y = x.copy()
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    y[..., 0::2] = y[..., 0::2] * cos - y[..., 1::2] * sin
    y[..., 1::2] = y[..., 0::2] * sin + y[..., 1::2] * cos
    return y
"""),
    Mistake("degrees", "rope", ("angles", "turns by"), """
def angles(positions, theta, hd):
    f = theta ** -(np.arange(0, hd, 2) / hd)
    return np.degrees(np.outer(positions, f))
"""),
    # — attention —
    Mistake("no scale", "attention", "scale-missing", """
def attention_scores(q, k):
    keys = k.repeat(q.shape[1] // k.shape[1], axis=1)
    return np.einsum("lhd,shd->hls", q, keys)
"""),
    Mistake("divided by hd", "attention", "scale-head-dim", """
def attention_scores(q, k):
    keys = k.repeat(q.shape[1] // k.shape[1], axis=1)
    return np.einsum("lhd,shd->hls", q, keys) / q.shape[-1]
"""),
    Mistake("divided by the root of D", "attention", "scale-dim", """
def attention_scores(q, k):
    keys = k.repeat(q.shape[1] // k.shape[1], axis=1)
    return np.einsum("lhd,shd->hls", q, keys) / np.sqrt(q.shape[1] * q.shape[2])
"""),
    Mistake("keys tiled", "attention", "gqa-tiled-keys", """
def attention_scores(q, k):
    keys = np.tile(k, (1, q.shape[1] // k.shape[1], 1))
    return np.einsum("lhd,shd->hls", q, keys) / np.sqrt(q.shape[-1])
"""),
    Mistake("keys and values tiled", "attention", "gqa-tiled", """
def attention_scores(q, k):
    keys = np.tile(k, (1, q.shape[1] // k.shape[1], 1))
    return np.einsum("lhd,shd->hls", q, keys) / np.sqrt(q.shape[-1])


def attend(q, k, v):
    L, S = len(q), len(k)
    scores = np.where(causal_mask(L, S), attention_scores(q, k), -np.inf)
    values = np.tile(v, (1, q.shape[1] // v.shape[1], 1))
    return np.einsum("hls,shd->lhd", softmax(scores), values)
"""),
    Mistake("softmax over the queries", "attention", "softmax-over-queries", """
def softmax(scores):
    e = np.exp(scores - scores.max(axis=-2, keepdims=True))
    return e / e.sum(axis=-2, keepdims=True)
"""),
    Mistake("softmax over everything", "attention", ("softmax", "last axis"), """
def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()
"""),
    Mistake("no maximum", "attention", ("softmax", "Subtracting the same"), """
def softmax(scores):
    e = np.exp(scores)
    return e / e.sum(axis=-1, keepdims=True)
"""),
    Mistake("no mask", "attention", "mask-missing", """
def attend(q, k, v):
    values = v.repeat(q.shape[1] // v.shape[1], axis=1)
    return np.einsum("hls,shd->lhd", softmax(attention_scores(q, k)), values)
"""),
    Mistake("a token does not see itself", "attention", ("causal_mask", "itself"), """
def causal_mask(L, S):
    return np.arange(S)[None, :] < np.arange(S - L, S)[:, None]
"""),
    Mistake("one token ahead", "attention", "mask-one-ahead", """
def causal_mask(L, S):
    return np.tri(L, S, k=S - L + 1, dtype=bool)
"""),
    Mistake("upper left", "attention", "mask-upper-left-decode", """
def causal_mask(L, S):
    return np.tri(L, S, dtype=bool)
"""),
    Mistake("the mask upside down", "attention", ("causal_mask", "never what comes"), """
def causal_mask(L, S):
    return np.triu(np.ones((L, S), dtype=bool), k=S - L)
"""),
    Mistake("scores times mask", "attention", ("attend", "0 is not small"), """
def attend(q, k, v):
    scores = attention_scores(q, k) * causal_mask(len(q), len(k))
    values = v.repeat(q.shape[1] // v.shape[1], axis=1)
    return np.einsum("hls,shd->lhd", softmax(scores), values)
"""),
    Mistake("masked after the softmax", "attention", ("attend", "before the softmax"), """
def attend(q, k, v):
    probs = softmax(attention_scores(q, k)) * causal_mask(len(q), len(k))
    values = v.repeat(q.shape[1] // v.shape[1], axis=1)
    return np.einsum("hls,shd->lhd", probs, values)
"""),
    Mistake("a mask added before the scale", "attention", ("attend", "0 is not small"), """
def attend(q, k, v):
    values = v.repeat(q.shape[1] // v.shape[1], axis=1)
    mask = np.where(causal_mask(len(q), len(k)), 0, -10.0) / np.sqrt(q.shape[-1])
    return np.einsum("hls,shd->lhd", softmax(attention_scores(q, k) + mask), values)
"""),
    Mistake("values tiled", "attention", ("attend", "neighbouring"), """
def attend(q, k, v):
    scores = np.where(causal_mask(len(q), len(k)), attention_scores(q, k), -np.inf)
    values = np.tile(v, (1, q.shape[1] // v.shape[1], 1))
    return np.einsum("hls,shd->lhd", softmax(scores), values)
"""),
    Mistake("heads first", "attention", ("attend", "tokens first"), """
def attend(q, k, v):
    scores = np.where(causal_mask(len(q), len(k)), attention_scores(q, k), -np.inf)
    values = v.repeat(q.shape[1] // v.shape[1], axis=1)
    return np.einsum("hls,shd->hld", softmax(scores), values)
"""),
    # — the cache —
    Mistake("overwritten at 0", "kv_cache", ("KVCache", "overwrite"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        self.k[layer, : len(k)] = k
        self.v[layer, : len(k)] = v
        end = self.length + len(k)
        return self.k[layer, :end], self.v[layer, :end]
"""),
    Mistake("one room for all layers", "kv_cache", ("KVCache", "of its own"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        end = self.length + len(k)
        if layer == 0:
            self.k[0, self.length : end] = k
            self.v[0, self.length : end] = v
        return self.k[0, :end], self.v[0, :end]
"""),
    Mistake("length grows in write", "kv_cache", ("KVCache", "`advance`"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        end = self.length + len(k)
        self.k[layer, self.length : end] = k
        self.v[layer, self.length : end] = v
        self.length = end
        return self.k[layer, :end], self.v[layer, :end]

    def advance(self, new):
        pass
"""),
    Mistake("the empty room too", "kv_cache", ("KVCache", "empty room"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        end = self.length + len(k)
        self.k[layer, self.length : end] = k
        self.v[layer, self.length : end] = v
        return self.k[layer], self.v[layer]
"""),
    Mistake("the new ones alone", "kv_cache", ("KVCache", "behind the old"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        end = self.length + len(k)
        self.k[layer, self.length : end] = k
        self.v[layer, self.length : end] = v
        return k, v
"""),
    Mistake("k and v exchanged", "kv_cache", ("KVCache", "first all keys"), """
class KVCache(KVCache):
    def write(self, layer, k, v):
        end = self.length + len(k)
        self.k[layer, self.length : end] = k
        self.v[layer, self.length : end] = v
        return self.v[layer, :end], self.k[layer, :end]
"""),
    # — feed-forward —
    Mistake("the formula of some notes", "feed_forward", "silu-identity", """
def swish(z):
    s = 1 / (1 + np.exp(-z))
    return z * s + (1 - s) * z
"""),
    Mistake("gate and up exchanged", "feed_forward", "gate-up-swapped", """
def swiglu(gate, up):
    return gate * swish(up)
"""),
    Mistake("the weights exchanged", "feed_forward", ("feed_forward", "w_gate"), """
def feed_forward(x, w_gate, w_up, w_down):
    return swiglu(x @ w_up.T, x @ w_gate.T) @ w_down.T
"""),
    Mistake("silu of both", "feed_forward", ("swiglu", "Only the gate"), """
def swiglu(gate, up):
    return swish(gate) * swish(up)
"""),
    Mistake("silu of the product", "feed_forward", "silu-of-product", """
def swiglu(gate, up):
    return swish(gate * up)
"""),
    Mistake("GELU", "feed_forward", "gelu-tanh", """
def swish(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
"""),
    Mistake("ReLU", "feed_forward", "relu", """
def swish(z):
    return np.maximum(z, 0)
"""),
    Mistake("sigmoid alone", "feed_forward", "sigmoid", """
def swish(z):
    return 1 / (1 + np.exp(-z))
"""),
    Mistake("added", "feed_forward", ("swiglu", "multiplied"), """
def swiglu(gate, up):
    return swish(gate) + up
"""),
    Mistake("no up", "feed_forward", "up-missing", """
def swiglu(gate, up):
    return swish(gate)
"""),
    Mistake("no gate", "feed_forward", "gate-missing", """
def swiglu(gate, up):
    return up
"""),
    # — block —
    Mistake("after the sub-layer", "block", "norm-post", """
def block(x, w, cache, layer, config):
    x = x + rms_norm(multi_head(x, w, cache, layer, config), w["attn_norm"], config.norm_eps)
    y = feed_forward(x, w["w_gate"], w["w_up"], w["w_down"])
    return x + rms_norm(y, w["ffn_norm"], config.norm_eps)
"""),
    Mistake("as in 2017", "block", "norm-post-sum", """
def block(x, w, cache, layer, config):
    x = rms_norm(x + multi_head(x, w, cache, layer, config), w["attn_norm"], config.norm_eps)
    y = feed_forward(x, w["w_gate"], w["w_up"], w["w_down"])
    return rms_norm(x + y, w["ffn_norm"], config.norm_eps)
"""),
    Mistake("nothing added to", "block", ("block", "added to x"), """
def block(x, w, cache, layer, config):
    x = multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("attention not added", "block", "residual-missing-attention", """
def block(x, w, cache, layer, config):
    x = multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("feed-forward not added", "block", "residual-missing-ffn", """
def block(x, w, cache, layer, config):
    x = x + multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("added to the normalised x", "block", "residual-after-norm", """
def block(x, w, cache, layer, config):
    x = rms_norm(x, w["attn_norm"], config.norm_eps)
    x = x + multi_head(x, w, cache, layer, config)
    x = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + feed_forward(x, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("one norm for both", "block", ("block", "ffn_norm"), """
def block(x, w, cache, layer, config):
    x = x + multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["attn_norm"], config.norm_eps)
    return x + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("norms exchanged", "block", "norm-swapped", """
def block(x, w, cache, layer, config):
    x = x + multi_head(rms_norm(x, w["ffn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["attn_norm"], config.norm_eps)
    return x + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("side by side", "block", "parallel-residual", """
def block(x, w, cache, layer, config):
    a = multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    normed = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + a + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])
"""),
    Mistake("values rotated", "block", "rope-on-v", """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    a = angles(positions, config.rope_theta, config.head_dim)
    keys, values = cache.write(layer, rotate(k, a), rotate(v, a))
    return attend(rotate(q, a), keys, values).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("no positions", "block", "rope-missing", """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    keys, values = cache.write(layer, k, v)
    return attend(q, keys, values).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("queries alone rotated", "block", "rope-q-only", """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    q = rotate(q, angles(positions, config.rope_theta, config.head_dim))
    keys, values = cache.write(layer, k, v)
    return attend(q, keys, values).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("stored before it is rotated", "block", ("multi_head", "before they are written"), """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    start = cache.length
    keys, values = cache.write(layer, k, v)
    keys = keys.copy()
    a = angles(np.arange(start, start + len(x)), config.rope_theta, config.head_dim)
    keys[start:] = rotate(keys[start:], a)
    return attend(rotate(q, a), keys, values).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("positions begin again", "block", "decode-position-zero", """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    a = angles(np.arange(len(x)), config.rope_theta, config.head_dim)
    keys, values = cache.write(layer, rotate(k, a), v)
    return attend(rotate(q, a), keys, values).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("the cache is not read", "block", ("multi_head", "all of the cache"), """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    a = angles(positions, config.rope_theta, config.head_dim)
    cache.write(layer, rotate(k, a), v)
    return attend(rotate(q, a), rotate(k, a), v).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("no output matrix", "block", ("multi_head", "through wo"), """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    a = angles(positions, config.rope_theta, config.head_dim)
    keys, values = cache.write(layer, rotate(k, a), v)
    return attend(rotate(q, a), keys, values).reshape(len(x), -1)
"""),
    Mistake("heads put together in the wrong order", "block", ("multi_head", "side by side"), """
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    positions = np.arange(cache.length, cache.length + len(x))
    a = angles(positions, config.rope_theta, config.head_dim)
    keys, values = cache.write(layer, rotate(k, a), v)
    heads = attend(rotate(q, a), keys, values)
    return heads.transpose(1, 0, 2).reshape(len(x), -1) @ w["wo"].T
"""),
    Mistake("features before heads", "block", ("project", "cut into heads"), """
def project(x, w, config):
    L, hd = len(x), config.head_dim
    q = (x @ w["wq"].T).reshape(L, hd, config.n_heads).transpose(0, 2, 1)
    k = (x @ w["wk"].T).reshape(L, config.n_kv_heads, hd)
    v = (x @ w["wv"].T).reshape(L, config.n_kv_heads, hd)
    return q, k, v
"""),
    # — model —
    Mistake("no final norm", "model", "norm-final-missing", """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
    cache.advance(len(tokens))
    return x @ weights["lm_head"].T
"""),
    Mistake("the last layer skipped", "model", "layer-last-missing", """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i in range(len(weights["layers"]) - 1):
        x = block(x, weights["layers"][i], cache, i, config)
    cache.advance(len(tokens))
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
    Mistake("embeddings scaled", "model", "embed-scaled", """
import numpy as np


def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens] * np.sqrt(config.n_heads * config.head_dim)
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
    cache.advance(len(tokens))
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
    Mistake("the head of the embeddings", "model", "head-tied", """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
    cache.advance(len(tokens))
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["tok_embeddings"].T
"""),
    Mistake("advanced in each layer", "model", ("forward", "once"), """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
        cache.advance(1)
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
    Mistake("never advanced", "model", ("forward", "once"), """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
    Mistake("a new cache each time", "model", ("forward", "once"), """
def forward(tokens, weights, config, cache=None):
    cache = KVCache(len(weights["layers"]), len(tokens), config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i, w in enumerate(weights["layers"]):
        x = block(x, w, cache, i, config)
    cache.advance(len(tokens))
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
    Mistake("the weights of layer 0 for all", "model", "layer-first-repeated", """
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), 99, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for i in range(len(weights["layers"])):
        x = block(x, weights["layers"][0], cache, i, config)
    cache.advance(len(tokens))
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
"""),
)  # fmt: skip
