"""Stage 7: the whole model. From the numbers of tokens to a score for each possible next token.

weights: a dict: tok_embeddings (V, D), layers (a list, for each layer the w of stage 6),
    final_norm (D,), lm_head (V, D)
config: as in stage 6

Letters of the shapes: L new tokens, D features of a token, V tokens that there are.
"""

from block import block
from kv_cache import KVCache
from norm import rms_norm


def forward(tokens, weights, config, cache=None):
    """The scores (logits) of the token after each of `tokens`.

    Take the row of tok_embeddings of each token; go through all layers in order; advance the
    cache by L, once; normalise with final_norm; multiply by lm_head.

    tokens: a list of L whole numbers. cache: a KVCache that holds the tokens before them; with
    None, make one with room for L. Returns (L, V).
    """
    L = len(tokens)
    if cache is None:
        cache = KVCache(len(weights["layers"]), L, config.n_kv_heads, config.head_dim)
    x = weights["tok_embeddings"][tokens]
    for layer, w in enumerate(weights["layers"]):
        x = block(x, w, cache, layer, config)
    cache.advance(L)
    return rms_norm(x, weights["final_norm"], config.norm_eps) @ weights["lm_head"].T
