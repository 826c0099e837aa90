"""RoPE for more positions than a model was trained on: four ways to lower its frequencies.

At a position never seen, a pair would be turned by an angle never seen. So pairs are slowed: all of
them alike (linear), the more the slower they are (dynamic NTK), or only the slow ones (Llama 3,
YaRN), for the fast ones have been through every angle anyway. Skip this file on a first reading.
"""

import math

import numpy as np

from .backend import Array
from .config import LlamaConfig, RopeScaling
from .rope import base_frequencies, rotation_matrices


def ntk_theta(theta: float, hd: int, factor: float, length: int, context: int) -> float:
    """The base that stretches the slowest pair by the excess of `length` over `context`.

    θ' = θ · (factor · length / context - (factor - 1))^(hd / (hd - 2))

    The fastest pair keeps its frequency (the exponent of θ is 0 there), so near tokens stay apart:
    that is what "NTK-aware" means. At length = context, θ' = θ. bloc97 & emozilla 2023.
    """
    length = max(length, context)
    return theta * (factor * length / context - (factor - 1)) ** (hd / (hd - 2))


def llama3_frequencies(f: Array, scaling: RopeScaling, context: int) -> Array:
    """Slow only the pairs that do not turn often within the original context.

    f' = f for λ < context / high;  f / factor for λ > context / low;  in between, a blend

    with the wavelength λ = 2π / f in positions, and low, high the bounds on the number of turns.
    f: (hd/2,). Llama 3.1; Meta, llama-models, `apply_scaling`.
    """
    turns = context * f / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = np.clip((turns - low) / (high - low), 0, 1)  # 1: fast, kept; 0: slow, divided
    return keep * f + (1 - keep) * f / scaling.factor


def yarn_frequencies(f: Array, scaling: RopeScaling, theta: float, hd: int, context: int) -> Array:
    """Slow the pairs below a ramp over their index, from `beta_fast` turns to `beta_slow`.

    f: (hd/2,). The pair that turns β times within the original context has the (real) index
    hd · ln(context / 2πβ) / (2 ln θ); by default the ends of the ramp are rounded outwards.
    Peng et al. 2023, section 3.2 (eq. 17 to 23).
    """

    def index_of(turns: float) -> float:
        return hd * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(scaling.beta_fast), index_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, hd - 1)
    if low == high:
        high += 0.001  # a ramp without width would divide by zero
    slow = np.clip((np.arange(hd // 2) - low) / (high - low), 0, 1)
    return (1 - slow) * f + slow * f / scaling.factor


def yarn_attention_factor(scaling: RopeScaling) -> float:
    """What YaRN multiplies q and k with, so that attention stays as sharp over more positions.

    0.1 · ln(factor) + 1, unless the config says otherwise. Peng et al. 2023, eq. 22.
    """

    def magnitude(mscale: float) -> float:
        return 0.1 * mscale * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return magnitude(scaling.mscale) / magnitude(scaling.mscale_all_dim)
    return magnitude(1.0)


def frequencies(config: LlamaConfig, length: int) -> tuple[Array, float]:
    """The frequencies of a model, (hd/2,) in float64, and the factor on its rotation matrices.

    `length` counts the positions up to the last one in use: only the `dynamic` variant depends on
    it, and so its keys, once cached, keep the angles of the length at which they were computed
    (as in transformers).
    """
    scaling, theta, hd = config.rope_scaling, config.rope_theta, config.head_dim
    context = scaling.original_context or config.max_context
    f = base_frequencies(theta, hd)
    match scaling.type:
        case "default":
            return f, 1.0
        case "linear":
            return f / scaling.factor, 1.0
        case "dynamic":
            stretched = ntk_theta(theta, hd, scaling.factor, length, config.max_context)
            return base_frequencies(stretched, hd), 1.0
        case "llama3":
            return llama3_frequencies(f, scaling, context), 1.0
        case "yarn":
            return yarn_frequencies(f, scaling, theta, hd, context), yarn_attention_factor(scaling)
        case other:  # LlamaConfig refuses it before a file is read this far
            raise ValueError(f"unknown rope type {other!r}")


def rotation_table(config: LlamaConfig, start: int, L: int, like: Array) -> Array:
    """A model's rotation matrices for L positions from `start`: (L, hd/2, 2, 2), like `like`."""
    f, magnitude = frequencies(config, start + L)
    return rotation_matrices(f, np.arange(start, start + L), magnitude, like)
