"""A fault in one place only: in one layer, in keys only, in one norm only.

The faulty model is used where the place says so, and the correct one everywhere else: by the number
of the layer, by the name of the norm, by which of two arrays is computed, by the weight's name.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...kv_cache import KVCache, LayerCache
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap
from ..replay.override import PickedLayers, override
from ..replay.schedule import Schedule
from .attention.parts import Attention
from .fault import Change, Fault

# What a part of a block is called, and which of a layer's weights are its own.
PARTS = {
    "attn_norm": ("attention's norm", ("attn_norm",)),
    "ffn_norm": ("the feed-forward's norm", ("ffn_norm",)),
    "final_norm": ("the final norm", ()),
    "queries": ("queries", ("wq", "bq")),
    "keys": ("keys", ("wk", "bk")),
    "values": ("values", ("wv", "bv")),
    "output": ("attention's output", ("wo", "bo")),
    "gate": ("the gate", ("w_gate", "b_gate")),
    "up": ("up", ("w_up", "b_up")),
    "down": ("down", ("w_down", "b_down")),
}
NORMS, ROTATED = ("attn_norm", "ffn_norm", "final_norm"), ("queries", "keys")
HEADS = {"keys": "key_head", "values": "value_head"}  # of Attention


@dataclass(frozen=True)
class Place:
    """Where alone a fault is: in a layer, in a part of every block, or in that of one layer."""

    layer: int | None = None
    part: str = ""  # of PARTS

    def __str__(self) -> str:
        of = f"{PARTS[self.part][0]} only" if self.part else ""
        at = f"layer {self.layer}" if self.layer is not None else ""
        return f"in {of or at}" + (f", {at}" if of and at else "")


class MixedLayers(PickedLayers):
    """The layers of one model, some weights of some of them those of another."""

    def __init__(
        self,
        right: Sequence[LayerWeights],
        wrong: Sequence[LayerWeights],
        mix: Callable[[LayerWeights, LayerWeights], LayerWeights],
        only: int | None = None,
    ):
        super().__init__(right, range(len(right)))
        self.wrong, self.mix, self.only = wrong, mix, only

    def __getitem__(self, i: int) -> LayerWeights:  # type: ignore[override]
        right = self.layers[i]
        return right if self.only not in (None, i) else self.mix(right, self.wrong[i])


def with_layers(model: Llama, layers: Sequence[LayerWeights]) -> Llama:
    return dataclasses.replace(model, weights=dataclasses.replace(model.weights, layers=layers))


class MixedCache(KVCache):
    """The cache of one model, one layer of it that of another."""

    def __init__(self, right: KVCache, wrong: KVCache, layer: int):
        super().__init__(right.k, right.v)
        self.right, self.wrong, self.layer = right, wrong, layer

    def __iter__(self) -> Iterator[LayerCache]:
        self.right.length = self.wrong.length = self.length
        pairs = zip(self.right, self.wrong, strict=True)
        return (wrong if right.index == self.layer else right for right, wrong in pairs)


def in_layer(right: Llama, wrong: Llama, i: int) -> Llama:
    """The one model, its layer i that of the other."""

    class InLayer(Llama):
        def block(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            if seen.index != i:
                return super().block(x, layer, R, seen, tap)
            return wrong.block(x, layer, wrong.rotations(seen.start, len(x)), seen, tap)

        def new_cache(self, capacity: int) -> KVCache:
            return MixedCache(super().new_cache(capacity), wrong.new_cache(capacity), i)

    of_both = MixedLayers(right.weights.layers, wrong.weights.layers, lambda r, w: w, only=i)
    return override(with_layers(right, of_both), InLayer)


def in_rotation(right: Llama, wrong: Llama, part: str) -> Llama:
    """The one model, its queries or keys rotated as the other does."""

    class InRotation(Llama):
        def rotations(self, start: int, L: int) -> np.ndarray:
            return np.stack([super().rotations(start, L), wrong.rotations(start, L)])

        def turn(
            self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
        ) -> tuple[np.ndarray, np.ndarray]:
            shown: dict[str, np.ndarray] = {}
            wrongly: dict[str, np.ndarray] = {}
            good = super().turn(q, k, R[0], shown.__setitem__)
            bad = wrong.turn(q, k, R[1], wrongly.__setitem__)
            queries = part == "queries"
            name = "q_rot" if queries else "k_rot"
            for of, array in (shown | {name: wrongly[name]}).items():
                tap(of, array)
            return (bad[0], good[1]) if queries else (good[0], bad[1])

    return override(right, InRotation)


def in_norm(right: Llama, wrong: Llama, part: str) -> Llama:
    """The one model, its norm of this name that of the other."""

    class InNorm(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            of = wrong.norm if name == part else super().norm
            return of(x, gain, name, tap)

    return override(right, InNorm)


def in_part(right: Llama, wrong: Llama, part: str) -> Llama:
    """The one model, this part of its blocks that of the other."""
    fields = PARTS[part][1]

    def mix(of: LayerWeights, other: LayerWeights) -> LayerWeights:
        changes: dict[str, Any] = {name: getattr(other, name) for name in fields}
        return dataclasses.replace(of, **changes)

    model = with_layers(right, MixedLayers(right.weights.layers, wrong.weights.layers, mix))
    if part in HEADS and isinstance(wrong.attention, Attention):
        now = right.attention if isinstance(right.attention, Attention) else Attention()
        heads: dict[str, Any] = {HEADS[part]: getattr(wrong.attention, HEADS[part])}
        model = dataclasses.replace(model, attention=dataclasses.replace(now, **heads))
    if part in NORMS:
        return in_norm(model, wrong, part)
    return in_rotation(model, wrong, part) if part in ROTATED else model


def at(change: Change, place: Place) -> Change:
    """The change, made in this place only."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        wrong, _ = change(model, schedule)
        if place.part:
            wrong = in_part(model, wrong, place.part)
        return (wrong if place.layer is None else in_layer(model, wrong, place.layer)), schedule

    return apply


def localised(fault: Fault, place: Place) -> Fault:
    """The fault, made in this place only."""
    harmless = fault.harmless and not place.part  # q and k that move alike, but not one of them
    change = at(fault.apply, place)
    return dataclasses.replace(fault, apply=change, place=str(place), harmless=harmless)
