"""The four ways to stretch RoPE: each against another way to say it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.config import RopeScaling
from numpy_llama.rope import base_frequencies, rotate, rotation_matrices
from numpy_llama.rope_scaling import frequencies, rotation_table, yarn_attention_factor
from tests import naive
from tests.models import ROPES, tiny_config

DOUBLE = np.empty(0, np.float64)


@pytest.mark.parametrize("length", [5, 64, 65, 1000])
@pytest.mark.parametrize("rope", ROPES)
def test_frequencies_equal_the_naive_ones(rope: str, length: int) -> None:
    config = tiny_config(rope_scaling=ROPES[rope], head_dim=16, rope_theta=3000.0)
    f, magnitude = frequencies(config, length)
    expected = [naive.frequency(pair, length, config) for pair in range(8)]
    assert f == pytest.approx(expected, rel=1e-14)
    assert magnitude == pytest.approx(naive.stretch(config), rel=1e-15)
    assert f.dtype == np.float64


@pytest.mark.parametrize("rope", ["llama3", "yarn"])
def test_the_tiny_configs_meet_every_band(rope: str) -> None:
    """Or the tests that use them would not see a fault in a band."""
    f, _ = frequencies(tiny_config(rope_scaling=ROPES[rope]), 5)
    slowing = base_frequencies(10000.0, 8) / f
    kept, slowed = slowing < 1.0001, slowing > ROPES[rope].factor * 0.9999
    assert kept.any() and slowed.any() and (~kept & ~slowed).any()


def test_dynamic_changes_nothing_within_the_context_and_stretches_beyond() -> None:
    config = tiny_config(rope_scaling=ROPES["dynamic"])
    f = base_frequencies(10000.0, 8)
    for length in (1, 63, 64):
        assert np.array_equal(frequencies(config, length)[0], f)
    longer, _ = frequencies(config, 128)
    assert longer[0] == 1.0  # the fastest pair is kept
    # With factor 3 and twice the context, the slowest pair turns 3·2 - (3 - 1) = 4 times slower.
    assert f[-1] / longer[-1] == pytest.approx(4.0, rel=1e-14)


def test_an_original_context_that_is_not_given_is_the_whole_context() -> None:
    for rope in ("llama3", "yarn"):
        given_, absent = ROPES[rope], replace(ROPES[rope], original_context=None)
        f, _ = frequencies(tiny_config(rope_scaling=replace(given_, original_context=64)), 5)
        assert np.array_equal(frequencies(tiny_config(rope_scaling=absent), 5)[0], f)


@pytest.mark.parametrize(
    "scaling, expected",
    [
        (RopeScaling("yarn", factor=4.0), 0.1 * math.log(4) + 1),
        (RopeScaling("yarn", factor=1.0), 1.0),
        (RopeScaling("yarn", factor=0.5), 1.0),
        (RopeScaling("yarn", factor=4.0, attention_factor=0.7), 0.7),
        (RopeScaling("yarn", factor=4.0, attention_factor=0.7, mscale=2.0, mscale_all_dim=1), 0.7),
        (RopeScaling("yarn", factor=math.e, mscale=2.0, mscale_all_dim=5.0), 1.2 / 1.5),
        (RopeScaling("yarn", factor=math.e, mscale=2.0), 1.1),  # both or none
        (RopeScaling("yarn", factor=math.e, mscale_all_dim=2.0), 1.1),
    ],
)
def test_the_attention_factor_of_yarn(scaling: RopeScaling, expected: float) -> None:
    assert yarn_attention_factor(scaling) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("rope", ROPES)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5000), st.integers(0, 2**32))
def test_scores_depend_on_the_relative_position_alone(
    rope: str, m: int, n: int, shift: int, seed: int
) -> None:
    f, magnitude = frequencies(tiny_config(rope_scaling=ROPES[rope]), 100)
    q, k = np.random.default_rng(seed).normal(size=(2, 1, 1, 8))

    def score(at: int, key_at: int) -> float:
        R = rotation_matrices(f, np.array([at, key_at]), magnitude, like=DOUBLE)
        return float(np.vdot(rotate(q, R[:1]), rotate(k, R[1:])))

    error = abs(score(m + shift, n + shift) - score(m, n))
    # The angles of position 5,500 are rounded by 5,500 · 2⁻⁵³ at most, four times over.
    assert error <= 5500 * 2**-51 * magnitude**2 * np.linalg.norm(q) * np.linalg.norm(k)


@pytest.mark.parametrize("rope", ROPES)
def test_the_table_of_a_model_has_its_frequencies_and_its_positions(rope: str) -> None:
    config = tiny_config(rope_scaling=ROPES[rope], max_context=8)
    f, magnitude = frequencies(config, 12)
    expected = rotation_matrices(f, np.arange(9, 12), magnitude, like=DOUBLE)
    assert np.array_equal(rotation_table(config, 9, 3, like=DOUBLE), expected)
