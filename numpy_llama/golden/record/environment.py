"""What a golden was recorded with. Its bits should not depend on it; this helps when they do."""

import ctypes
import os
import platform
from pathlib import Path

import numpy as np


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


def blas_name() -> str:
    """The BLAS that NumPy was built with."""
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return "unknown"


def cpu_name() -> str:
    """The processor, as it calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def environment() -> dict[str, str]:
    """Software, BLAS and its kernel, CPU."""
    return {
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": blas_name(),
        "kernel": blas_kernel(),
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
    }
