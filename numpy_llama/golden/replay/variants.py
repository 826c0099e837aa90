"""Equally right ways to compute a model in a dtype: what they differ by is noise, and no mistake.

A float has no one right sum: each order of the terms, each place of a factor, each accumulator
gives other last digits. So a floor is the *largest* error of a few ways that are as far apart as
right programs are. The ways are kinds of array: the model's own code runs on them, and each says
itself what a product, a sum and a quotient are.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...attention import attend, causal_mask
from ...config import LlamaConfig
from ...formats.checkpoint import expected_shapes
from ...model import Llama
from ...rope import base_frequencies
from ...rope_scaling import frequencies, llama3_frequencies
from ...taps import Tap, no_tap
from .override import override
from .precision import BFloat16, Float16, Narrow, Ways, in_dtype, rotations_in_float32

HELD = 1 << 28  # weights: 1 GiB as float32

# — other orders —


def spread(n: int, ratio: float) -> np.ndarray:
    """A permutation that parts neighbours: 0, s, 2s, … modulo n, with s near ratio · n."""
    step = round(ratio * n) or 1
    while math.gcd(step, n) > 1:
        step += 1
    return np.arange(n) * step % n


def product_spread(ratio: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """a b, its terms added in the order `spread`: features, keys, D or F."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        order = spread(a.shape[-1], ratio)
        columns = b.swapaxes(-1, -2).take(order, -1)  # a weight is (out, in): along its rows
        return a.take(order, -1) @ columns.swapaxes(-1, -2)

    return product


def sum_in_turn(a: np.ndarray, axis: int = -1, keepdims: bool = False, **_: Any) -> np.ndarray:
    """Σ a, one term after the other, as a plain loop adds. NumPy adds in pairs."""
    return np.add.accumulate(a, axis=axis).take([-1] if keepdims else -1, axis=axis)


def times_reciprocal(a: Any, b: Any, **_: Any) -> np.ndarray:
    """a / b as a · (1 / b): x · rsqrt(…) in a norm, z · σ(z) for SiLU, q·k times 1/√hd."""
    return a * (1 / b)


PRODUCT, SUM, QUOTIENT = (np.matmul, "__call__"), (np.add, "reduce"), (np.divide, "__call__")

IN_TURN: Ways = {PRODUCT: product_spread(0.618), SUM: sum_in_turn, QUOTIENT: times_reciprocal}
APART: Ways = {PRODUCT: product_spread(0.414), QUOTIENT: times_reciprocal}
FURTHER: Ways = {PRODUCT: product_spread(0.268), SUM: sum_in_turn}


class Float32(np.ndarray):
    """float32 arrays that compute some operations in their own way; so do all that come of them."""

    ways: Ways = {}

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Float32) else x for x in inputs]
        out = kwargs.pop("out", None)
        compute = self.ways.get((ufunc, method), getattr(ufunc, method))
        result = compute(*plain, **kwargs)
        if out is not None:
            out[0].view(np.ndarray)[...] = result
            return out[0]
        return result.view(type(self)) if isinstance(result, np.ndarray) else result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        made = super().__array_function__(func, types, args, kwargs)
        return made.view(type(self)) if isinstance(made, np.ndarray) else made


# — other places of a factor —


def attend_unnormalised(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap
) -> np.ndarray:
    """`attend` with the scale on q, and divided by Σ eˢ at the end, as fused attention does.

    heads = (e^(mask(q/√hd kᵀ) - max) v) / Σ e^…
    """
    L, H, hd = q.shape
    K, S, _ = k.shape
    grouped = (q / math.sqrt(hd)).transpose(1, 0, 2).reshape(K, -1, hd)
    scores = (grouped @ k.transpose(0, 2, 1)).reshape(H, L, S)
    tap("scores", scores)
    seen = np.where(causal_mask(L, S, like=q), scores, -math.inf)
    weights = np.exp(seen - seen.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)  # (H, L, 1)
    tap("probs", weights / total)
    heads = (weights.reshape(K, -1, S) @ v).reshape(H, L, hd) / total
    return heads.transpose(1, 0, 2)


def frequencies_in_float32(config: LlamaConfig, length: int) -> tuple[np.ndarray, float]:
    """`frequencies` in float32 from the beginning: θ's power, and the scaling of it."""
    theta, hd, scaling = config.rope_theta, config.head_dim, config.rope_scaling
    exact, magnitude = frequencies(config, length)
    power = np.float32(theta) ** (np.arange(0, hd, 2, dtype=np.float32) / np.float32(hd))
    if scaling.type == "llama3":  # a difference of near numbers, so that roundings grow
        context = scaling.original_context or config.max_context
        return llama3_frequencies(1 / power, scaling, context), magnitude
    return 1 / power * (exact / base_frequencies(theta, hd)).astype(np.float32), magnitude


class FrequenciesInFloat32(Llama):
    """RoPE as transformers computes it: frequencies and angles in float32."""

    def rotations(self, start: int, L: int) -> np.ndarray:
        f, magnitude = frequencies_in_float32(self.config, start + L)
        return rotations_in_float32(f, start, L, magnitude, self.weights.tok_embeddings)


# — other places of a rounding —

# What a fused kernel rounds: the outcome of a sum that is stored, not what comes before it.
ONLY_SUMS = (np.add, np.subtract)


def beginning_with(model: Llama, kind: type[np.ndarray]) -> Llama:
    """The model on arrays of this kind: its embeddings are, so all is that is computed of them."""
    w = model.weights
    weights = dataclasses.replace(w, tok_embeddings=w.tok_embeddings.view(kind))
    return dataclasses.replace(model, weights=weights)


def is_large(model: Llama) -> bool:
    """Whether a second copy of its weights could be too much."""
    return sum(math.prod(shape) for _, shape in expected_shapes(model.config)) > HELD


def held(model: Llama) -> Llama:
    """The model, its layers converted once for all ways; not those of a large one."""
    w = model.weights
    if is_large(model):
        return model
    return dataclasses.replace(
        model, weights=dataclasses.replace(w, layers=[w.layers[i] for i in range(len(w.layers))])
    )


def way(
    model: Llama,
    kind: type[Float32] | type[Narrow],
    ways: Ways,
    attention: Callable[..., np.ndarray] = attend,
    **changes: Any,
) -> Llama:
    """The model on arrays of `kind` that compute in these ways, and RoPE from float32."""
    other = type(kind.__name__, (kind,), {"ways": ways, **changes})
    changed = override(beginning_with(model, other), FrequenciesInFloat32)
    return dataclasses.replace(changed, attention=attention)


def variants(model: Llama, dtype: str) -> Iterator[Llama]:
    """The model in each of the equally right ways at this dtype, its own first.

    Few, and measured to be enough: tests/oracle/test_right_programs.py, docs/golden.md.
    """
    model = in_dtype(model, dtype)
    if dtype == "float64":  # the truth itself, in one way
        yield model
        return
    if dtype == "float32":
        yield model
        yield way(model, Float32, IN_TURN)
        yield way(model, Float32, APART, attend_unnormalised)
        yield way(model, Float32, FURTHER)
        return
    model, kind = held(model), BFloat16 if dtype == "bfloat16" else Float16
    yield model
    yield way(model, kind, IN_TURN)
    yield way(model, kind, FURTHER, attend_unnormalised, stored=ONLY_SUMS)
