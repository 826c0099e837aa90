"""What a Llama costs, from its config alone: parameters, operations, bytes.

A product of an (m, k) and a (k, n) matrix counts 2·m·k·n operations (FLOP); all else is small and
not counted. A test runs the model on arrays that count their own products, and gets the same.
"""

import math

from numpy_llama import LlamaConfig
from numpy_llama.formats.checkpoint import expected_shapes


def llama(
    layers: int,
    dim: int,
    heads: int,
    kv_heads: int,
    hidden: int,
    context: int,
    vocabulary: int = 32000,
    theta: float = 1e4,
) -> LlamaConfig:
    """A config of the family by its few numbers; head_dim is dim / heads."""
    return LlamaConfig(
        dim=dim,
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=dim // heads,
        hidden_dim=hidden,
        vocab_size=vocabulary,
        max_context=context,
        rope_theta=theta,
    )


# From the papers (Llama 1: table 2; Llama 2: table 1; Llama 3: table 3) and the released files.
FAMILY = {
    "Llama 1 7B": llama(32, 4096, 32, 32, 11008, 2048),
    "Llama 1 13B": llama(40, 5120, 40, 40, 13824, 2048),
    "Llama 1 33B": llama(60, 6656, 52, 52, 17920, 2048),
    "Llama 1 65B": llama(80, 8192, 64, 64, 22016, 2048),
    "Llama 2 7B": llama(32, 4096, 32, 32, 11008, 4096),
    "Llama 2 13B": llama(40, 5120, 40, 40, 13824, 4096),
    "Llama 2 34B": llama(48, 8192, 64, 8, 22016, 4096),
    "Llama 2 70B": llama(80, 8192, 64, 8, 28672, 4096),
    "Llama 3 8B": llama(32, 4096, 32, 8, 14336, 8192, 128256, 5e5),
    "Llama 3 70B": llama(80, 8192, 64, 8, 28672, 8192, 128256, 5e5),
    "Llama 3.1 405B": llama(126, 16384, 128, 8, 53248, 131072, 128256, 5e5),
}
# Trillions of tokens that each was trained on.
TRAINED_ON = {
    "Llama 1 7B": 1.0,
    "Llama 1 13B": 1.0,
    "Llama 1 33B": 1.4,
    "Llama 1 65B": 1.4,
    "Llama 2 7B": 2.0,
    "Llama 2 13B": 2.0,
    "Llama 2 34B": 2.0,
    "Llama 2 70B": 2.0,
    "Llama 3 8B": 15.0,
    "Llama 3 70B": 15.0,
    "Llama 3.1 405B": 15.6,
}
SMOLLM2 = LlamaConfig(
    dim=576,
    n_layers=30,
    n_heads=9,
    n_kv_heads=3,
    head_dim=64,
    hidden_dim=1536,
    vocab_size=49152,
    max_context=8192,
    rope_theta=1e5,
    tied_head=True,
)


def parameters(config: LlamaConfig) -> int:
    """How many numbers the weights are."""
    return sum(math.prod(shape) for _, shape in expected_shapes(config))


def layer_matrices(config: LlamaConfig) -> int:
    """How many numbers the matrices of all blocks have: each is used once for each token."""
    c = config
    attention = 2 * c.dim * (c.n_heads + c.n_kv_heads) * c.head_dim
    return c.n_layers * (attention + 3 * c.dim * c.hidden_dim)


def forward_flops(config: LlamaConfig, L: int, S: int, rows: int = 1) -> int:
    """Operations of one forward: L new tokens of S positions, logits for the last `rows` of them.

    Scores and averages are those of the textbook `attend`, masked ones included.
    """
    c = config
    attention = c.n_layers * 2 * 2 * c.n_heads * c.head_dim * L * S
    return 2 * L * layer_matrices(c) + attention + 2 * rows * c.vocab_size * c.dim


def generation_flops(config: LlamaConfig, T: int, cached: bool) -> int:
    """Operations until T tokens have been fed, the first of them the prompt: one forward each."""
    if cached:
        return sum(forward_flops(config, 1, t) for t in range(1, T + 1))
    return sum(forward_flops(config, t, t) for t in range(1, T + 1))


def cache_bytes(config: LlamaConfig, kv_heads: int | None = None, number: int = 2) -> int:
    """Bytes of the KV cache for each position: a key and a value in each layer and head."""
    return 2 * config.n_layers * (kv_heads or config.n_kv_heads) * config.head_dim * number


def attention_intensity(config: LlamaConfig, kv_heads: int, number: int = 2) -> float:
    """Operations a byte of one query's scores and averages, when keys and values are read once."""
    flops = 2 * 2 * config.n_heads * config.head_dim  # for each position, in each layer
    return flops / (2 * kv_heads * config.head_dim * number)


def step_intensity(
    config: LlamaConfig, kv_heads: int, batch: int, S: int, number: int = 2
) -> float:
    """Operations a byte of one decode step of `batch` texts of S positions each.

    The weights are read once for all texts; each text has keys and values of its own.
    """
    c = config
    matrices = c.n_layers * 2 * c.dim * (c.n_heads + kv_heads) * c.head_dim
    matrices += c.n_layers * 3 * c.dim * c.hidden_dim + c.vocab_size * c.dim
    flops = 2 * batch * matrices + batch * c.n_layers * 2 * 2 * c.n_heads * c.head_dim * S
    return flops / (number * matrices + batch * S * cache_bytes(c, kv_heads, number))
