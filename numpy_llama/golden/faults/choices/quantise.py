"""Fewer bits: rows of numbers as small whole numbers with a scale, and back to float32.

Each function takes (…, n) and quantises along the last axis, all of it as one group; `in_groups`
makes groups of it. What comes out is what the whole numbers stand for.
"""

from collections.abc import Callable

import numpy as np

from ...replay.precision import round_to_float16

Quantiser = Callable[[np.ndarray], np.ndarray]


def one_for_zero(scale: np.ndarray) -> np.ndarray:
    """A group of zeros has no scale: any does."""
    return np.where(scale == 0, scale.dtype.type(1), scale)


def to_even(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """x / scale to the nearest whole number, halves to the even one, as NumPy and PyTorch round."""
    return np.rint(x / scale)


def away_from_zero(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """x · (1 / scale) to the nearest, halves away from zero, as C rounds.

    Weights of few digits have many halves: a hundredth of the error of quantising may be theirs.
    """
    times = x * (1 / scale)
    return np.trunc(times + np.copysign(np.float32(0.5), times))


def int8(x: np.ndarray, rounded: Callable[..., np.ndarray] = to_even) -> np.ndarray:
    """Whole numbers from -127 to 127, the scale max |x| / 127 in the same float."""
    scale = one_for_zero(np.abs(x).max(axis=-1, keepdims=True) / x.dtype.type(127))
    return np.asarray(rounded(x, scale) * scale)


def int8_by_factor(x: np.ndarray) -> np.ndarray:
    """The same by the factor 127 / max |x|, which is what is kept: x ≈ q / factor.

    Weights of few digits have many halves, and the last digit of x · factor decides where they go.
    """
    largest = one_for_zero(np.abs(x).max(axis=-1, keepdims=True))
    factor = x.dtype.type(127) / largest
    return np.asarray(np.rint(x * factor) / factor)


def int8_to_128(x: np.ndarray) -> np.ndarray:
    """Whole numbers from -128 to 127, the scale max |x| / 127.5.

    The largest |x| is half way between two of them: the last digit of x · (1 / scale) decides.
    """
    scale = one_for_zero(np.abs(x).max(axis=-1, keepdims=True) / x.dtype.type(127.5))
    return np.asarray(np.clip(np.rint(x * (1 / scale)), -128, 127) * scale)


def q8_0(x: np.ndarray) -> np.ndarray:
    """GGUF's Q8_0: the same, but the scale that is stored is float16."""
    scale = one_for_zero(np.abs(x).max(axis=-1, keepdims=True) / x.dtype.type(127))
    return np.asarray(away_from_zero(x, scale) * stored_scale(scale))


def q4_0(x: np.ndarray) -> np.ndarray:
    """GGUF's Q4_0: whole numbers from -8 to 7; the largest |x| becomes -8, the scale is float16."""
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)
    scale = one_for_zero(largest / x.dtype.type(-8))
    whole = np.minimum(np.floor(x * (1 / scale) + x.dtype.type(8.5)), 15) - x.dtype.type(8)
    return np.asarray(whole * stored_scale(scale))


def stored_scale(scale: np.ndarray) -> np.ndarray:
    """What is left of a scale in float16."""
    return scale.astype(np.float16).astype(scale.dtype)


def by_rows(quantise: Quantiser, matrix: np.ndarray, rows: int = 64) -> np.ndarray:
    """A matrix quantised, so many rows at once: what is between fits the processor's cache."""
    out = np.empty_like(matrix)
    for i in range(0, len(matrix), rows):
        out[i : i + rows] = quantise(matrix[i : i + rows])
    return out


def in_groups(quantise: Quantiser, size: int | None) -> Quantiser:
    """`quantise`, each `size` neighbours of the last axis by themselves; None: all of it."""
    if size is None:
        return quantise
    return lambda x: quantise(x.reshape(*x.shape[:-1], -1, size)).reshape(x.shape)


def or_half(quantise: Quantiser, size: int) -> Quantiser:
    """`quantise` in groups; in float16 what is none: so llama.cpp keeps it, and multiplies it."""
    grouped = in_groups(quantise, size)
    return lambda x: grouped(x) if x.shape[-1] % size == 0 else round_to_float16(x)
