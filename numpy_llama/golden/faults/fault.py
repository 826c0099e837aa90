"""What a fault is: a known mistake, as a change of a correct model that makes it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import LlamaConfig
from ...model import LayerWeights, Llama
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
    family: str  # the file it is in
    sentence: str  # what was done, for people
    mathematics: str  # precisely what is computed instead
    seen_in: str  # where this was found, "" if it is only plausible
    fix: str
    apply: Change
    applies: Callable[[LlamaConfig], bool] = always
    harmless: bool = False  # intermediates differ, the logits do not
    rounds_to: str | None = None  # a narrow dtype: noise decides which way single values go


def stage(changed: type[Llama]) -> Change:
    """The fault of a model whose methods are those that `changed` defines."""
    return lambda model, schedule: (override(model, changed), schedule)


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


def as_array_of(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`values` with the dtype and the kind of array of `like`."""
    return np.asarray(values.astype(like.dtype), like=like)
