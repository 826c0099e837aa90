"""An array like CuPy's where it matters: so a machine without a GPU guards the swap.

It answers NumPy's protocols (NEP 13, 18, 35) as CuPy 14 does, and as there, its reductions give
arrays of no dimension, and an index out of range wraps. It is stricter in this: nothing but an
explicit `get` brings it to the host, not even `float(x)` (which makes a GPU wait); no host array
mixes with it, not even NumPy's scalars (which would promote float32); and it knows no functions
but those below, which CuPy has.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

# Made with `like=`: the one door for host arrays. tests/gpu asks CuPy whether it has them all.
CREATORS = {"arange", "array", "asarray", "empty", "full", "ones", "zeros"}
FUNCTIONS = {"concatenate", "empty_like", "mean", "ones_like", "stack", "where", "zeros_like"}
UFUNCS = {"add", "divide", "exp", "less_equal", "matmul", "maximum", "multiply", "negative"} | {
    "sqrt",
    "square",
    "subtract",
}


class StandIn(NDArrayOperatorsMixin):
    """An array on a device that does not exist."""

    def __init__(self, host: Any):
        self._host = np.asarray(host)

    def get(self) -> np.ndarray:
        """A copy on the host: the only way there."""
        return self._host.copy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("implicit conversion of a device array to the host")

    def __float__(self) -> float:
        raise TypeError("a device array as a number: the GPU would have to wait")

    __int__ = __bool__ = __index__ = __iter__ = __float__  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in UFUNCS:
            return NotImplemented
        out = options.pop("out", None)
        if out is not None:
            options["out"] = tuple(unwrap(array) for array in out)
        result = ufunc(*[unwrap(value) for value in inputs], **options)
        return StandIn(result) if out is None else out[0]

    def __array_function__(self, func: Callable, types: Any, args: Any, options: Any) -> Any:
        if func.__name__ in CREATORS:
            return StandIn(func(*args, **options))
        if func.__name__ not in FUNCTIONS:
            return NotImplemented
        return StandIn(func(*[unwrap(value) for value in args], **options))

    def __getitem__(self, index: Any) -> "StandIn":
        if isinstance(index, StandIn):
            return StandIn(np.take(self._host, index._host, axis=0, mode="wrap"))
        return StandIn(self._host[device_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[device_index(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self._host)

    @property
    def T(self) -> "StandIn":
        return StandIn(self._host.T)

    def __getattr__(self, name: str) -> Any:
        """What the model may ask of an array: its shape and dtype, and a few methods."""
        if name in ("shape", "dtype", "ndim", "size", "nbytes"):
            return getattr(self._host, name)
        if name in ("reshape", "transpose", "swapaxes", "astype", "max", "mean", "sum", "copy"):
            method = getattr(self._host, name)
            return lambda *args, **options: StandIn(method(*args, **unwrap_out(options)))
        raise AttributeError(f"the stand-in array has no {name}")


def unwrap(value: Any) -> Any:
    """The host array in a StandIn; a Python number as it is; a list of either; nothing else."""
    if isinstance(value, StandIn):
        return value._host
    if type(value) in (bool, int, float):
        return value
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    raise TypeError(f"a device array does not mix with {type(value).__name__} of the host")


def unwrap_out(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a method; an array to write to is on the device as well."""
    return {k: unwrap(v) if k == "out" else v for k, v in options.items()}


def device_index(index: Any) -> Any:
    """Integers, slices, None and … as they are. A host array would be copied over silently."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if not (part is None or part is Ellipsis or type(part) in (int, slice)):
            raise TypeError(f"a device array is not indexed with {type(part).__name__}")
    return index
