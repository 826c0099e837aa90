"""Right solutions that look nothing like ours: none of them may be called wrong."""

LOOPS = '"""Mine, with loops."""\n\nimport math\n\nimport numpy as np\n'

RIGHT = {
    "norm": {
        "loops and lists": LOOPS + """
def rms(x, eps):
    sizes = []
    for row in x.tolist():
        total = 0.0
        for value in row:
            total += value * value
        sizes.append(math.sqrt(total / len(row) + eps))
    return sizes


def rms_norm(x, gain, eps):
    rows = []
    for row, size in zip(x.tolist(), rms(x, eps)):
        rows.append([value / size * g for value, g in zip(row, gain.tolist())])
    return rows
""",
        "einsum": """import numpy as np
def rms(x, eps): return np.sqrt(np.einsum("ld,ld->l", x, x) / x.shape[1] + eps)
def rms_norm(x, gain, eps): return np.einsum("ld,l,d->ld", x, 1 / rms(x, eps), gain)
""",
        "the norm of linalg, in float32": """import numpy as np
def rms(x, eps):
    return np.hypot(np.linalg.norm(x.astype(np.float32), axis=1) / np.sqrt(x.shape[1]), eps ** 0.5)
def rms_norm(x, gain, eps):
    return (x.T / rms(x, eps)).T * gain[None]
""",
        "in another memory order": """import numpy as np
def rms(x, eps):
    return (np.asfortranarray(x) ** 2).mean(1).__add__(eps) ** 0.5
def rms_norm(x, gain, eps):
    return np.asfortranarray(np.diag(1 / rms(x, eps)) @ x @ np.diag(gain))
""",
        "not using its own rms": """import numpy
def rms(x, eps):
    return numpy.sqrt(eps + numpy.average(numpy.abs(x) ** 2, -1))
def rms_norm(x, gain, eps):
    y = x.copy()
    y *= (numpy.square(x).mean(-1, keepdims=True) + eps) ** -0.5
    y *= gain
    return y
""",
    },
    "rope": {
        "complex numbers": """import numpy as np
def angles(positions, theta, hd):
    return np.outer(positions, 1 / theta ** (np.arange(0, hd, 2) / hd))
def rotate(x, angle):
    z = np.ascontiguousarray(x).view(np.complex128) * np.exp(1j * angle)[:, None, :]
    return z.view(np.float64)
""",
        "loops": LOOPS + """
def angles(positions, theta, hd):
    return [[p / theta ** (2 * i / hd) for i in range(hd // 2)] for p in positions]


def rotate(x, angle):
    y = np.zeros_like(x)
    for token in range(x.shape[0]):
        for head in range(x.shape[1]):
            for i in range(x.shape[2] // 2):
                a, b, w = x[token, head, 2 * i], x[token, head, 2 * i + 1], angle[token][i]
                y[token, head, 2 * i] = a * math.cos(w) - b * math.sin(w)
                y[token, head, 2 * i + 1] = a * math.sin(w) + b * math.cos(w)
    return y
""",
        "matrices": """import numpy as np
def angles(positions, theta, hd):
    return positions.reshape(-1, 1) * np.exp(-np.log(theta) * np.arange(hd // 2) * 2 / hd)
def rotate(x, angle):
    c, s = np.cos(angle), np.sin(angle)
    R = np.stack([c, -s, s, c], -1).reshape(len(x), 1, -1, 2, 2)
    return np.einsum("lhpij,lhpj->lhpi", np.broadcast_to(R, (*x.shape[:2], *R.shape[2:])),
                     x.reshape(*x.shape[:2], -1, 2)).reshape(x.shape)
""",
        "repeat and swap, as in the paper": """import numpy as np
def angles(positions, theta, hd):
    return np.multiply.outer(positions, np.power(float(theta), -2.0 * np.arange(hd // 2) / hd))
def rotate(x, angle):
    cos, sin = np.repeat(np.cos(angle), 2, -1), np.repeat(np.sin(angle), 2, -1)
    swapped = np.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * cos[:, None] + swapped * sin[:, None]
""",
        "half and half, put back in order": """import numpy as np
def angles(positions, theta, hd):
    return np.array([theta ** (-i / hd) for i in range(0, hd, 2)]) * np.atleast_2d(positions).T
def rotate(x, angle):
    order = np.r_[0 : x.shape[-1] : 2, 1 : x.shape[-1] : 2]
    a, b = np.split(x[..., order], 2, axis=-1)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.concatenate([a * c - b * s, a * s + b * c], -1)[..., np.argsort(order)]
""",
    },
    "attention": {
        "loops": LOOPS + """
def attention_scores(q, k):
    L, H, hd = q.shape
    S, K, _ = k.shape
    out = [[[0.0] * S for _ in range(L)] for _ in range(H)]
    for h in range(H):
        for i in range(L):
            for j in range(S):
                out[h][i][j] = float(q[i, h] @ k[j, h // (H // K)]) / math.sqrt(hd)
    return np.array(out)


def softmax(scores):
    def row(r):
        return np.exp(r - r.max()) / np.exp(r - r.max()).sum()
    return np.apply_along_axis(row, -1, scores)


def causal_mask(L, S):
    return [[j <= S - L + i for j in range(S)] for i in range(L)]


def attend(q, k, v):
    scores, mask = attention_scores(q, k), causal_mask(len(q), len(k))
    group = q.shape[1] // k.shape[1]
    out = np.zeros(q.shape)
    for h in range(q.shape[1]):
        for i in range(len(q)):
            seen = [j for j in range(len(k)) if mask[i][j]]
            p = softmax(scores[h, i, seen])
            out[i, h] = sum(w * v[j, h // group] for w, j in zip(p, seen))
    return out
""",
        "grouped, nothing repeated": """import numpy as np
def attention_scores(q, k):
    L, H, hd = q.shape
    S, K, _ = k.shape
    s = np.einsum("lkgd,skd->kgls", q.reshape(L, K, H // K, hd), k) * hd ** -0.5
    return s.reshape(H, L, S)
def softmax(scores):
    e = np.exp(scores - np.max(scores, -1, keepdims=True))
    return e / np.sum(e, -1, keepdims=True)
def causal_mask(L, S):
    return np.tril(np.ones((L, S)), k=S - L) == 1
def attend(q, k, v):
    L, H, hd = q.shape
    S, K, _ = k.shape
    p = softmax(np.where(causal_mask(L, S), attention_scores(q, k), -1e30))
    return np.einsum("kgls,skd->lkgd", p.reshape(K, H // K, L, S), v).reshape(L, H, hd)
""",
        "matmul, heads first, scale on q": """import numpy as np
def attention_scores(q, k):
    g = q.shape[1] // k.shape[1]
    q = q.transpose(1, 0, 2) / np.sqrt(q.shape[2])
    return q @ np.repeat(k.transpose(1, 2, 0), g, axis=0)
def softmax(scores):
    s = scores - scores.max(-1)[..., None]
    return np.exp(s - np.log(np.exp(s).sum(-1))[..., None])
def causal_mask(L, S):
    return ~np.triu(np.ones((L, S), bool), S - L + 1)
def attend(q, k, v):
    s = attention_scores(q, k)
    s[:, ~causal_mask(len(q), len(k))] = -np.inf
    g = q.shape[1] // k.shape[1]
    return (softmax(s) @ np.repeat(v.transpose(1, 0, 2), g, axis=0)).transpose(1, 0, 2)
""",
        "divided at the end, a mask that is added": """import numpy as np
def attention_scores(q, k):
    heads = [q[:, h] @ k[:, h * k.shape[1] // q.shape[1]].T for h in range(q.shape[1])]
    return np.stack(heads) / np.sqrt(q.shape[-1])
def softmax(scores):
    scores = scores - np.amax(scores, axis=-1, keepdims=True)
    return np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
def causal_mask(L, S):
    return np.subtract.outer(np.arange(L) + S - L, np.arange(S)) >= 0
def attend(q, k, v):
    bias = np.where(causal_mask(len(q), len(k)), 0.0, -np.inf)
    s = attention_scores(q, k) + bias
    e = np.exp(s - s.max(-1, keepdims=True))
    values = v[:, np.arange(q.shape[1]) * v.shape[1] // q.shape[1]]
    return np.einsum("hls,shd->lhd", e, values) / e.sum(-1).T[..., None]
""",
        "float32, in another memory order": """import numpy as np
def attention_scores(q, k):
    q, k = np.asfortranarray(q, np.float32), np.asfortranarray(k, np.float32)
    group = range(q.shape[1] // k.shape[1])
    k = np.concatenate([k[:, [i]] for i in range(k.shape[1]) for _ in group], 1)
    return np.einsum("lhd,shd->hls", q, k) / np.float32(np.sqrt(q.shape[-1]))
def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asfortranarray(e / e.sum(-1, keepdims=True))
def causal_mask(L, S):
    return np.tri(L, S, S - L, dtype=int)
def attend(q, k, v):
    s = np.where(causal_mask(len(q), len(k)) == 1, attention_scores(q, k), -np.inf)
    v = np.stack([v[:, i // (q.shape[1] // v.shape[1])] for i in range(q.shape[1])], 1)
    return (softmax(s) @ v.astype(np.float32).swapaxes(0, 1)).swapaxes(0, 1)
""",
    },
    "kv_cache": {
        "lists that grow": """import numpy as np
class KVCache:
    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        self.rows = [([], []) for _ in range(n_layers)]
        self.length = 0
    def write(self, layer, k, v):
        keys, values = self.rows[layer]
        del keys[self.length :], values[self.length :]
        keys.extend(k)
        values.extend(v)
        return np.array(keys), np.array(values)
    def advance(self, new):
        self.length = self.length + new
""",
        "concatenate": """import numpy as np
class KVCache:
    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        self.k = [np.zeros((0, n_kv_heads, head_dim)) for _ in range(n_layers)]
        self.v = [np.zeros((0, n_kv_heads, head_dim)) for _ in range(n_layers)]
        self.length = 0
    def write(self, layer, k, v):
        self.k[layer] = np.concatenate([self.k[layer], k])
        self.v[layer] = np.concatenate([self.v[layer], v])
        return self.k[layer], self.v[layer]
    def advance(self, new):
        self.length += new
""",
        "heads first": """import numpy as np
class KVCache:
    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        self.kv = np.full((2, n_layers, n_kv_heads, capacity, head_dim), np.nan)
        self.length = 0
    def write(self, layer, k, v):
        for one, new in enumerate((k, v)):
            for i, row in enumerate(new):
                self.kv[one, layer, :, self.length + i] = row
        both = self.kv[:, layer, :, : self.length + len(k)]
        return [both[0].transpose(1, 0, 2), both[1].transpose(1, 0, 2)]
    def advance(self, new):
        self.length += new
""",
        "float32, one array for each layer": """import numpy as np
class KVCache:
    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        self.layers = {}
        for i in range(n_layers):
            self.layers[i] = np.empty((capacity, 2, n_kv_heads, head_dim), dtype=np.float32)
        self.length = 0
    def write(self, layer, k, v):
        here = self.layers[layer]
        here[self.length : self.length + k.shape[0]] = np.stack([k, v], axis=1)
        return tuple(here[: self.length + k.shape[0]].swapaxes(0, 1))
    def advance(self, new):
        self.length += new
""",
        "a property, and another memory order": """import numpy as np
class KVCache:
    def __init__(self, n_layers, capacity, n_kv_heads, head_dim):
        self._k = np.zeros((n_layers, capacity, n_kv_heads, head_dim), order="F")
        self._v = np.zeros_like(self._k)
        self._steps = []
    @property
    def length(self):
        return sum(self._steps)
    def write(self, layer, k, v):
        at = np.arange(self.length, self.length + len(k))
        self._k[layer, at], self._v[layer, at] = k, v
        seen = np.arange(self.length + len(k))
        return self._k[layer][seen], self._v[layer][seen]
    def advance(self, new):
        self._steps.append(new)
""",
    },
    "feed_forward": {
        "loops": LOOPS + """
def swish(z):
    return np.vectorize(lambda one: one / (1 + math.exp(-one)), otypes=[float])(z)


def swiglu(gate, up):
    return [[float(swish(np.array(g))) * u for g, u in zip(gs, us)] for gs, us in zip(gate, up)]


def feed_forward(x, w_gate, w_up, w_down):
    rows = []
    for row in x:
        hidden = swiglu([[g @ row for g in w_gate]], [[u @ row for u in w_up]])[0]
        rows.append([float(np.dot(d, hidden)) for d in w_down])
    return rows
""",
        "einsum": """import numpy as np
def swish(z): return np.multiply(z, np.reciprocal(1 + np.exp(np.negative(z))))
def swiglu(gate, up): return np.einsum("lf,lf->lf", swish(gate), up)
def feed_forward(x, w_gate, w_up, w_down):
    h = swiglu(np.einsum("ld,fd->lf", x, w_gate), np.einsum("ld,fd->lf", x, w_up))
    return np.einsum("lf,df->ld", h, w_down)
""",
        "tanh": """import numpy as np
def swish(z): return z * 0.5 * (1 + np.tanh(z / 2))
def swiglu(gate, up): return up * swish(gate)
def feed_forward(x, w_gate, w_up, w_down):
    both = x @ np.concatenate([w_gate, w_up]).T
    gate, up = np.split(both, 2, axis=1)
    return (w_down @ swiglu(gate, up).T).T
""",
        "each sign by itself": """import numpy as np
def swish(z):
    e = np.exp(-np.abs(z))
    return z * np.where(z >= 0, 1 / (1 + e), e / (1 + e))
def swiglu(gate, up):
    y = swish(gate)
    y *= up
    return y
def feed_forward(x, w_gate, w_up, w_down):
    return np.asfortranarray(swiglu(x.dot(w_gate.T), x.dot(w_up.T)).dot(w_down.T))
""",
        "float32": """import numpy as np
def swish(z):
    z = np.asarray(z, np.float32)
    return z / (1 + np.exp(-z))
def swiglu(gate, up): return swish(gate) * up.astype("f4")
def feed_forward(x, w_gate, w_up, w_down):
    x, w_gate, w_up, w_down = (a.astype(np.float32) for a in (x, w_gate, w_up, w_down))
    return np.matmul(swiglu(np.inner(x, w_gate), np.inner(x, w_up)), w_down.T)
""",
    },
    "block": {
        "all in one function": """import numpy as np
from attention import attend
from feed_forward import feed_forward
from norm import rms_norm
from rope import angles, rotate
def project(x, w, config):
    heads = ((w["wq"], config.n_heads), (w["wk"], config.n_kv_heads), (w["wv"], config.n_kv_heads))
    return [(x @ m.T).reshape(-1, n, config.head_dim) for m, n in heads]
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    a = angles(cache.length + np.arange(len(q)), config.rope_theta, config.head_dim)
    k, v = cache.write(layer, rotate(k, a), v)
    return attend(rotate(q, a), k, v).reshape(len(x), -1) @ w["wo"].T
def block(x, w, cache, layer, config):
    h = rms_norm(x, w["attn_norm"], config.norm_eps)
    q, k, v = project(h, w, config)
    a = angles(cache.length + np.arange(len(x)), config.rope_theta, config.head_dim)
    k, v = cache.write(layer, rotate(k, a), v)
    x = x + attend(rotate(q, a), k, v).reshape(len(x), -1) @ w["wo"].T
    h = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + feed_forward(h, w["w_gate"], w["w_up"], w["w_down"])
""",
        "modules, and names for the arguments": """import numpy as np
import attention, feed_forward, norm, rope
def project(x, w, config):
    hd = config.head_dim
    def cut(name):
        y = np.dot(x, np.transpose(w[name]))
        return np.stack([y[:, i : i + hd] for i in range(0, y.shape[1], hd)], axis=1)
    return cut("wq"), cut("wk"), cut("wv")
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x=x, w=w, config=config)
    a = rope.angles(positions=np.array([cache.length + i for i in range(x.shape[0])]),
                    theta=config.rope_theta, hd=config.head_dim)
    k, v = cache.write(layer=layer, k=rope.rotate(x=k, angle=a), v=v)
    heads = attention.attend(q=rope.rotate(q, a), k=k, v=v)
    return np.concatenate([heads[:, h] for h in range(heads.shape[1])], axis=1) @ w["wo"].T
def block(x, w, cache, layer, config):
    normed = norm.rms_norm(x=x, gain=w["attn_norm"], eps=config.norm_eps)
    y = x + multi_head(x=normed, w=w, cache=cache, layer=layer, config=config)
    normed = norm.rms_norm(y, gain=w["ffn_norm"], eps=config.norm_eps)
    out = feed_forward.feed_forward(normed, w_gate=w["w_gate"], w_up=w["w_up"], w_down=w["w_down"])
    return np.add(out, y)
""",
        "a token at a time": """import numpy as np
from attention import attend
from feed_forward import feed_forward
from norm import rms_norm
from rope import angles, rotate
def project(x, w, config):
    hd = config.head_dim
    return tuple(np.array([(w[n] @ r).reshape(-1, hd) for r in x]) for n in ("wq", "wk", "wv"))
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    for i in range(len(x)):
        a = angles(np.array([cache.length + i]), config.rope_theta, config.head_dim)
        q[i : i + 1], k[i : i + 1] = rotate(q[i : i + 1], a), rotate(k[i : i + 1], a)
    keys, values = cache.write(layer, k, v)
    n = len(keys) - len(x) + 1
    rows = [attend(q[i : i + 1], keys[: n + i], values[: n + i]).ravel() for i in range(len(x))]
    return np.stack(rows) @ w["wo"].T
def block(x, w, cache, layer, config):
    x = multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config) + x
    x = np.array([row + feed_forward(rms_norm(row[None], w["ffn_norm"], config.norm_eps),
                  w["w_gate"], w["w_up"], w["w_down"])[0] for row in x])
    return x
""",
        "in place, on a copy": """import numpy as np
from attention import attend
from feed_forward import feed_forward
from norm import rms_norm
from rope import angles, rotate
def project(x, w, config):
    y = x @ np.vstack([w["wq"], w["wk"], w["wv"]]).T
    y = y.reshape(len(x), -1, config.head_dim)
    H, K = config.n_heads, config.n_kv_heads
    return y[:, :H], y[:, H : H + K], y[:, H + K :]
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    a = angles(np.arange(cache.length, cache.length + len(x)), config.rope_theta, config.head_dim)
    both = rotate(np.concatenate([q, k], axis=1), a)
    keys, values = cache.write(layer, both[:, config.n_heads :], v)
    heads = attend(both[:, : config.n_heads], keys, values)
    return np.einsum("lhd,ohd->lo", heads, w["wo"].reshape(len(w["wo"]), *heads.shape[1:]))
def block(x, w, cache, layer, config):
    x = x.copy()
    x += multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)
    x += feed_forward(rms_norm(x, w["ffn_norm"], config.norm_eps), w["w_gate"], w["w_up"],
                      w["w_down"])
    return x
""",
        "float32, a class for the layer": """import numpy as np
from attention import attend
from feed_forward import feed_forward
from norm import rms_norm
from rope import angles, rotate
def project(x, w, config):
    x = x.astype(np.float32)
    return tuple(np.asfortranarray((x @ w[n].T).reshape(len(x), -1, config.head_dim))
                 for n in ("wq", "wk", "wv"))
class Layer:
    def __init__(self, w, cache, layer, config):
        self.w, self.cache, self.layer, self.config = w, cache, layer, config
    def norm(self, x, name):
        return rms_norm(x, self.w[name], self.config.norm_eps)
    def attention(self, x):
        return multi_head(x, self.w, self.cache, self.layer, self.config)
def multi_head(x, w, cache, layer, config):
    q, k, v = project(x, w, config)
    a = angles(np.arange(len(x)) + cache.length, config.rope_theta, config.head_dim)
    q, k = rotate(q, a), rotate(k, a)
    heads = attend(q, *cache.write(layer, k, v))
    return heads.reshape(heads.shape[0], heads.shape[1] * heads.shape[2]) @ w["wo"].transpose()
def block(x, w, cache, layer, config):
    one = Layer(w, cache, layer, config)
    x = x + one.attention(one.norm(x, "attn_norm"))
    return x + feed_forward(one.norm(x, "ffn_norm"), w["w_gate"], w["w_up"], w["w_down"])
""",
    },
    "model": {
        "while": """from block import block
from kv_cache import KVCache
from norm import rms_norm
def forward(tokens, weights, config, cache=None):
    n, c = len(weights["layers"]), config
    cache = cache or KVCache(n, len(tokens), c.n_kv_heads, c.head_dim)
    x = weights["tok_embeddings"][list(tokens), :]
    i = 0
    while i < len(weights["layers"]):
        x = block(x, weights["layers"][i], cache, i, config)
        i += 1
    cache.advance(len(tokens))
    x = rms_norm(x, weights["final_norm"], config.norm_eps)
    return x.dot(weights["lm_head"].transpose())
""",
        "one-hot, einsum": """import numpy as np
import block as b, kv_cache, norm
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = kv_cache.KVCache(len(weights["layers"]), 64, config.n_kv_heads, config.head_dim)
    x = np.eye(len(weights["tok_embeddings"]))[tokens] @ weights["tok_embeddings"]
    for i, w in enumerate(weights["layers"]):
        x = b.block(x, w, cache, i, config)
    cache.advance(len(x))
    x = norm.rms_norm(x, weights["final_norm"], config.norm_eps)
    return np.einsum("ld,vd->lv", x, weights["lm_head"])
""",
        "lists of lists": """import numpy as np
from block import block
from kv_cache import KVCache
from norm import rms_norm
def forward(tokens, weights, config, cache=None):
    layers = weights["layers"]
    if cache is None:
        cache = KVCache(len(layers), len(tokens), config.n_kv_heads, config.head_dim)
    x = np.array([weights["tok_embeddings"][t].tolist() for t in tokens])
    for i in range(len(layers)):
        x = np.array(block(x, layers[i], cache, i, config))
    cache.advance(len(tokens))
    rows = rms_norm(x, weights["final_norm"], config.norm_eps)
    return [[float(np.sum(row * out)) for out in weights["lm_head"]] for row in rows]
""",
        "a token at a time": """import numpy as np
from block import block
from kv_cache import KVCache
from norm import rms_norm
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), len(tokens), config.n_kv_heads, config.head_dim)
    rows = []
    for token in tokens:
        x = weights["tok_embeddings"][token][None]
        for i, w in enumerate(weights["layers"]):
            x = block(x, w, cache, i, config)
        cache.advance(1)
        rows.append(rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T)
    return np.concatenate(rows)
""",
        "recursion, float32": """import numpy as np
from block import block
from kv_cache import KVCache
from norm import rms_norm
def through(x, layers, cache, i, config):
    if i == len(layers):
        return x
    return through(block(x, layers[i], cache, i, config), layers, cache, i + 1, config)
def forward(tokens, weights, config, cache=None):
    if cache is None:
        cache = KVCache(len(weights["layers"]), len(tokens), config.n_kv_heads, config.head_dim)
    x = np.take(weights["tok_embeddings"].astype(np.float32), tokens, axis=0)
    x = through(x, weights["layers"], cache, 0, config)
    cache.advance(len(tokens))
    x = rms_norm(x, weights["final_norm"], config.norm_eps)
    return np.asfortranarray(x @ weights["lm_head"].T)
""",
    },
}  # fmt: skip
