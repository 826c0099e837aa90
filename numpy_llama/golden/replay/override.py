"""Change one stage of a model, and leave the rest: faults and emulated precision are made so."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ...model import Llama
from ...parameters import LayerWeights


def override(model: Llama, stage: type[Llama]) -> Llama:
    """The model with the methods that `stage`, a subclass of Llama, defines itself.

    Whatever the model overrides already stays: `super()` in a method of `stage` is the model as it
    was. So overrides can be put on top of each other.
    """
    both = type(stage.__name__, (stage, type(model)), {})
    return both(model.config, model.weights, model.attention)


class PickedLayers(Sequence[LayerWeights]):
    """The layers of these numbers, in this order."""

    def __init__(self, layers: Sequence[LayerWeights], order: Sequence[int]):
        self.layers = layers
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> LayerWeights:  # type: ignore[override]  # no one slices layers
        return self.layers[self.order[i]]


class ChangedLayers(PickedLayers):
    """Layers that are each changed when they are asked for."""

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        change: Callable[[LayerWeights, int], LayerWeights],
    ):
        super().__init__(layers, range(len(layers)))
        self.change = change

    def __getitem__(self, i: int) -> LayerWeights:  # type: ignore[override]
        return self.change(self.layers[i], i)


def change_layers(model: Llama, change: Callable[[LayerWeights, int], LayerWeights]) -> Llama:
    """The model with `change(layer, i)` for its layer i."""
    layers = ChangedLayers(model.weights.layers, change)
    return dataclasses.replace(model, weights=dataclasses.replace(model.weights, layers=layers))


def change_arrays(model: Llama, change: Callable[[np.ndarray], np.ndarray]) -> Llama:
    """The model with `change(array)` for each weight; a layer's, when the layer is asked for."""

    def changed(layer: LayerWeights, i: int) -> LayerWeights:
        given = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
        return LayerWeights(**{n: change(array) for n, array in given.items() if array is not None})

    w = model.weights
    embeddings = change(w.tok_embeddings)
    tied = w.lm_head is w.tok_embeddings
    weights = dataclasses.replace(
        w,
        tok_embeddings=embeddings,
        layers=ChangedLayers(w.layers, changed),
        final_norm=change(w.final_norm),
        lm_head=embeddings if tied else change(w.lm_head),
    )
    return dataclasses.replace(model, weights=weights)
