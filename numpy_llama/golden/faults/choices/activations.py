"""Choices of what matrices are multiplied by: activations in fewer bits."""

from collections.abc import Iterator

import numpy as np

from ....feed_forward import swiglu
from ....kv_cache import LayerCache
from ....model import Llama
from ....parameters import LayerWeights, linear
from ....taps import Tap
from ...replay.precision import Narrow, round_to_bfloat16, round_to_float16
from ..fault import Change, as_array_of, stage
from .choice import Choice, choice
from .quantise import Quantiser, in_groups, int8, int8_by_factor, or_half, q8_0
from .weights import GROUPS, fits


def as_factor(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`values` in the kind of array of `like`, not rounded to its dtype.

    A product of whole numbers is exact; what a program in bfloat16 rounds is its outcome.
    """
    if isinstance(like, Narrow):
        return np.asarray(values, np.float32).view(type(like))
    return as_array_of(values, like)


def fed_with(quantise: Quantiser, head_too: bool = True) -> Change:
    """Matrices that are multiplied by quantised activations; taps show these as they were."""

    def narrow(x: np.ndarray) -> np.ndarray:
        return as_factor(quantise(np.asarray(x)), x)

    class Fed(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            y = super().norm(x, gain, name, tap)
            return narrow(y) if head_too or name != "final_norm" else y

        def multi_head(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            q, k, v = self.project(x, layer, tap)
            q, k = self.turn(q, k, R, tap)
            heads = self.attention(q, *seen.write(k, v), tap)
            tap("heads", heads)
            out = linear(narrow(heads.reshape(len(x), -1)), layer.wo, layer.bo)
            tap("attn_out", out)
            return out

        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
            gate, up = linear(x, layer.w_gate, layer.b_gate), linear(x, layer.w_up, layer.b_up)
            tap("gate", gate)
            tap("up", up)
            hidden = swiglu(gate, up)
            tap("swiglu", hidden)
            out = linear(narrow(hidden), layer.w_down, layer.b_down)
            tap("ffn_out", out)
            return out

    return stage(Fed)


def rounded(name: str, narrow: Quantiser, seen_in: str) -> Choice:
    """Activations in a float of fewer bits."""
    return choice(
        f"activations-{name}",
        f"Multiplies its matrices by activations in {name}.",
        f"y = W r(x), r rounds to {name}",
        seen_in,
        fed_with(narrow),
        rounds_to=name,
    )


def of_activations() -> Iterator[Choice]:
    """Each kind of float, and of int8."""
    yield rounded("float16", round_to_float16, "llama.cpp with a file in F16")
    yield rounded("bfloat16", round_to_bfloat16, "llama.cpp with a file in BF16")
    for name, (size, scale, _) in GROUPS.items():
        quantise = in_groups(int8, size)
        yield choice(
            "activations-int8" + ("" if size is None else f"-{name}"),
            f"Multiplies its matrices by activations in int8, {scale}.",
            "y = W (s·q), q = round(x/s), s = max |x| / 127",
            "llama2.c's runq.c (64); dynamic quantisation of many frameworks",
            fed_with(quantise),
            fed_with(quantise, head_too=False),
            fed_with(in_groups(int8_by_factor, size)),
            applies=fits(size),
            rounds_to="bfloat16",
        )
    yield choice(
        "activations-q8-0",
        "Multiplies its matrices by activations in Q8_0.",
        "y = W (r(s)·q), q = round(x/s), s = max |x| / 127 of 32 neighbours, r rounds to float16; "
        "or y = W r(x), where there are no whole groups of 32",
        "llama.cpp with a file in Q8_0 or Q4_0",
        fed_with(or_half(q8_0, 32)),
        applies=fits(32, all_of_it=False),
        rounds_to="bfloat16",
    )
