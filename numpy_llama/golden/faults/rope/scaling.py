"""Mistakes in how RoPE's context is extended."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ....config import LlamaConfig, RopeScaling
from ....rope import base_frequencies
from ....rope_scaling import frequencies
from ..fault import Fault, config_with
from .frequencies import frequencies_with


def scaled(*types: str) -> Callable[[LlamaConfig], bool]:
    """Whether the model's context was extended in one of these ways."""
    return lambda config: config.rope_scaling.type in types


def linearly_scaled(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Every pair slowed by the factor."""
    return base_frequencies(config.rope_theta, config.head_dim) / config.rope_scaling.factor


def two_pi_misplaced(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Llama 3's blend over turns = context · f / 2 · π."""
    scaling = config.rope_scaling
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    f = base_frequencies(config.rope_theta, config.head_dim)
    turns = (scaling.original_context or config.max_context) * f / 2 * math.pi
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep * f + (1 - keep) * f / scaling.factor


def with_ramp_reversed(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """The other part of f + f/factor: what YaRN's ramp keeps is slowed, and the reverse."""
    plain = base_frequencies(config.rope_theta, config.head_dim)
    return plain + plain / config.rope_scaling.factor - f


def from_the_whole_context(f: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Frequencies scaled as if the model had been trained on all of its positions."""
    scaling = dataclasses.replace(config.rope_scaling, original_context=None)
    return frequencies(dataclasses.replace(config, rope_scaling=scaling), length=0)[0]


def extended_from(*types: str) -> Callable[[LlamaConfig], bool]:
    """Whether the model was extended in one of these ways, from a context that is told."""

    def applies(config: LlamaConfig) -> bool:
        original = config.rope_scaling.original_context
        return scaled(*types)(config) and original not in (None, config.max_context)

    return applies


FAULTS = (
    Fault(
        "rope-scaling-missing",
        "rope",
        "The extension of the context (rope_scaling) is not applied.",
        "fᵢ = θ^(-2i/hd), and no attention factor",
        "tiny-vllm#1, mlxcel#1355 (the file says rope_type, not type), llama.cpp#8676",
        "Apply rope_scaling of the config; its kind is under rope_type, in old files under type.",
        config_with(rope_scaling=RopeScaling()),
        scaled("linear", "dynamic", "llama3", "yarn"),
    ),
    Fault(
        "rope-scaling-linear",
        "rope",
        "All pairs are slowed by the factor, but this model slows only some of them.",
        "fᵢ = θ^(-2i/hd) / factor",
        "llama.cpp#8676",
        "Leave fast pairs as they are: see the bands of this model's rope_type.",
        frequencies_with(linearly_scaled),
        scaled("llama3", "yarn"),
    ),
    Fault(
        "rope-scaling-2pi",
        "rope",
        "In Llama 3's scaling, 2π divides where it should: written / 2 * π, it multiplies by π.",
        "turns = context · f / 2 · π instead of context · f / (2π)",
        "lmdeploy#2155: passed evaluations, failed to find a needle in a haystack",
        "Put 2π in parentheses: the wavelength is 2π / f.",
        frequencies_with(two_pi_misplaced),
        scaled("llama3"),
    ),
    Fault(
        "rope-original-context-missing",
        "rope",
        "RoPE's scaling takes the extended context for the one that the model was trained on.",
        "context = max_position_embeddings, instead of original_max_position_embeddings",
        "transformers 4.48 (YaRN)",
        "Read original_max_position_embeddings of rope_scaling, where it is given.",
        frequencies_with(from_the_whole_context),
        extended_from("llama3", "yarn"),
    ),
    Fault(
        "rope-yarn-ramp-reversed",
        "rope",
        "YaRN's ramp runs the wrong way: fast pairs are slowed, and slow ones kept.",
        "fᵢ ← r f + (1 - r) f/factor, r from 0 at the fast pairs to 1 at the slow ones",
        "litgpt 0.5.13",
        "The ramp is the share of what is slowed: fᵢ ← (1 - r) f + r f/factor.",
        frequencies_with(with_ramp_reversed),
        scaled("yarn"),
    ),
)
