"""Choices of how matrices are stored: all of them, the layers' alone, or all but the embeddings."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ....config import LlamaConfig
from ....model import Llama
from ....parameters import LayerWeights
from ...replay.beside.side_by_side import changed_once
from ...replay.metrics import DIVERGENT, relative_rms
from ...replay.override import change_layers
from ...replay.precision import UNIT_ROUNDOFF, round_to_bfloat16, round_to_float16
from ...replay.schedule import Schedule
from ..fault import Change
from .choice import Choice, choice
from .quantise import (
    Quantiser,
    away_from_zero,
    by_rows,
    in_groups,
    int8,
    int8_by_factor,
    int8_to_128,
    or_half,
    q4_0,
    q8_0,
)

WHICH = {
    "": "its matrices",
    "-layers": "the layers' matrices",
    "-linear": "its matrices but the embeddings",
}


@dataclass(frozen=True, eq=False)
class InFewerBits:
    """Matrices that were quantised; the norms' gains and the biases only with `vectors_too`."""

    quantise: Quantiser
    vectors_too: bool = False

    def of(self, array: np.ndarray) -> np.ndarray:
        if array.ndim == 2:
            return by_rows(self.quantise, np.asarray(array, np.float32))
        return self.quantise(np.asarray(array, np.float32)) if self.vectors_too else array

    def of_layer(self, layer: LayerWeights, i: int) -> LayerWeights:
        given = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
        return LayerWeights(**{n: self.of(a) for n, a in given.items() if a is not None})

    def __call__(self, layer: LayerWeights, i: int) -> LayerWeights:
        """A layer, whose quantising takes longer than a short run: so it is made once for all."""
        return changed_once(self.of_layer, layer, i)


def stored_as(kept: InFewerBits, which: str = "") -> Change:
    """A model whose matrices were quantised: all, or those that `which` says."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        w = model.weights
        table, head, gain = w.tok_embeddings, w.lm_head, w.final_norm
        tied = np.may_share_memory(head, table)
        if which != "-layers":
            head = kept.of(head)
        if not which:
            table, gain = head if tied else kept.of(table), kept.of(gain)
        weights = dataclasses.replace(
            change_layers(model, kept).weights, tok_embeddings=table, lm_head=head, final_norm=gain
        )
        return dataclasses.replace(model, weights=weights), schedule

    return apply


def fits(size: int | None, all_of_it: bool = True) -> Callable[[LlamaConfig], bool]:
    """Whether the rows of all matrices, or else of some, are whole groups of this size."""

    def applies(config: LlamaConfig) -> bool:
        widths = config.dim, config.hidden_dim, config.n_heads * config.head_dim
        whole = [width % (size or 1) == 0 for width in widths]
        return all(whole) if all_of_it else any(whole)

    return applies


def coarser(quantise: Quantiser) -> Callable[[Llama], bool]:
    """Whether a format changes the weights by more than float32's noise hides.

    Those of a checkpoint in bfloat16 are also that when they are kept in it. One matrix tells.
    """

    def changes(model: Llama) -> bool:
        some = np.asarray(model.weights.layers[0].wq[:64], np.float32)
        return relative_rms(quantise(some), some) > DIVERGENT * UNIT_ROUNDOFF["float32"]

    return changes


ROW = "a scale for each row"

GROUPS: dict[str, tuple[int | None, str, str]] = {
    "row": (None, ROW, "CTranslate2"),
    "group-32": (32, "a scale for each 32 neighbours", "many frameworks"),
    "group-64": (64, "a scale for each 64 neighbours", "llama2.c, version 2"),
}


@dataclass(frozen=True)
class Format:
    """One of matrices: what it is called, what it makes of their rows, and who has it."""

    does: str
    mathematics: str
    seen_in: str
    ways: tuple[Quantiser, ...]
    applies: Callable[[LlamaConfig], bool] = fits(None)  # whether its groups fit a model
    far: bool = False  # its ways are too far apart for one to show that it may be another
    plain: bool = False  # a float of fewer bits, in which vectors may be kept too

    @cached_property
    def kept(self) -> list[InFewerBits]:
        """Each way, for all the choices that are made of it."""
        vectors_too = (False, True) if self.plain else (False,)
        return [InFewerBits(way, vectors) for vectors in vectors_too for way in self.ways]

    def choice(self, name: str, which: str) -> Choice:
        """The choice of this format for some of the matrices."""
        return choice(
            f"weights-{name}{which}",
            f"Keeps {WHICH[which]} in {self.does}.",
            self.mathematics,
            self.seen_in,
            *(stored_as(kept, which) for kept in self.kept),
            applies=self.applies,
            changes=coarser(self.kept[0].quantise),
            stored=True,
            far=self.far,
        )


def rounded(name: str, narrow: Quantiser) -> Format:
    """A float of fewer bits."""
    seen_in = f"checkpoints and files in {name}, of weights that were wider"
    return Format(name, f"w ≈ r(w), r rounds to {name}", seen_in, (narrow,), plain=True)


INT8 = "w ≈ s·q, q = round(w/s), s = max |w| / 127"
OR_HALF = "r rounds to float16; or w ≈ r(w), where rows are no whole groups of 32"
HALVES = (int8, partial(int8, rounded=away_from_zero), int8_by_factor)

FORMATS: dict[str, Format] = {
    "float16": rounded("float16", round_to_float16),
    "bfloat16": rounded("bfloat16", round_to_bfloat16),
    **{
        f"int8-{name}": Format(
            f"int8, {scale}",
            INT8,
            seen_in,
            tuple(in_groups(way, size) for way in HALVES),
            fits(size),
        )
        for name, (size, scale, seen_in) in GROUPS.items()
    },
    "q8-0": Format(
        "Q8_0",
        f"w ≈ r(s)·q, q = round(w/s), s = max |w| / 127; {OR_HALF}",
        "llama.cpp",
        (or_half(q8_0, 32),),
        fits(32, all_of_it=False),
    ),
    "q4-0": Format(
        "Q4_0",
        f"w ≈ r(s)·(q - 8), q = ⌊w/s + 8.5⌋, s = -w_max / 8; {OR_HALF}",
        "llama.cpp",
        (or_half(q4_0, 32),),
        fits(32, all_of_it=False),
    ),
}


# Linear layers alone; the embeddings are none.
LINEAR = Format(
    f"int8, {ROW}",
    INT8 + "; or 127.5, and q from -128",
    "quanto; torchao (127.5)",
    (int8, int8_to_128),
    far=True,
)


def of_weights() -> Iterator[Choice]:
    """Each format of weights: for all matrices, and for some."""
    for name, format in FORMATS.items():
        for which in ("", "-layers"):
            yield format.choice(name, which)
        if name == "int8-row":
            yield LINEAR.choice(name, "-linear")
