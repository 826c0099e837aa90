"""What a golden was recorded with. Its bits should not depend on it; this helps when they do."""

import os
import platform
from pathlib import Path

import numpy as np

from ...loading.blas import blas_kernel


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
