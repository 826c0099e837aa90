"""What a learner is told about a mistake that the judge named: the idea, and the mend.

Only where the catalogue's own words are for those who know the matter. Of the others its sentence
is the idea, its fix the mend.
"""

from ...golden.faults import KNOWN
from .stages import Stage

POSITIONS = (
    "A token's position is how many tokens came before it in the whole text. With a cache, new "
    "tokens do not begin at 0 again.",
    "positions = np.arange(cache.length, cache.length + len(x)), taken before the cache is "
    "advanced",
)
NEIGHBOURS = (
    "Neighbouring query heads share a key head and a value head: 0 0 1 1, not 0 1 0 1.",
    "k.repeat(H // K, axis=1) and v.repeat(H // K, axis=1); np.tile gives the other order",
)
THETA = (
    "θ is not the same in all models: it is an argument.",
    "use `theta` as it is given, and no number of your own",
)
BOTH_NORMS = (
    "The norm is of what goes into attention and feed-forward. x itself, the residual stream, is "
    "never normalised, and what comes out is not either.",
    "x = x + multi_head(rms_norm(x, …), …), then the same with the feed-forward network",
)

LESSONS: dict[str, tuple[str, str]] = {
    "norm-variance": (
        "You take the variance. It subtracts the mean before it squares; the root mean square is "
        "of the numbers as they are.",
        "np.mean(x * x, axis=-1), not np.var(x, axis=-1)",
    ),
    "norm-mean-centred": (
        "This is LayerNorm: it subtracts the mean. RMSNorm leaves the mean in.",
        "divide x, not x - mean, by the root mean square of x",
    ),
    "norm-eps-zero": (
        "eps is left out, or is not the one that was given: a row of very small numbers is then "
        "scaled up too far.",
        "np.sqrt(np.mean(x * x, axis=-1) + eps)",
    ),
    "rope-theta": (
        "The exponents are 2i / hd, for i = 0 … hd/2 - 1, and their base is the θ that was given: "
        "these angles belong to another θ.",
        "theta ** (-2 * np.arange(hd // 2) / hd)",
    ),
    "norm-eps": (
        "eps is not the one that was given: it decides how far a row of very small numbers is "
        "scaled up.",
        "np.sqrt(np.mean(x * x, axis=-1) + eps)",
    ),
    "norm-eps-outside-sqrt": (
        "eps is added to the root. It belongs inside: to the mean of the squares.",
        "np.sqrt(np.mean(x * x, axis=-1) + eps)",
    ),
    "norm-post": BOTH_NORMS,
    "norm-post-sum": BOTH_NORMS,
    "residual-after-norm": (
        "What is added to must be x as it was, not the normalised x.",
        "give the normalised copy another name, and add to x",
    ),
    "norm-swapped": (
        "Each block has two norms with gains of their own: attn_norm before attention, ffn_norm "
        "before the feed-forward network.",
        'w["attn_norm"] for the first, w["ffn_norm"] for the second',
    ),
    "norm-final-missing": (
        "After the last layer x is normalised once more, before the scores are made.",
        'rms_norm(x, weights["final_norm"], config.norm_eps) before lm_head',
    ),
    "rope-theta-1e4": THETA,
    "rope-theta-5e5": THETA,
    "rope-theta-1e6": THETA,
    "rope-half-split": (
        "Here a pair is two neighbours: (0, 1), (2, 3), … You pair i with i + hd/2, as other "
        "programs do; their weights are stored in another order.",
        "a = x[..., 0::2], b = x[..., 1::2], and put them back in the same places",
    ),
    "rope-backwards": (
        "The pairs are turned clockwise. Counter-clockwise, (a, b) becomes (a cos - b sin, "
        "a sin + b cos).",
        "exchange the two signs of sin",
    ),
    "rope-on-v": (
        "Positions decide which token is looked at: they belong in queries and keys. Values are "
        "what is fetched, and are not rotated.",
        "rotate q and k only",
    ),
    "rope-missing": (
        "Nothing is rotated: without positions the model cannot tell the order of the tokens.",
        "rotate q and k by angles(positions, …) before they are used",
    ),
    "rope-k-only": (
        "The queries are not rotated. Their product with the keys depends on the distance only "
        "when both are.",
        "give `attend` the rotated q",
    ),
    "rope-q-only": (
        "The keys are not rotated, or were written to the cache before they were. What is stored "
        "must be rotated: in later steps it is used as it is.",
        "rotate k first, then cache.write(layer, k, v)",
    ),
    "rope-from-1": (
        "Positions begin at 0, not at 1.",
        POSITIONS[1],
    ),
    "decode-position-zero": POSITIONS,
    "decode-position-plus-1": POSITIONS,
    "decode-position-minus-1": POSITIONS,
    "decode-later-layers-plus-1": (
        "All layers of one forward pass see the same positions: the cache is advanced once, after "
        "the last layer, not in each.",
        "call cache.advance in `forward` only, after the loop over the layers",
    ),
    "gqa-tiled": NEIGHBOURS,
    "gqa-tiled-keys": NEIGHBOURS,
    "heads-not-transposed": (
        "Before wo the heads of one token are put side by side. The first axis must be the tokens.",
        "heads (L, H, hd), then heads.reshape(L, -1)",
    ),
    "k-v-swapped": (
        "Keys and values are exchanged: keys are what queries are compared with, values what is "
        "averaged.",
        "look at the order of k and v: in `project`, `write` and `attend` it is k, v",
    ),
    "silu-identity": (
        "z·σ(z) + (1 - σ(z))·z is z itself: the two parts add up to it. Some notes have this "
        "formula; with it the gate is a plain product.",
        "swish(z) = z * σ(z), and nothing is added",
    ),
    "gate-up-swapped": (
        "The gate and `up` are exchanged: only the gate goes through swish.",
        "swish(gate) * up",
    ),
    "relu": (
        "ReLU is zero below zero. Swish is a little less than zero there, and smooth.",
        "z / (1 + np.exp(-z))",
    ),
    "sigmoid": (
        "σ(z) alone lies between 0 and 1. Swish is z times that.",
        "z / (1 + np.exp(-z))",
    ),
    "layer-last-missing": (
        "The last layer is left out.",
        'go through all of weights["layers"]',
    ),
    "layer-first-repeated": (
        "Every layer has weights of its own; you use those of the first for all.",
        'for layer, w in enumerate(weights["layers"])',
    ),
    "embed-scaled": (
        "The embeddings are multiplied by a number. The Transformer of 2017 and Gemma do that; "
        "Llama takes them as they are.",
        'x = weights["tok_embeddings"][tokens]',
    ),
    "head-tied": (
        "The scores are made with the table of the embeddings. Some models have one table for "
        "both; in others lm_head is a matrix of its own, so use that.",
        '… @ weights["lm_head"].T',
    ),
    "scale-missing": (
        "The scores are not divided by √hd: they grow with the size of a head, and the softmax "
        "then gives everything to one token.",
        "divide by np.sqrt(q.shape[-1])",
    ),
    "scale-dim": (
        "The scores are divided by √D. A product of two heads has hd terms, not D.",
        "divide by np.sqrt(q.shape[-1])",
    ),
    "mask-missing": (
        "Tokens see what comes after them: they could copy the answer.",
        "scores = np.where(causal_mask(L, S), scores, -np.inf), before the softmax",
    ),
}

