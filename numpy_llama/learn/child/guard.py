"""What may be wrong with how a learner's function gives its result, before the numbers count."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


class NotRight(Exception):
    """What a function gave cannot be used: the sentence says why."""

    def __init__(self, function: str, sentence: str):
        super().__init__(sentence)
        self.function = function


def as_array(name: str, result: Any) -> np.ndarray:
    """What a function returned, as float64. Raises NotRight for what is no array of numbers."""
    if result is None:
        raise NotRight(name, f"{name} returned nothing: does it end with `return`?")
    try:
        array = np.asarray(result)
        if array.dtype.kind == "c":
            raise NotRight(name, f"{name} returned complex numbers: give their real and imag parts")
        return array.astype(np.float64)
    except (TypeError, ValueError):
        kind = type(result).__name__
        raise NotRight(name, f"{name} returned no array of numbers, but a {kind}") from None


def checked(module: ModuleType, name: str) -> Callable[..., np.ndarray]:
    """A function of the module, called with the shape that it must give, then its arguments.

    Raises NotRight if it gives another shape or no numbers, or changes an array that it was given.
    """
    function = getattr(module, name)

    def call(shape: tuple[int, ...], *given: Any) -> np.ndarray:
        arrays = [one for one in given if isinstance(one, np.ndarray)]
        before = [one.copy() for one in arrays]
        result = as_array(name, function(*given)).copy()
        if not all(map(np.array_equal, arrays, before)):
            raise NotRight(
                name,
                f"{name} changes an array that it was given, which others still need: make a new "
                "one (x = x + 1 does, x += 1 does not)",
            )
        if result.shape != shape:
            raise NotRight(name, f"{name} returned the shape {result.shape}; it must be {shape}")
        return result

    return call
