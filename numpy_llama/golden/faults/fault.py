"""What a fault is: a known mistake, as a change of a correct model that makes it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import LlamaConfig
from ...kv_cache import LayerCache
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap
from ..replay.override import change_layers, override
from ..replay.schedule import Schedule

# A change of a model and of what it is run over. Changes are put on top of each other: a pair of
# faults is one applied to the outcome of the other.
Change = Callable[[Llama, Schedule], tuple[Llama, Schedule]]


def always(config: LlamaConfig) -> bool:
    """Most faults can be made in every Llama."""
    return True


@dataclass(frozen=True)
class Fault:
    """One known mistake.

    `apply` turns a correct model and schedule into faulty ones; `applies` says for which configs
    there is a difference to make. Rows of a run over a longer schedule are compared from the end.
    """

    id: str
    family: str  # the file or room it is in
    sentence: str  # what was done, for people
    mathematics: str  # precisely what is computed instead
    seen_in: str  # where this was found, "" if it is only plausible
    fix: str
    apply: Change
    applies: Callable[[LlamaConfig], bool] = always
    harmless: bool = False  # intermediates differ, the logits do not
    rounds_to: str | None = None  # a narrow dtype: noise decides which way single values go
    stored: bool = False  # a change of the weights as they are stored, before they get a dtype
    place: str = ""  # where alone it is made; everywhere if empty: see place.py
    value: float | None = None  # of a wrong number that was estimated: see parameter.py
    should_be: float | None = None


def stage(changed: type[Llama]) -> Change:
    """The fault of a model whose methods are those that `changed` defines."""
    return lambda model, schedule: (override(model, changed), schedule)


@dataclass(frozen=True)
class Stages:
    """The stages of one block, each a function of one array, to be put together in another way."""

    model: Llama
    layer: LayerWeights
    R: np.ndarray
    seen: LayerCache
    tap: Tap

    def attn_norm(self, x: np.ndarray) -> np.ndarray:
        return self.model.norm(x, self.layer.attn_norm, "attn_norm", self.tap)

    def attention(self, x: np.ndarray) -> np.ndarray:
        return self.model.multi_head(x, self.layer, self.R, self.seen, self.tap)

    def resid_mid(self, x: np.ndarray) -> np.ndarray:
        self.tap("resid_mid", x)
        return x

    def ffn_norm(self, x: np.ndarray) -> np.ndarray:
        return self.model.norm(x, self.layer.ffn_norm, "ffn_norm", self.tap)

    def feed_forward(self, x: np.ndarray) -> np.ndarray:
        return self.model.feed_forward(x, self.layer, self.tap)

    def resid_post(self, x: np.ndarray) -> np.ndarray:
        self.tap("resid_post", x)
        return x


def assembled(block: Callable[[Stages, np.ndarray], np.ndarray]) -> Change:
    """The fault of a model whose blocks are `block(stages, x)`: right stages, wrongly joined."""

    class Assembled(Llama):
        def block(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            return block(Stages(self, layer, R, seen, tap), x)

    return stage(Assembled)


def config_with(**changes: Any) -> Change:
    """The fault of a model that believes other hyper-parameters than its weights were made for."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        config = dataclasses.replace(model.config, **changes)
        return dataclasses.replace(model, config=config), schedule

    return apply


def layers_with(change: Callable[[LayerWeights, LlamaConfig], LayerWeights]) -> Change:
    """The fault of a model whose layers were loaded wrongly, each in the same way."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        return change_layers(model, lambda layer, i: change(layer, model.config)), schedule

    return apply


def swapped(layer: LayerWeights, one: str, other: str) -> LayerWeights:
    """The layer with two of its tensors exchanged."""
    changes = {one: getattr(layer, other), other: getattr(layer, one)}
    return dataclasses.replace(layer, **changes)


def zeroed(tensor: str) -> Callable[[LayerWeights, LlamaConfig], LayerWeights]:
    """The layer with zeros for one of its tensors."""
    return lambda layer, config: dataclasses.replace(
        layer, **{tensor: np.zeros_like(getattr(layer, tensor))}
    )


def as_array_of(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`values` with the dtype and the kind of array of `like`."""
    return np.asarray(values.astype(like.dtype), like=like)
