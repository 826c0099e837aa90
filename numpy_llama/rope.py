"""Rotary position embedding (RoPE): turn each pair of features, further with each position.

Rotating q by its position m and k by its position n leaves q·k dependent on m - n alone. This file
has the frequencies and their context-extension variants, the rotation matrices, the rotation, and
the two layouts in which checkpoints keep the pairs. Su et al. 2021, section 3.2.
"""

import math

import numpy as np

from .config import LlamaConfig, RopeScaling


def base_frequencies(theta: float, hd: int) -> np.ndarray:
    """Radians per position of each pair of features: fᵢ = θ^(-2i/hd), shape (hd/2,), float64."""
    return theta ** -(np.arange(0, hd, 2) / hd)


def ntk_theta(theta: float, hd: int, factor: float, length: int, context: int) -> float:
    """The base that stretches the slowest pair by the excess of `length` over `context`.

    θ' = θ · (factor · length / context - (factor - 1))^(hd / (hd - 2))

    The fastest pair keeps its frequency (the exponent of θ is 0 there), so near tokens stay apart:
    that is what "NTK-aware" means. At length = context, θ' = θ. bloc97 & emozilla 2023.
    """
    length = max(length, context)
    return theta * (factor * length / context - (factor - 1)) ** (hd / (hd - 2))


def llama3_frequencies(f: np.ndarray, scaling: RopeScaling, context: int) -> np.ndarray:
    """Slow only the pairs that do not turn often within the original context.

    f' = f for λ < context / high;  f / factor for λ > context / low;  in between, a blend

    with the wavelength λ = 2π / f in positions, and low, high the bounds on the number of turns.
    f: (hd/2,). Llama 3.1; Meta, llama-models, `apply_scaling`.
    """
    turns = context * f / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = np.clip((turns - low) / (high - low), 0, 1)  # 1: fast, kept; 0: slow, divided
    return keep * f + (1 - keep) * f / scaling.factor


def yarn_frequencies(
    f: np.ndarray, scaling: RopeScaling, theta: float, hd: int, context: int
) -> np.ndarray:
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


def frequencies(config: LlamaConfig, length: int) -> tuple[np.ndarray, float]:
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


def rotation_matrices(
    f: np.ndarray, positions: np.ndarray, magnitude: float, like: np.ndarray
) -> np.ndarray:
    """The table of rotations: R[l, i] turns pair i of the token at positions[l] by its angle.

    R = magnitude · [[cos φ, -sin φ], [sin φ, cos φ]],  φ = position · fᵢ

    f: (hd/2,); positions: (L,); returns (L, hd/2, 2, 2) with the dtype and on the device of `like`.
    Angles are float64: in float32 an angle near 10⁵ radians is already off by 0.004.
    """
    angle = positions[:, None] * f  # (L, hd/2)
    cos, sin = magnitude * np.cos(angle), magnitude * np.sin(angle)
    R = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    return np.asarray(R.astype(like.dtype), like=like)


def rotate_by_matmul(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Rotate the pairs of every head by their position: the textbook form.

    (x₂ᵢ, x₂ᵢ₊₁)ᵀ ← R[l, i] (x₂ᵢ, x₂ᵢ₊₁)ᵀ

    x: (L, H, hd); R: (L, hd/2, 2, 2). Su et al. 2021, eq. 15.
    """
    L, H, hd = x.shape
    pairs = x.reshape(L, H, hd // 2, 2, 1)  # each pair a column
    return (R[:, None] @ pairs).reshape(L, H, hd)


def rotate(x: np.ndarray, R: np.ndarray) -> np.ndarray:
    """`rotate_by_matmul` with the 2×2 product written out, which NumPy does many times faster."""
    R = R[:, None]  # the same rotation for every head
    a, b = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = R[..., 0, 0] * a + R[..., 0, 1] * b
    out[..., 1::2] = R[..., 1, 0] * a + R[..., 1, 1] * b
    return out


def adjacent_from_half_split(w: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a query or key projection from Hugging Face's pairs to ours.

    Hugging Face pairs feature i of a head with i + hd/2; the paper, Meta, llama2.c and GGUF pair
    2i with 2i + 1, and so do we. Example, hd = 4: rows 0 1 2 3 become 0 2 1 3.
    w: (n_heads · hd, D), or a bias (n_heads · hd,). Scores do not change: q and k move alike.
    """
    return w.reshape(n_heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def half_split_from_adjacent(w: np.ndarray, n_heads: int) -> np.ndarray:
    """The inverse of `adjacent_from_half_split`. Example, hd = 4: rows 0 1 2 3 become 0 2 1 3."""
    return w.reshape(n_heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
