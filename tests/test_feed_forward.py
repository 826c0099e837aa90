"""Swish and SwiGLU: against scalar formulas, at their limits, and which input is the gate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.feed_forward import swiglu, swish


@given(st.floats(-700, 700), st.floats(0.1, 1))
def test_swish_is_z_times_the_sigmoid(z: float, beta: float) -> None:
    """The sigmoid through tanh: σ(t) = (1 + tanh(t/2)) / 2, which cancels far below zero."""
    expected = z * (1 + math.tanh(beta * z / 2)) / 2
    assert swish(np.array(z), beta) == pytest.approx(expected, rel=1e-13, abs=1e-13)


def test_far_below_zero_swish_keeps_its_relative_precision() -> None:
    assert swish(np.array(-50.0)) == pytest.approx(-50 * math.exp(-50), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_swish_at_the_ends_does_not_overflow_or_warn(dtype: type) -> None:
    y = swish(np.array([-1e30, -1000, 0, 1000, 1e30], dtype))
    assert y.dtype == dtype
    assert y.tolist() == [0, 0, 0, 1000, dtype(1e30)]


def test_beta_goes_from_half_the_identity_to_the_ramp() -> None:
    z = np.linspace(-3, 3, 13)
    assert np.array_equal(swish(z, beta=0.0), z / 2)
    assert swish(z, beta=1e4) == pytest.approx(np.maximum(z, 0), abs=1e-12)


def test_the_gate_alone_goes_through_swish() -> None:
    gate, up = np.array([[2.0, -1.0]]), np.array([[-3.0, 5.0]])
    expected = [2 / (1 + math.exp(-2)) * -3, -1 / (1 + math.exp(1)) * 5]
    assert swiglu(gate, up)[0] == pytest.approx(expected, rel=1e-15)
    assert np.abs(swiglu(up, gate) - swiglu(gate, up)).max() > 0.1
