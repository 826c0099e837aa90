"""A matrix that stays in its file: products with it are those with the whole.

The numbers are small integers, whose sums are exact in any order: so no BLAS decides a test.
"""

import numpy as np
import pytest

from numpy_llama.formats.storage.floats import f32_to_bf16
from numpy_llama.loading.streamed_matrix import StreamedMatrix, block_rows
from numpy_llama.loading.threads import OWN

COLUMNS = 2048
RNG = np.random.default_rng(0)


def integers(*shape: int) -> np.ndarray:
    return RNG.integers(-8, 9, shape).astype(np.float32)


def stored(rows: int, kind: str, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """A random matrix: its bits, and its values as NumPy alone reads them."""
    values = integers(rows, columns)
    if kind == "F16":
        return values.astype(np.float16), values.astype(np.float16).astype(np.float32)
    bits = f32_to_bf16(values)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def with_workers(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setenv(OWN, str(n))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_a_product_is_that_of_the_whole_matrix(
    monkeypatch: pytest.MonkeyPatch, kind: str, dtype: str, workers: int, wide: bool
) -> None:
    """Row counts that the blocks divide, that leave one row over, and less than a block.

    In both orders, whichever is the faster one for this machine's kernel; of float64, which is the
    reference, always in that of a whole matrix.
    """
    monkeypatch.setattr("numpy_llama.loading.streamed_matrix.is_wide", lambda: wide)
    with_workers(monkeypatch, workers)
    for rows in (1, 100, 1024, 1025, 1407):
        bits, values = stored(rows, kind)
        matrix = StreamedMatrix(bits, kind, np.dtype(dtype))
        for L in (1, 2, 3, 5, 16):
            x = integers(L, COLUMNS).astype(dtype)
            product = x @ matrix.T
            assert product.dtype == dtype and product.shape == (L, rows)
            np.testing.assert_array_equal(product, x @ values.T, f"{rows} rows, L = {L}")
            turned = product.flags.f_contiguous and not product.flags.c_contiguous
            assert turned == (wide and dtype == "float32" and L > 1 and rows > 1)


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_all_values_are_expanded_exactly(kind: str) -> None:
    """All 65,536 of them, NaN and infinities included, as bits."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(64, -1)
    if kind == "F16":
        expected = bits.view(np.float16).astype(np.float32)
    else:
        expected = (bits.astype(np.uint32) << 16).view(np.float32)
    stored_bits = bits.view(np.float16) if kind == "F16" else bits
    found = np.asarray(StreamedMatrix(stored_bits, kind, np.dtype("float32")))
    np.testing.assert_array_equal(found, expected)
    nan = np.isnan(expected)
    assert (found.view(np.uint32) == expected.view(np.uint32))[~nan].all() and nan.any()


def test_nan_and_infinity_go_into_their_own_columns() -> None:
    bits, values = stored(300, "BF16")
    bits[7, 3], bits[290, 4] = 0x7FC0, 0xFF80
    product = np.ones((1, COLUMNS), np.float32) @ StreamedMatrix(bits, "BF16", values.dtype).T
    assert np.isnan(product[0, 7]) and product[0, 290] == -np.inf
    assert np.count_nonzero(~np.isfinite(product)) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_of_rows_is_another(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    with_workers(monkeypatch, workers)
    bits, values = stored(1000, "BF16")
    order = RNG.permutation(1000)
    matrix = StreamedMatrix(bits, "BF16", np.dtype("float32"), order)
    x = integers(2, COLUMNS)
    np.testing.assert_array_equal(np.asarray(matrix), values[order])
    np.testing.assert_array_equal(x @ matrix.T, x @ values[order].T)
    assert np.asarray(matrix, np.float64).dtype == np.float64


def test_a_block_is_neither_too_small_for_the_blas_nor_too_large() -> None:
    for columns in (64, 576, 4096, 5000, 11008):
        for L in (1, 2, 3, 16, 512, 5000):
            rows = block_rows(L, columns)
            assert rows % 64 == 0
            assert L == 1 or L * rows * columns > 1e6
            assert rows * columns <= max(2 * (1 << 20), 64 * columns, 576 * columns)


def test_another_shape_is_refused() -> None:
    matrix = StreamedMatrix(stored(8, "F16")[0], "F16", np.dtype("float32"))
    with pytest.raises(ValueError, match="inner lengths differ"):
        np.ones((2, COLUMNS - 1), np.float32) @ matrix.T
    with pytest.raises(ValueError, match="view"):
        np.array(matrix, copy=False)
