"""RoPE: frequencies, angles, rotations and the two layouts, each against another way to say it."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.rope import (
    adjacent,
    adjacent_rows,
    base_frequencies,
    half_split,
    half_split_rows,
    rotate,
    rotate_by_matmul,
    rotation_matrices,
)

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
DOUBLE = np.empty(0, np.float64)


def table(f: np.ndarray, positions: list[int], magnitude: float = 1.0) -> np.ndarray:
    return rotation_matrices(f, np.array(positions), magnitude, like=DOUBLE)


def test_base_frequencies_are_a_geometric_series_from_one() -> None:
    assert base_frequencies(10000.0, 8) == pytest.approx([1, 0.1, 0.01, 0.001], rel=1e-15)
    assert base_frequencies(500000.0, 2).tolist() == [1.0]


def exact_angle(theta: int, pair: int, hd: int, position: int) -> float:
    """position · θ^(-2·pair/hd) modulo 2π, with 50 digits."""
    with localcontext(prec=50):
        power = -Decimal(2 * pair) / hd * Decimal(theta).ln()
        return float(position * power.exp() % (2 * PI))


@pytest.mark.parametrize("position", [0, 1, 131071, 1_000_000])
def test_angles_are_precise_far_out(position: int) -> None:
    """Bound: two roundings of a float64 angle. In float32 it would be 5e8 times as large."""
    hd, theta = 64, 500000
    f = base_frequencies(float(theta), hd)
    R = table(f, [position])[0]
    for pair in range(hd // 2):
        angle = exact_angle(theta, pair, hd, position)
        cos, sin = math.cos(angle), math.sin(angle)
        bound = 2**-52 * (2 * position * f[pair] + 2)
        assert np.abs(R[pair] - [[cos, -sin], [sin, cos]]).max() <= bound


def test_float32_tables_are_float64_tables_rounded_once() -> None:
    f = base_frequencies(10000.0, 8)
    R = rotation_matrices(f, np.arange(100_000, 100_050), 1.3, like=np.empty(0, np.float32))
    assert R.dtype == np.float32
    assert R.shape == (50, 4, 2, 2)
    assert np.array_equal(R, table(f, list(range(100_000, 100_050)), 1.3).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_the_fast_rotation_is_the_matrix_product(
    dtype: type, seed: int, L: int, heads: int, half: int
) -> None:
    """Up to one rounding: a matrix product may multiply and add in one step."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(L, heads, 2 * half)).astype(dtype)
    R = rng.normal(size=(L, half, 2, 2)).astype(dtype)
    pairs = np.abs(x.reshape(L, heads, half, 1, 2))
    size = (np.abs(R)[:, None] * pairs).sum(axis=-1).reshape(x.shape)
    error = np.abs(rotate(x, R) - rotate_by_matmul(x, R))
    assert (error <= 2 * np.finfo(dtype).eps * size).all()
    assert rotate(x, R).dtype == rotate_by_matmul(x, R).dtype == dtype


def test_a_pair_turns_as_a_complex_number_does() -> None:
    rng = np.random.default_rng(0)
    x, f = rng.normal(size=(3, 2, 8)), base_frequencies(100.0, 8)
    turned = rotate(x, table(f, [4, 5, 6]))
    for i, h, pair in np.ndindex(3, 2, 4):
        z = complex(*x[i, h, 2 * pair : 2 * pair + 2]) * np.exp(1j * (4 + i) * f[pair])
        assert turned[i, h, 2 * pair : 2 * pair + 2] == pytest.approx([z.real, z.imag], abs=1e-14)


def test_position_zero_turns_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 8))
    assert np.array_equal(rotate(x, table(base_frequencies(1e4, 8), [0])), x)


def test_the_layouts_by_example() -> None:
    rows = np.arange(6)
    assert adjacent_rows(rows, 1).tolist() == [0, 3, 1, 4, 2, 5]
    assert half_split_rows(rows, 1).tolist() == [0, 2, 4, 1, 3, 5]
    assert adjacent_rows(np.arange(8), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))
def test_the_layouts_of_heads_are_those_of_the_rows_that_make_them(
    L: int, heads: int, half: int
) -> None:
    """A weight's rows, re-ordered, give heads whose features are re-ordered."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(9, size=(L, 5)), rng.integers(9, size=(heads * 2 * half, 5))
    theirs = (x @ w.T).reshape(L, heads, -1)
    ours = (x @ adjacent_rows(w, heads).T).reshape(L, heads, -1)
    assert np.array_equal(adjacent(theirs), ours)
    assert np.array_equal(half_split(ours), theirs)


@given(st.integers(1, 4), st.integers(1, 6), st.lists(st.integers(1, 4), max_size=1))
def test_the_layouts_are_inverse_for_matrices_and_biases(
    heads: int, half: int, columns: list[int]
) -> None:
    shape = (heads * 2 * half, *columns)
    w = np.arange(math.prod(shape)).reshape(shape)
    assert np.array_equal(half_split_rows(adjacent_rows(w, heads), heads), w)
    assert np.array_equal(adjacent_rows(half_split_rows(w, heads), heads), w)


def test_each_layout_has_its_own_rotation_and_the_same_scores() -> None:
    """In halves, pair i is (xᵢ, xᵢ₊ₕ): turned so, features permuted back are ours."""
    rng = np.random.default_rng(0)
    halves, f = rng.normal(size=(2, 8)), base_frequencies(100.0, 8)  # 2 heads
    angle = 3 * f
    a, b = halves[:, :4], halves[:, 4:]
    turned = np.concatenate(
        [a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=1
    )
    ours = adjacent_rows(halves.reshape(16), 2).reshape(1, 2, 8)
    assert rotate(ours, table(f, [3]))[0].reshape(16) == pytest.approx(
        adjacent_rows(turned.reshape(16), 2), abs=1e-14
    )