# Where no mistake is known that gives these values: what the wrong step is about, by its tap, or by
# a stage and its tap; and the function that makes it.
About = tuple[str, str, str]
PROJECTED = (
    "Queries, keys and values are x times their matrix, cut into heads: the first hd numbers are "
    "head 0, the next hd head 1.",
    '(x @ w["wq"].T).reshape(len(x), n_heads, head_dim); of keys and values with n_kv_heads',
    "project",
)
ROTATED = (
    "Each token has angles of its own, the same in all of its heads; and each pair has its own.",
    "a * cos - b * sin and a * sin + b * cos, with cos and sin of np.cos(angle)[:, None]",
    "rotate",
)
PLACED = (
    "Queries and keys are turned by the positions of their tokens: with a cache, new tokens do "
    "not begin at 0.",
    "angles(positions, …) with positions from cache.length on; then rotate(q, …), rotate(k, …)",
    "multi_head",
)
STORED = (
    "A query looks at all keys and values so far, in their order: those of the past, as they were "
    "written, then the new ones; of this layer.",
    "self.k[layer, self.length : end] = k; return self.k[layer, :end]; the same for v",
    "KVCache",
)
OTHER = (
    "Read the docstring once more, line by line, and compare: what is given, what is returned.",
    "`llama-np learn solution` shows a right file",
    "",
)
ABOUT: dict[str, About] = {
    "rms": (
        "The size of a token: the root of the mean of the squares, with eps inside the root.",
        "np.sqrt(np.mean(x * x, axis=-1) + eps)",
        "rms",
    ),
    "norm": (
        "A norm divides each token by its size, and multiplies each feature by its gain.",
        "x / rms(x, eps)[:, None] * gain",
        "rms_norm",
    ),
    "block.q": PROJECTED,
    "block.k": PROJECTED,
    "block.v": PROJECTED,
    "rope.q_rot": ROTATED,
    "rope.k_rot": ROTATED,
    "block.q_rot": PLACED,
    "block.k_rot": PLACED,
    "scores": (
        "A score is a query times a key of its group, divided by √hd.",
        'np.einsum("lhd,shd->hls", q, k.repeat(H // K, axis=1)) / np.sqrt(hd)',
        "attention_scores",
    ),
    "heads": (
        "A head is the average of the values that the query may see, weighted by the softmax of "
        "its scores: over the keys, in each row by itself.",
        "mask the scores with -np.inf, softmax over the last axis, then times v",
        "attend",
    ),
    "kv_cache.scores": STORED,
    "kv_cache.heads": STORED,
    "block.heads": (
        "A query looks at all keys and values so far. If the first forward pass is right and later "
        "ones are not, look at the cache: keys are rotated before they are written, and positions "
        "go on where they were.",
        "keys, values = cache.write(layer, rotate(k, angle), v), then attend(rotate(q, angle), "
        "keys, values)",
        "multi_head",
    ),
    "attn_out": (
        "The heads of a token are put side by side, head 0 first, and multiplied by wo. Tokens "
        "stay on the first axis.",
        'heads.reshape(len(x), -1) @ w["wo"].T, with heads (L, H, hd) as `attend` gives them',
        "multi_head",
    ),
    "swiglu": ("swish(gate) · up, feature by feature.", "swish(gate) * up", "swiglu"),
    "ffn_out": (
        "x goes through w_gate and through w_up; swish is of what came through w_gate. What "
        "`swiglu` gives goes through w_down.",
        "swiglu(x @ w_gate.T, x @ w_up.T) @ w_down.T",
        "feed_forward",
    ),
    "resid_post": (
        "x plus attention of its norm; then plus feed-forward of the norm of that. Each layer has "
        "weights of its own, and they come in order.",
        "x = x + multi_head(rms_norm(x, …), …), then x = x + feed_forward(rms_norm(x, …), …)",
        "block",
    ),
    "logits": (
        "After all layers, each with its own weights: one more norm, with final_norm, then "
        "lm_head. With a cache, only the new tokens are computed.",
        'rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T',
        "forward",
    ),
}


def lesson_of(fault: str) -> tuple[str, str]:
    """The idea and the mend of a mistake of the catalogue."""
    known = KNOWN[fault]
    return LESSONS.get(fault, (known.sentence, known.fix))


def about_tap(tap: str, stage: Stage) -> About:
    """The idea and the mend of a tap in a stage, and which of its functions to look at."""
    part = tap.rpartition(".")[2]
    part = "norm" if part.endswith("norm") else part
    idea, mend, function = ABOUT.get(f"{stage.name}.{part}") or ABOUT.get(part, OTHER)
    return idea, mend, function if function in stage.functions else stage.functions[-1]
