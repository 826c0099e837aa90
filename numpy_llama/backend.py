"""Where arrays live: on the host, or with CuPy on a GPU.

The model does not know. It calls NumPy, and NumPy's own protocols hand the call to the library
whose arrays it is given: NEP 13 for ufuncs, NEP 18 for functions, and `like=` of NEP 35 for the
few arrays that the model makes itself. So a model whose weights are on the GPU runs there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .choices import DEVICES
from .errors import InputError, LlamaError, MissingExtraError

Array = npt.NDArray[Any]  # NumPy's, or another library's that answers NumPy's protocols


@dataclass(frozen=True)
class Backend:
    """One place where arrays live."""

    name: str  # "cpu" or "cuda"
    to_device: Callable[[np.ndarray], Any]  # from the host; the dtype stays


CPU = Backend("cpu", np.asarray)


def to_host(array: Any) -> np.ndarray:
    """The array as NumPy's. CuPy copies to the host only when asked by name: `get`."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def open_cuda() -> Backend:
    """The first GPU, through CuPy. Raises MissingExtraError, or InputError where no GPU works."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise MissingExtraError("cupy-cuda12x[ctk]", "device cuda") from error
    try:
        # A matrix product needs all that can be missing: driver, compiler, matrix library.
        cupy.matmul(cupy.ones((2, 2), np.float32), cupy.ones((2, 2), np.float32)).get()
    except Exception as error:  # CuPy has a dozen types for it, and none in common
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"device cuda cannot be used ({reason}): mend the CUDA installation, or use device cpu"
        ) from error
    return Backend("cuda", cupy.asarray)


def open_device(name: str) -> Backend:
    """The device "cpu" or "cuda"; "auto" is cuda where that can be used, else cpu.

    Raises InputError for another name, and where cuda is asked for and cannot be used;
    MissingExtraError where CuPy is not installed.
    """
    if name not in DEVICES:
        raise InputError(f"device {name!r} is not known; known are {', '.join(DEVICES)}")
    if name == "cpu":
        return CPU
    try:
        return open_cuda()
    except LlamaError:
        if name == "cuda":
            raise
        return CPU
