"""The matrices of a model in which runs of changed models meet, and how they are known again."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from ....model import Llama
from ....parameters import LayerWeights

SMALLEST = 1 << 16  # weights; a product with fewer is sooner made than waited for

Place = tuple[int, tuple[int, ...], tuple[int, ...]]  # where a matrix lies in memory, and how

here = threading.local()  # .member: the run whose thread this is, if there are others beside it


class Met(np.ndarray):
    """A matrix of the model as the runs see it: in a product with it they meet."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Met) else x for x in inputs]
        member = getattr(here, "member", None)
        if ufunc is np.matmul and method == "__call__" and not kwargs and member:
            return member.product(*plain)
        if "out" in kwargs:
            kwargs["out"] = tuple(x.view(np.ndarray) for x in kwargs["out"])
        return getattr(ufunc, method)(*plain, **kwargs)


def place_of(matrix: np.ndarray) -> Place:
    """What two arrays have in common that are the same values in the same place."""
    return matrix.__array_interface__["data"][0], matrix.shape, matrix.strides


def met(array: Any) -> Any:
    """A large matrix of float32 as the runs see it; anything else as it is."""
    large = type(array) is np.ndarray and array.ndim == 2 and array.size >= SMALLEST
    return array.view(Met) if large and array.dtype == np.float32 else array


def met_layer(layer: LayerWeights) -> LayerWeights:
    return LayerWeights(**{f.name: met(getattr(layer, f.name)) for f in fields(layer)})


def as_met(model: Llama) -> Llama:
    """The model, its layers and its head as the runs see them."""
    w = model.weights
    if not isinstance(w.layers, tuple):  # a stream: each run has arrays of its own
        return model
    weights = replace(w, layers=tuple(map(met_layer, w.layers)), lm_head=met(w.lm_head))
    return replace(model, weights=weights)


def numbered(layer: LayerWeights, i: int) -> dict[Place, int]:
    """The matrices of layer i in which runs meet, in the order in which a forward uses them."""
    arrays = [getattr(layer, f.name) for f in fields(layer)]
    return {
        place_of(array.T): i * len(arrays) + n
        for n, array in enumerate(arrays)
        if isinstance(array, Met)
    }


class Made(NamedTuple):
    """A layer that was changed, for all who change it so."""

    before: LayerWeights
    after: LayerWeights
    numbers: dict[Place, int]


class Shared:
    """A model whose matrices several runs share, and those of its layers that they all change."""

    def __init__(self, model: Llama):
        self.model, self.as_met = model, as_met(model)
        self.numbers: dict[Place, int] = {}  # of a matrix as a product has it: (in, out)
        self.made: dict[Hashable, Made] = {}  # the last of each change
        layers, head = self.as_met.weights.layers, self.as_met.weights.lm_head
        for i, layer in enumerate(layers if self.as_met is not model else ()):
            self.numbers |= numbered(layer, i)
        if isinstance(head, Met):
            self.numbers[place_of(head.T)] = len(layers) * len(fields(LayerWeights))

    def change(
        self, how: Callable[[LayerWeights, int], LayerWeights], layer: LayerWeights, i: int
    ) -> LayerWeights:
        """`how(layer, i)`, made once for all who ask for it one after the other."""
        last = self.made.get(how)
        if last is None or last.before is not layer:
            for place in last.numbers if last else ():
                self.numbers.pop(place, None)  # another array may come to lie there
            after = met_layer(how(layer, i))
            last = self.made[how] = Made(layer, after, numbered(after, i))
            self.numbers |= last.numbers
        return last.after


def shares(model: Llama) -> bool:
    """Whether runs of this model can meet at all."""
    return bool(Shared(model).numbers)
