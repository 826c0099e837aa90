"""A matrix that stays in its file as 16-bit floats: a product expands it a block of rows at a time.

A block stays in the processor's cache, where it is expanded and multiplied at once; the whole
matrix would be written to memory, and read back. The blocks are shared among threads, where the
BLAS has one (see threads.py). The result is that of the whole matrix, but for rounding.
"""

from typing import Any

import numpy as np

from ..backend import Array
from ..formats.storage.floats import bf16_to_f32, f16_to_f32
from .blas import is_wide
from .parallel import in_parallel
from .threads import own_threads

TO_F32 = {"BF16": bf16_to_f32, "F16": f16_to_f32}
EDGE = 64  # rows; a multiple of what the kernels of BLAS take at a time
# Elements of a block: 4 MB as float32. In smaller ones the threads wait for each other between the
# steps; and a product of up to 10⁶ multiplications the BLAS sums in another order than others.
BLOCK = 1 << 20
MOST = 512  # rows of a block for many rows of x
FEW = 128  # rows of x, up to which OpenBLAS's kernels for AVX-512 are faster for w xᵀ: twice for 16


def block_rows(x_rows: int, columns: int) -> int:
    """How many rows of a matrix are expanded at a time."""
    return EDGE * -(-max(-(-BLOCK // columns), min(x_rows, MOST)) // EDGE)


def in_full(argument: Any) -> Any:
    """An argument of a function of NumPy, streamed matrices in it as arrays."""
    if isinstance(argument, list | tuple):
        return type(argument)(map(in_full, argument))
    return np.asarray(argument) if isinstance(argument, StreamedMatrix) else argument


class StreamedMatrix:
    """A stored matrix (out, in) that is used as `x @ matrix.T`, or as a table: `matrix[ids]`.

    bits: as stored, "BF16" (in uint16) or "F16"; order: which row of it is each of ours. dtype:
    that of the computation. `np.asarray` gives all of it.
    """

    def __init__(
        self, bits: np.ndarray, stored: str, dtype: np.dtype, order: np.ndarray | None = None
    ):
        self.bits, self.stored, self.dtype, self.order = bits, stored, dtype, order
        self.shape = bits.shape

    @property
    def T(self) -> "Transposed":  # noqa: N802
        """What a product takes."""
        return Transposed(self)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Some of the rows: ids, or a slice."""
        return self.rows(rows)

    def rows(self, rows: Any, buffer: np.ndarray | None = None) -> np.ndarray:
        """Those of a slice or of ids: in `buffer`, float32, where it is float32 that is asked."""
        bits = self.bits[rows if self.order is None else self.order[rows]]
        out = None if buffer is None else buffer[: bits.size].reshape(bits.shape)
        return TO_F32[self.stored](bits, out).astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a streamed matrix has no array of which to give a view")
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """An array made `like` this one is NumPy's own; other functions see all of it."""
        return function(*in_full(args), **{name: in_full(value) for name, value in kwargs.items()})


class Transposed:
    """(in, out): the right side of a product."""

    __array_ufunc__ = None  # so NumPy leaves `x @` to `__rmatmul__`

    def __init__(self, matrix: StreamedMatrix):
        self.matrix = matrix

    def __rmatmul__(self, x: Array) -> Array:
        """x (L, in) times it: (L, out)."""
        matrix = self.matrix
        n, columns = matrix.shape
        if x.ndim != 2 or x.shape[1] != columns:
            raise ValueError(f"{x.shape} @ {(columns, n)}: the inner lengths differ")
        height = block_rows(len(x), columns)
        firsts = [*range(0, max(n - height, 0) + 1, height)]  # the last takes what is left over
        lasts = [*firsts[1:], n]
        workers = min(own_threads(), len(firsts))
        few = 1 < len(x) <= FEW and x.dtype == matrix.dtype == np.float32 and is_wide()
        x_t = np.ascontiguousarray(x.T) if few else None
        y_t = np.empty((n, len(x)), np.result_type(x, matrix.dtype), order="C" if few else "F")

        def share(worker: int) -> None:
            """Every so manieth block, from the worker's own."""
            buffer = np.empty(min(2 * height, n) * columns, np.float32)
            for i in range(worker, len(firsts), workers):
                first, last = firsts[i], lasts[i]
                w = matrix.rows(slice(first, last), buffer)
                y_t[first:last] = w @ x_t if few else (x @ w.T).T

        in_parallel(share, workers)
        return y_t.T
