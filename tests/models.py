"""Small random models whose shapes cannot hide a fault: no two axes of a tiny config are equal.

K ≠ G, D ≠ H·hd, F ≠ D, and the gains of the norms are away from 1: a transposed matrix, a mixed-up
head or a forgotten gain changes the shape or the logits.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpy_llama.attention import attend
from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.formats.checkpoint import expected_shapes, layer_shapes
from numpy_llama.model import Llama
from numpy_llama.parameters import LayerWeights, Weights

# One RoPE of each type, its bounds such that the 4 pairs of a tiny head meet every band: pairs that
# are kept, pairs in between, and pairs that are slowed.
ROPES = {
    "default": RopeScaling(),
    "linear": RopeScaling("linear", factor=2.5),
    "dynamic": RopeScaling("dynamic", factor=3.0),
    "llama3": RopeScaling(
        "llama3", factor=8.0, original_context=24, low_freq_factor=0.25, high_freq_factor=2.0
    ),
    "yarn": RopeScaling("yarn", factor=4.0, original_context=40, beta_fast=4.0, beta_slow=0.1),
}


def tiny_config(**overrides: Any) -> LlamaConfig:
    """A config of 3 blocks in which H = 6, K = 2, G = 3, H·hd = 48 ≠ D = 24, F = 40, V = 61."""
    values: dict[str, Any] = {
        "dim": 24,
        "n_layers": 3,
        "n_heads": 6,
        "n_kv_heads": 2,
        "head_dim": 8,
        "hidden_dim": 40,
        "vocab_size": 61,
        "max_context": 64,
    }
    return LlamaConfig(**(values | overrides))


def random_tensor(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Gains in 0.5 … 1.5; small biases; matrices that keep the size of what they multiply.

    Queries and keys are half as large again, so that attention is far from uniform.
    """
    if name.endswith("norm"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.3, shape)
    if name == "tok_embeddings":
        return rng.normal(0, 1, shape)
    scale = 1.5 if name.endswith(("wq", "wk")) else 1.0
    return rng.normal(0, scale / np.sqrt(shape[1]), shape)


def random_tensors(
    config: LlamaConfig, seed: int = 0, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Every tensor of a random model by our names, as a Checkpoint has them.

    They are drawn in float64 and then rounded: float32 is the same model, to its precision.
    """
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config)
    return {name: random_tensor(name, shape, rng).astype(dtype) for name, shape in shapes}


def weights_of(config: LlamaConfig, tensors: Mapping[str, np.ndarray]) -> Weights:
    """The Weights that consist of `tensors`; a tied head is the embedding table itself."""
    names = list(layer_shapes(config))
    layers = [
        LayerWeights(**{name: tensors[f"layers.{i}.{name}"] for name in names})
        for i in range(config.n_layers)
    ]
    embeddings = tensors["tok_embeddings"]
    lm_head = embeddings if config.tied_head else tensors["lm_head"]
    return Weights(embeddings, tuple(layers), tensors["final_norm"], lm_head)


def random_weights(config: LlamaConfig, seed: int = 0, dtype: Any = np.float64) -> Weights:
    """Random weights for `config`; the same seed gives the same model in every dtype."""
    return weights_of(config, random_tensors(config, seed, dtype))


def random_model(
    config: LlamaConfig,
    seed: int = 0,
    dtype: Any = np.float64,
    attention: Callable[..., np.ndarray] = attend,
) -> Llama:
    """A Llama with random weights."""
    return Llama(config, random_weights(config, seed, dtype), attention)


def random_tokens(config: LlamaConfig, length: int, seed: int = 0) -> list[int]:
    """`length` random ids of the vocabulary, as Python integers."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, length).tolist()
