"""The examples of the stages that put others together: the cache, the block, the model."""

from .examples import ATTENTION, NORM, ROPE, Example

CACHE = "cache = KVCache(n_layers=2, capacity=4, n_kv_heads=1, head_dim=1)"
FIVE = "cache.write(0, np.array([[[5.0]], [[6.0]]]), np.array([[[50.0]], [[60.0]]]))"
SEVEN = "cache.write(0, np.array([[[7.0]]]), np.array([[[70.0]]]))"

KV_CACHE = (
    Example(
        "KVCache",
        "cache.length",
        0,
        "nothing was written yet",
        "A new cache is empty: its length is 0, whatever room it has.",
        "self.length = 0 in __init__",
        (CACHE,),
    ),
    Example(
        "KVCache",
        FIVE,
        [[[[5.0]], [[6.0]]], [[[50.0]], [[60.0]]]],
        "two positions written: their keys, then their values, and nothing of the empty room",
        "What is returned is first all keys, then all values, of the filled positions: the past, "
        "and the new ones. Not the empty room behind them, which would be looked at as if it were "
        "tokens.",
        "end = self.length + len(k); return self.k[layer, :end], self.v[layer, :end]",
        (CACHE,),
    ),
    Example(
        "KVCache",
        "cache.length",
        2,
        "two layers wrote the same two tokens; then the model counted them, once",
        "All layers write the same positions. So `write` does not change the length; `advance` "
        "does, once for all layers.",
        "self.length += new in `advance`, and nowhere else",
        (CACHE, FIVE, FIVE.replace("(0", "(1"), "cache.advance(2)"),
    ),
    Example(
        "KVCache",
        SEVEN,
        [[[[5.0]], [[6.0]], [[7.0]]], [[[50.0]], [[60.0]], [[70.0]]]],
        "one more token behind the two",
        "New tokens are stored behind the old ones, at position length; at 0 they would overwrite "
        "the past.",
        "self.k[layer, self.length : end] = k, and the same for v",
        (CACHE, FIVE, "cache.advance(2)"),
    ),
    Example(
        "KVCache",
        FIVE.replace("(0", "(1"),
        [[[[5.0]], [[6.0]]], [[[50.0]], [[60.0]]]],
        "layer 0 has written before; layer 1 has a room of its own, and begins at 0 too",
        "Each layer has keys and values of its own.",
        "the first axis of self.k and self.v is the layer: index it with `layer`",
        (CACHE, "cache.write(0, np.array([[[7.0]], [[8.0]]]), np.array([[[70.0]], [[80.0]]]))"),
    ),
)

FEED_FORWARD = (
    Example(
        "swish",
        "swish(np.array([0.0, 1.0, -1.0]))",
        [0.0, 0.7310586, -0.2689414],
        "1 / (1 + e^-1) = 0.7311, and -1 / (1 + e) = -0.2689",
        "swish(z) = z · σ(z), with σ(z) = 1 / (1 + e^(-z)). Unlike ReLU it is not zero below zero; "
        "σ alone is 0.5 at 0; GELU is another curve. z·σ(z) + (1 - σ(z))·z, as some notes have "
        "it, is z itself.",
        "z / (1 + np.exp(-z))",
    ),
    Example(
        "swiglu",
        "swiglu(gate=np.array([[1.0]]), up=np.array([[5.0]]))",
        [[3.6552929]],
        "swish(1) · 5 = 0.7311 · 5; the other way round, swish(5) · 1, it would be 4.9665",
        "Only the gate goes through swish; `up` is multiplied as it is.",
        "swish(gate) * up",
    ),
    Example(
        "feed_forward",
        "feed_forward(np.array([[1.0, 2.0]]), w_gate=np.array([[1.0, 0.0]]), "
        "w_up=np.array([[0.0, 1.0]]), w_down=np.array([[1.0], [10.0]]))",
        [[1.4621172, 14.6211716]],
        "gate = 1, up = 2: swish(1) · 2 = 1.4621; w_down gives once and ten times that",
        "Three matrices, not two and not four: x goes through w_gate and, beside it, through w_up; "
        "what `swiglu` makes of the two goes through w_down.",
        "swiglu(x @ w_gate.T, x @ w_up.T) @ w_down.T",
    ),
)

CONFIG = (
    "from types import SimpleNamespace",
    "config = SimpleNamespace(n_heads=1, n_kv_heads=1, head_dim=2, norm_eps=0.0, rope_theta=1.0)",
    "one, zero = np.eye(2), np.zeros((2, 2))",
)


def weights(**changes: str) -> str:
    """A line that makes a dict of weights: two features, all matrices zero but those named."""
    names = ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down")
    values = {"attn_norm": "np.ones(2)", "ffn_norm": "np.ones(2)"} | dict.fromkeys(names, "zero")
    return f"w = dict({', '.join(f'{k}={v}' for k, v in (values | changes).items())})"


