"""The OpenBLAS of this NumPy, and its kernel: that decides float32's bits, and the speed."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

# OpenBLAS's kernels with vectors of 512 bits.
WIDE = ("skylakex", "cooperlake", "sapphirerapids")


def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS that NumPy's wheels bring along, if this NumPy has it."""
    package = Path(np.__file__).parent
    places = (package.parent / "numpy.libs", package / ".dylibs")
    found = [file for place in places for file in sorted(place.glob("libscipy_openblas64_*"))]
    try:
        return ctypes.CDLL(str(found[0])) if found else None
    except OSError:
        return None


def blas_kernel() -> str:
    """For which CPU OpenBLAS computes, and with how many threads: that decides float32's bits."""
    library = openblas()
    try:
        assert library is not None
        name = library.scipy_openblas_get_corename64_
        name.restype = ctypes.c_char_p
        return f"{name().decode()}, {library.scipy_openblas_get_num_threads64_()} threads"
    except (AssertionError, AttributeError):
        return "unknown"


@cache
def is_wide() -> bool:
    """Whether OpenBLAS has one of its kernels for AVX-512."""
    return blas_kernel().partition(",")[0].lower() in WIDE


def has_avx512() -> bool:
    """Whether the processor has vectors of 512 bits, whatever the BLAS uses of them."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return any(name == "X86_V4" or name.startswith("AVX512") for name in found)
