"""RMSNorm: known values, and what it does and does not see of its input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.norm import rms, rms_norm


def normed(x: np.ndarray, eps: float) -> np.ndarray:
    return rms_norm(x, np.ones(x.shape[-1]), rms(x, eps))


def test_known_values() -> None:
    x = np.array([[3.0, 4.0], [-1.0, 1.0]])
    assert rms(x, 0.0) == pytest.approx([math.sqrt(12.5), 1.0], rel=1e-15)
    assert rms(x, 3.5) == pytest.approx([4.0, math.sqrt(4.5)], rel=1e-15)
    y = rms_norm(x, np.array([2.0, 10.0]), rms(x, 3.5))
    assert y[0] == pytest.approx([1.5, 10.0], rel=1e-15)


def test_epsilon_stands_inside_the_root() -> None:
    zeros = np.zeros((1, 8))
    assert rms(zeros, 1e-4)[0] == pytest.approx(1e-2, rel=1e-15)
    assert np.array_equal(normed(zeros, 1e-4), zeros)


def test_no_mean_is_subtracted() -> None:
    assert normed(np.full((1, 8), 7.0), 0.0) == pytest.approx(1.0, rel=1e-15)


@given(st.integers(-60, 60), st.integers(0, 2**32))
def test_scaling_a_row_by_a_power_of_two_changes_no_bit(exponent: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 12))
    assert np.array_equal(normed(x * 2.0**exponent, 0.0), normed(x, 0.0))


@given(st.floats(1e-3, 1e3), st.integers(0, 2**32))
def test_scaling_a_row_changes_nothing_up_to_epsilon(scale: float, seed: int) -> None:
    """y = x / √(m + ε) is smaller than x / √m by a share of at most ε / 2m."""
    x = np.random.default_rng(seed).normal(size=(2, 12))
    mean_square = np.square(x).mean(axis=-1, keepdims=True)
    error = np.abs(normed(x * scale, 1e-5) - normed(x, 0.0))
    share = 1e-5 / (2 * mean_square * scale**2) + 1e-14
    assert (error <= share * np.abs(normed(x, 0.0))).all()


def test_rows_are_independent() -> None:
    x = np.random.default_rng(0).normal(size=(5, 12))
    assert np.array_equal(normed(x, 1e-5)[2:3], normed(x[2:3], 1e-5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype: type) -> None:
    x = np.ones((2, 4), dtype)
    statistic = rms(x, 1e-5)
    assert statistic.dtype == dtype
    assert statistic.shape == (2,)
    assert rms_norm(x, np.ones(4, dtype), statistic).dtype == dtype