BLOCK_CACHE = "from kv_cache import KVCache; cache = KVCache(1, 4, 1, 2)"
BLOCK = (
    Example(
        "project",
        "project(np.array([[1.0, 2.0]]), w, config)",
        [[[[1.0, 2.0]]], [[[10.0, 20.0]]], [[[100.0, 200.0]]]],
        "q, k and v of one token with one head: x times 1, 10 and 100",
        "Queries, keys and values each have a matrix; it is stored (out, in), so that x @ w.T.",
        'q = (x @ w["wq"].T).reshape(len(x), config.n_heads, config.head_dim); k and v likewise '
        "with n_kv_heads",
        (*CONFIG, weights(wq="one", wk="10 * one", wv="100 * one")),
    ),
    Example(
        "multi_head",
        "multi_head(np.array([[1.0, 2.0]]), w, cache, 0, config)",
        [[30.0, 60.0]],
        "a single token attends to itself alone: its value, x · 3, times wo = 10",
        "The value of a token is not rotated, only queries and keys are. What the heads give goes "
        "through wo.",
        'heads.reshape(len(x), -1) @ w["wo"].T at the end, for heads of `attend`',
        (*CONFIG, weights(wv="3 * one", wo="10 * one"), BLOCK_CACHE),
    ),
    Example(
        "multi_head",
        "multi_head(np.array([[1.0, 2.0]]), w, cache, 0, config)",
        [[20.0, 30.0]],
        "all scores are 0: the average of the values in the cache, (3, 4), and the new, (1, 2), "
        "times wo = 10",
        "The new token attends to all of the cache, not to itself alone.",
        "keys, values = cache.write(layer, k, v), and give these to `attend`",
        (
            *CONFIG,
            weights(wv="one", wo="10 * one"),
            BLOCK_CACHE,
            "cache.write(0, np.zeros((1, 1, 2)), np.array([[[3.0, 4.0]]])); cache.advance(1)",
        ),
    ),
    Example(
        "block",
        "block(np.array([[3.0, 4.0]]), w, cache, 0, config)",
        [[3.0, 4.0]],
        "where attention and feed-forward give zero, x goes through unchanged",
        "Attention and feed-forward are added to x, and x itself is never normalised: so what is "
        "in it reaches the end of the model (the residual stream).",
        "x = x + …, twice; the norm is of a copy",
        (*CONFIG, weights(), BLOCK_CACHE),
    ),
    Example(
        "block",
        "block(np.array([[3.0, 4.0]]), w, cache, 0, config)",
        [[3.8485281, 5.1313708]],
        "x + norm(x): 3 + 0.8485 and 4 + 1.1314",
        "Attention gets the normalised x, and its result is added to x as it was before the norm.",
        'x = x + multi_head(rms_norm(x, w["attn_norm"], config.norm_eps), w, cache, layer, config)',
        (*CONFIG, weights(wv="one", wo="one"), BLOCK_CACHE),
    ),
    Example(
        "block",
        "block(np.array([[3.0, 4.0]]), w, cache, 0, config)",
        [[9.7224796, 4.0]],
        "the norm has the gains (1, 10): gate 0.8485, up 11.3137; swish(0.8485) · 11.3137 = 6.7225",
        "The feed-forward network gets a norm too, with a gain of its own, ffn_norm; and its "
        "result is added to x.",
        'normed = rms_norm(x, w["ffn_norm"], config.norm_eps); '
        'x = x + feed_forward(normed, w["w_gate"], w["w_up"], w["w_down"])',
        (
            *CONFIG,
            weights(
                ffn_norm="np.array([1.0, 10.0])",
                w_gate="np.array([[1.0, 0.0]])",
                w_up="np.array([[0.0, 1.0]])",
                w_down="np.array([[1.0], [0.0]])",
            ),
            BLOCK_CACHE,
        ),
    ),
)

MODEL = (
    Example(
        "forward",
        "forward([1], weights, config)",
        [[0.8485281, 1.1313708]],
        "no layers: the row (3, 4) of token 1, normalised, times the matrix that changes nothing",
        "A token becomes its row of tok_embeddings, as it is. After the last layer comes one more "
        "norm, then lm_head.",
        'rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T',
        (
            *CONFIG,
            "weights = dict(tok_embeddings=np.array([[1.0, 0.0], [3.0, 4.0]]), layers=[], "
            "final_norm=np.ones(2), lm_head=one)",
        ),
    ),
    Example(
        "forward",
        "forward([1], weights, config)",
        [[8.4852814, 113.1370850]],
        "final_norm has the gains (1, 10), lm_head multiplies by 10",
        "The last norm has a gain of its own, final_norm. The scores come from lm_head, which is "
        "not always the table of the embeddings.",
        'rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T',
        (
            *CONFIG,
            "weights = dict(tok_embeddings=np.array([[1.0, 0.0], [3.0, 4.0]]), layers=[], "
            "final_norm=np.array([1.0, 10.0]), lm_head=10 * one)",
        ),
    ),
)

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "norm": NORM,
    "rope": ROPE,
    "attention": ATTENTION,
    "kv_cache": KV_CACHE,
    "feed_forward": FEED_FORWARD,
    "block": BLOCK,
    "model": MODEL,
}
