"""The model as other implementations compute it: in float32, bfloat16 or float16.

bfloat16 and float16 are emulated, the model's own code run on arrays that round: each result of an
arithmetic operation goes to the nearest number of the narrow format, while sums (matrix products,
means, softmax) are accumulated in float32, as processors do it. So whatever overrides a stage of
the model, a fault for one, is emulated too, and says nothing about it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...attention import attend, attend_blocked
from ...choices import CANDIDATE_DTYPES
from ...errors import InputError
from ...formats.storage.floats import bf16_to_f32, f32_to_bf16
from ...kv_cache import KVCache
from ...model import Llama
from ...rope import rotation_matrices
from ...rope_scaling import frequencies
from ...taps import Tap, no_tap
from .override import change_arrays, override

# Half the distance between neighbours, relative to the lower of them: the error of one rounding.
UNIT_ROUNDOFF = {
    "float64": 2.0**-24,  # a golden is stored rounded to float32: no finer than that can be seen
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
MEASURED = ("float32", "bfloat16", "float16")  # the dtypes whose floors a bundle records


def check_dtype(dtype: str) -> str:
    """The dtype itself. Raises InputError for one that has no floors."""
    if dtype not in CANDIDATE_DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(CANDIDATE_DTYPES)}")
    return dtype


def round_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Each value to the nearest bfloat16, ties to even, kept as float32."""
    return bf16_to_f32(f32_to_bf16(np.asarray(x, np.float32))).reshape(x.shape)


def round_to_float16(x: np.ndarray) -> np.ndarray:
    """Each value to the nearest float16, ties to even, kept as float32; beyond 65504 infinite.

    Beside m = 1.5 · 2¹³ · 2ᵉ, float32 has no digits below those that float16 has of a number of
    the exponent e: x + m - m is rounded. Several times faster than NumPy's conversion.
    """
    x = np.asarray(x, np.float32)
    with np.errstate(invalid="ignore"):  # of NaN, which stays NaN
        power = (x.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)  # 2ᵉ
        m = np.clip(power, np.float32(2.0**-14), np.float32(2.0**16)) * np.float32(1.5 * 2**13)
        rounded = np.abs((x + m) - m)
        rounded[rounded > 65504] = np.inf
    return np.copysign(rounded, x)


# Operations whose result a narrow implementation stores. What is not here is the inside of a
# statistic, a softmax or a Swish: it stays in float32 until it meets a narrow array again.
STORED = (np.add, np.subtract, np.multiply, np.divide, np.matmul)
# How a kind of array computes an operation in its own way: by the ufunc and its method.
Ways = dict[tuple[np.ufunc, str], Callable[..., np.ndarray]]
MADE_LIKE = (np.asarray, np.array, np.zeros, np.ones, np.empty, np.full)


class Narrow(np.ndarray):
    """An array of float32 whose values are all of a narrower format, and that keeps them so."""

    grid: Callable[[np.ndarray], np.ndarray]
    stored: tuple[np.ufunc, ...] = STORED
    ways: Ways = {}

    @classmethod
    def of(cls, x: np.ndarray) -> "Narrow":
        """The values of `x`, rounded."""
        return cls.grid(np.asarray(x)).view(cls)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        def plain(x: Any) -> Any:
            if not isinstance(x, np.ndarray):
                return x
            # A product reads its factors in the narrow format, probabilities for one.
            rounded = isinstance(x, Narrow) and x.stored is STORED
            x = x.view(np.ndarray)
            return self.grid(x) if ufunc is np.matmul and not rounded else x

        out = kwargs.pop("out", None)
        compute = self.ways.get((ufunc, method), getattr(ufunc, method))
        result = compute(*map(plain, inputs), **kwargs)
        stored = method == "__call__" and ufunc in self.stored
        if out is None:
            if method == "__call__" and ufunc in STORED:
                return self.of(result) if stored else result.view(type(self))
            return result
        out[0][...] = self.of(result) if stored or isinstance(out[0], Narrow) else result
        return out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in MADE_LIKE:
            return super().__array_function__(func, types, args, kwargs)
        made = func(*args, **kwargs)  # np.zeros(…, like=narrow) and its kin
        return self.of(made) if made.dtype.kind == "f" else made


class BFloat16(Narrow):
    """8 bits of significand, the exponents of float32."""

    grid = staticmethod(round_to_bfloat16)


class Float16(Narrow):
    """11 bits of significand, exponents that end at 65504."""

    grid = staticmethod(round_to_float16)


class AnglesInFloat32(Llama):
    """RoPE's angles in float32, as nearly everyone computes them, and not in float64 as we do."""

    def rotations(self, start: int, L: int) -> np.ndarray:
        f, magnitude = frequencies(self.config, start + L)
        return rotations_in_float32(f, start, L, magnitude, self.weights.tok_embeddings)


def rotations_in_float32(
    f: np.ndarray, start: int, L: int, magnitude: float, like: np.ndarray
) -> np.ndarray:
    """Rotation matrices whose angles were computed in float32 (in float64 for a float64 model)."""
    wide = np.float64 if like.dtype == np.float64 else np.float32
    positions = np.arange(start, start + L, dtype=wide)
    return rotation_matrices(f.astype(wide), positions, magnitude, like)


def emulating(kind: type[Narrow]) -> type[Llama]:
    """The override for a model of `kind`: what it shows to a tap is rounded, as if stored."""

    class Emulated(AnglesInFloat32):
        def forward(
            self,
            tokens: Sequence[int] | np.ndarray,
            cache: KVCache | None = None,
            tap: Tap = no_tap,
            last_only: bool = False,
        ) -> np.ndarray:
            def rounded(name: str, array: np.ndarray) -> None:
                tap(name, kind.grid(np.asarray(array)))

            return super().forward(tokens, cache, rounded, last_only)

    return Emulated


def in_dtype(model: Llama, dtype: str) -> Llama:
    """The model as an implementation in `dtype` computes it; float64 is the truth itself.

    Its layers are converted when they are asked for, so that no second copy of the weights stays.
    """
    check_dtype(dtype)
    if dtype == "float64":
        return change_arrays(model, lambda w: w.astype(np.float64, copy=False))
    single = change_arrays(model, lambda w: w.astype(np.float32, copy=False))
    if dtype == "float32":
        return override(single, AnglesInFloat32)
    kind = BFloat16 if dtype == "bfloat16" else Float16
    if single.attention is attend_blocked:  # it works in place, and keeps no probabilities
        single = dataclasses.replace(single, attention=attend)
    return override(change_arrays(single, kind.of), emulating(kind))
