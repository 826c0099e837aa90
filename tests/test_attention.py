"""Attention: the textbook function against loops, and its blocked twin against the textbook."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.attention import attend, attend_blocked, causal_mask, softmax

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def random_qkv(
    L: int, S: int, K: int = 2, G: int = 3, hd: int = 4, seed: int = 0, dtype: Any = np.float64
) -> list[np.ndarray]:
    """Large enough that attention is far from uniform."""
    rng = np.random.default_rng(seed)
    shapes = [(L, K * G, hd), (K, S, hd), (K, S, hd)]
    return [rng.normal(0, 1.5, shape).astype(dtype) for shape in shapes]


def test_softmax_of_known_values() -> None:
    rows = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 4.0]]))
    assert softmax(rows)[0] == pytest.approx([1 / 8, 2 / 8, 5 / 8], rel=1e-14)
    assert softmax(rows)[1] == pytest.approx([0.3, 0.3, 0.4], rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_neither_overflows_nor_lets_the_masked_through(dtype: type) -> None:
    probs = softmax(np.array([[1e30, 1e30, -math.inf], [-1e30, -math.inf, -math.inf]], dtype))
    assert probs.tolist() == [[0.5, 0.5, 0], [1, 0, 0]]
    assert probs.dtype == dtype


@given(st.integers(-30, 30))
def test_softmax_does_not_see_a_shift(shift: int) -> None:
    scores = np.arange(12.0).reshape(3, 4) % 5  # small integers: the shift is exact
    assert np.array_equal(softmax(scores + shift), softmax(scores))


def test_the_mask_is_aligned_at_the_last_key() -> None:
    mask = causal_mask(2, 5, like=np.empty(0))
    assert mask.astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert np.array_equal(causal_mask(4, 4, like=np.empty(0)), np.tril(np.ones((4, 4), bool)))


@pytest.mark.parametrize("K, G", [(6, 1), (2, 3), (3, 2), (1, 6), (1, 1)])
@pytest.mark.parametrize("L, S", [(1, 1), (5, 5), (1, 6), (3, 7)])
def test_attend_equals_loops_over_heads_and_positions(K: int, G: int, L: int, S: int) -> None:
    q, k, v = random_qkv(L, S, K, G)
    heads = attend(q, k, v)
    assert heads.shape == (L, K * G, 4)
    for i, h in np.ndindex(L, K * G):
        seen = S - L + i + 1
        weights = [math.exp(q[i, h] @ k[h // G, j] / 2) for j in range(seen)]  # √hd = 2
        average = sum(w * v[h // G, j] for j, w in enumerate(weights)) / math.fsum(weights)
        assert heads[i, h] == pytest.approx(average, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("attention", [attend, attend_blocked])
def test_the_first_token_takes_the_first_value_and_equal_keys_their_mean(attention: Any) -> None:
    q, k, v = random_qkv(4, 4)
    assert attention(q, k, v)[0] == pytest.approx(np.repeat(v[:, 0], 3, axis=0), rel=1e-15)
    same = np.repeat(k[:, :1], 4, axis=1)
    assert attention(q, same, v)[3] == pytest.approx(np.repeat(v.mean(axis=1), 3, 0), abs=1e-14)


@pytest.mark.parametrize("dtype", TOLERANCE)
@given(
    L=st.integers(1, 12),
    past=st.integers(0, 9),
    K=st.integers(1, 3),
    G=st.integers(1, 3),
    block=st.integers(1, 15),
    seed=st.integers(0, 2**32),
)
def test_blocked_equals_textbook(
    dtype: str, L: int, past: int, K: int, G: int, block: int, seed: int
) -> None:
    q, k, v = random_qkv(L, L + past, K, G, seed=seed, dtype=dtype)
    blocked = attend_blocked(q, k, v, block=block)
    assert blocked.dtype == dtype
    assert blocked.shape == (L, K * G, 4)
    assert np.abs(blocked - attend(q, k, v)).max() <= TOLERANCE[dtype] * np.abs(v).max()


@pytest.mark.parametrize("attention", [attend, attend_blocked])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_too_large_for_exp_are_no_trouble(attention: Any, dtype: type) -> None:
    """And no warning: pytest makes one an error. The largest score alone decides here."""
    q, k, v = random_qkv(5, 5, dtype=dtype)
    heads = attention(q * 1000, k * 1000, v)
    assert np.isfinite(heads).all()
    assert np.abs(heads).max() <= np.abs(v).max() * 1.001


@pytest.mark.parametrize("attention", [attend, attend_blocked])
def test_the_inputs_are_left_as_they_were(attention: Any) -> None:
    """`attend_blocked` works in place, on its own arrays."""
    arrays = random_qkv(4, 6, K=1, G=1, hd=1)
    copies = [array.copy() for array in arrays]
    attention(*arrays)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


@pytest.mark.parametrize("attention", [attend, attend_blocked])
def test_a_key_after_the_query_is_never_seen(attention: Any) -> None:
    q, k, v = random_qkv(6, 6)
    before = attention(q, k, v)
    k[:, 4:], v[:, 4:] = 1e6, -1e6
    assert np.array_equal(attention(q, k, v)[:4], before[:4])


def peak_bytes(L: int) -> int:
    """What attend_blocked holds at most, beyond its input, for L tokens of 2 heads in float64."""
    q, k, v = random_qkv(L, L, K=1, G=2, hd=4)
    tracemalloc.start()
    try:
        attend_blocked(q, k, v)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_blocked_memory_grows_with_the_tokens_and_not_with_their_square() -> None:
    small, large = peak_bytes(1024), peak_bytes(2048)
    assert large <= 2.1 * small
    assert large < 2 * 2048 * 2048 * 8 / 10  # a tenth of one array of scores
