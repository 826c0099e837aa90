"""Layers that stay in their file: each matrix is read when it is used, and then forgotten."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import overload

from ..backend import Array
from ..config import LlamaConfig
from ..formats.checkpoint import layer_shapes
from ..parameters import LayerWeights

Load = Callable[[str], Array]  # a tensor by its name, in memory


class StreamedLayer(LayerWeights):
    """One block whose matrices are read when they are asked for, each time, and not kept."""

    matrices: Mapping[str, Callable[[], Array]]

    def __init__(self, vectors: Mapping[str, Array], matrices: Mapping[str, Callable[[], Array]]):
        vars(self).update(vectors, matrices=matrices)  # a frozen class has no other way

    def __getattr__(self, name: str) -> Array:
        """What `__init__` did not set: a matrix, or nothing that a block has."""
        read = vars(self).get("matrices", {}).get(name)
        if read is None:
            raise AttributeError(name)
        array: Array = read()
        return array


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none of them.

    matrix: what gives a matrix for the time of one use: it may stay in the file. None: a layer is
    one of arrays, made whenever it is asked for.
    """

    def __init__(self, config: LlamaConfig, load: Load, matrix: Load | None):
        self.config = config
        self.load = load
        self.matrix = matrix
        self.n_layers = config.n_layers
        self.shapes = layer_shapes(config)

    def kept(self, i: int) -> LayerWeights:
        """One block, all of it in memory."""
        return LayerWeights(**{n: self.load(f"layers.{i}.{n}") for n in self.shapes})

    def in_arrays(self) -> "LayerStream":
        """The same layers, each of arrays."""
        return LayerStream(self.config, self.load, None)

    def __len__(self) -> int:
        return self.n_layers

    @overload
    def __getitem__(self, i: int) -> LayerWeights: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[LayerWeights, ...]: ...
    def __getitem__(self, i: int | slice) -> LayerWeights | tuple[LayerWeights, ...]:
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        if not -len(self) <= i < len(self):
            raise IndexError(i)  # what ends a `for` over a sequence
        i %= len(self)
        if self.matrix is None:
            return self.kept(i)
        names = {name: f"layers.{i}.{name}" for name in self.shapes}
        vectors = {n: self.load(full) for n, full in names.items() if len(self.shapes[n]) == 1}
        matrices = {n: partial(self.matrix, names[n]) for n in names if n not in vectors}
        return StreamedLayer(vectors, matrices)
