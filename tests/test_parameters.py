"""The weights: which of them RoPE rotates, and the two ways to use one."""

import numpy as np
import pytest

from numpy_llama.parameters import linear, lookup, rotated_heads
from tests.models import tiny_config


@pytest.mark.parametrize(
    "name, heads",
    [("layers.2.wq", 6), ("layers.0.bq", 6), ("layers.1.wk", 2), ("bk", 2)]
    + [("layers.0.wv", 0), ("layers.0.wo", 0), ("layers.0.attn_norm", 0), ("lm_head", 0)],
)
def test_queries_and_keys_are_rotated_and_nothing_else(name: str, heads: int) -> None:
    assert rotated_heads(name, tiny_config()) == heads


def test_linear_by_hand() -> None:
    x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]])
    assert linear(x, w).tolist() == [[11.0, 17.0, 2.0]]
    assert linear(x, w, np.array([1.0, 0.0, -2.0])).tolist() == [[12.0, 17.0, 0.0]]


def test_lookup_takes_rows() -> None:
    table = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    rows = lookup(np.array([2, 0, 2]), table)
    assert rows.tolist() == [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    assert rows.dtype == np.float32
