"""Choices of how matrices are stored, and what they are multiplied by."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ....config import LlamaConfig
from ....feed_forward import swiglu
from ....kv_cache import LayerCache
from ....model import Llama
from ....parameters import LayerWeights, linear
from ....taps import Tap
from ...replay.override import change_layers
from ...replay.schedule import Schedule
from ...replay.side_by_side import changed_once
from ..fault import Change, as_array_of, stage
from .choice import Choice, choice
from .quantise import Quantiser, away_from_zero, by_rows, in_groups, int8, q4_0, q8_0


@dataclass(frozen=True)
class InFewerBits:
    """Matrices that were quantised; not the norms' gains, nor the biases."""

    quantise: Quantiser

    def of(self, array: np.ndarray) -> np.ndarray:
        return by_rows(self.quantise, np.asarray(array, np.float32)) if array.ndim == 2 else array

    def of_layer(self, layer: LayerWeights, i: int) -> LayerWeights:
        given = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
        return LayerWeights(**{n: self.of(a) for n, a in given.items() if a is not None})

    def __call__(self, layer: LayerWeights, i: int) -> LayerWeights:
        """A layer, whose quantising takes longer than a short run: so it is made once for all."""
        return changed_once(self.of_layer, layer, i)


def stored_as(kept: InFewerBits, layers_only: bool) -> Change:
    """A model whose matrices were quantised, or only those of its layers."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        model, w = change_layers(model, kept), model.weights
        if layers_only:
            return model, schedule
        table = kept.of(w.tok_embeddings)
        tied = np.may_share_memory(w.lm_head, w.tok_embeddings)
        head = table if tied else kept.of(w.lm_head)
        weights = dataclasses.replace(model.weights, tok_embeddings=table, lm_head=head)
        return dataclasses.replace(model, weights=weights), schedule

    return apply


def fed_with(quantise: Quantiser, head_too: bool = True) -> Change:
    """Matrices that are multiplied by quantised activations; taps show these as they were."""

    def narrow(x: np.ndarray) -> np.ndarray:
        return as_array_of(quantise(np.asarray(x)), x)

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


def fits(size: int | None) -> Callable[[LlamaConfig], bool]:
    """Whether the rows of all matrices are whole groups of this size."""

    def applies(config: LlamaConfig) -> bool:
        widths = config.dim, config.hidden_dim, config.n_heads * config.head_dim
        return all(width % (size or 1) == 0 for width in widths)

    return applies


ROW = "a scale for each row"

GROUPS: dict[str, tuple[int | None, str]] = {
    "row": (None, ROW),
    "group-32": (32, "a scale for each 32 neighbours"),
    "group-64": (64, "a scale for each 64 neighbours"),
}

FORMATS: dict[str, tuple[int | None, str, str, str, tuple[Quantiser, ...]]] = {
    f"int8-{name}": (size, f"int8, {scale}", "w ≈ s·q, q = round(w/s), s = max |w| / 127",
                     "llama2.c, version 2 (64); int8 of many frameworks",
                     (int8, partial(int8, rounded=away_from_zero)))
    for name, (size, scale) in GROUPS.items()
} | {
    "q8-0": (32, "Q8_0", "w ≈ r(s)·q, q = round(w/s), s = max |w| / 127, r rounds to float16",
             "llama.cpp", (q8_0,)),
    "q4-0": (32, "Q4_0", "w ≈ r(s)·(q - 8), q = ⌊w/s + 8.5⌋, s = -w_max / 8, r rounds to float16",
             "llama.cpp", (q4_0,)),
}  # fmt: skip


def of_weights() -> Iterator[Choice]:
    """Each format of weights: for all matrices, and for those of the layers alone."""
    for name, (size, does, mathematics, seen_in, ways) in FORMATS.items():
        kept = [InFewerBits(in_groups(way, size)) for way in ways]
        for suffix, which in (("", "its matrices"), ("-layers", "the layers' matrices")):
            changes = [stored_as(way, bool(suffix)) for way in kept]
            said = f"Keeps {which} in {does}."
            about = (f"weights-{name}{suffix}", said, mathematics, seen_in)
            yield choice(*about, *changes, applies=fits(size), stored=True)


def of_activations() -> Iterator[Choice]:
    """Each kind of int8 activations."""
    for name, (size, scale) in GROUPS.items():
        quantise = in_groups(int8, size)
        yield choice(
            "activations-int8" + ("" if size is None else f"-{name}"),
            f"Multiplies its matrices by activations in int8, {scale}.",
            "y = W (s·q), q = round(x/s), s = max |x| / 127",
            "llama2.c's runq.c (64); dynamic quantisation of many frameworks",
            fed_with(quantise),
            fed_with(quantise, head_too=False),
            applies=fits(size),
            rounds_to="bfloat16",
        )
