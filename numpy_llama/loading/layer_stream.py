"""Layers that stay in their file: each matrix is read when it is used, and then forgotten."""

from collections.abc import Callable, Sequence
from typing import overload

from ..backend import Array
from ..config import LlamaConfig
from ..formats.checkpoint import layer_shapes
from ..parameters import LayerWeights

Load = Callable[[str], Array]  # a tensor by its name, in memory


class StreamedLayer(LayerWeights):
    """One block whose matrices are read when they are asked for, each time, and not kept."""

    stream: "LayerStream"
    prefix: str

    def __init__(self, stream: "LayerStream", prefix: str):
        vectors = [name for name, shape in stream.shapes.items() if len(shape) == 1]
        loaded = {name: stream.load(prefix + name) for name in vectors}
        vars(self).update(loaded, stream=stream, prefix=prefix)  # a frozen class has no other way

    def __getattr__(self, name: str) -> Array:
        """What `__init__` did not set: a matrix, or nothing that a block has."""
        stream: LayerStream | None = vars(self).get("stream")
        if stream is None or name not in stream.shapes:
            raise AttributeError(name)
        return stream.matrix(self.prefix + name)

    def kept(self) -> LayerWeights:
        """The same block, all of it in memory."""
        names = self.stream.shapes
        return LayerWeights(**{n: self.stream.load(self.prefix + n) for n in names})


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none of them."""

    def __init__(self, config: LlamaConfig, load: Load, matrix: Load):
        self.load = load
        self.matrix = matrix  # the same for the time of one use: it may stay in the file
        self.n_layers = config.n_layers
        self.shapes = layer_shapes(config)

    def __len__(self) -> int:
        return self.n_layers

    @overload
    def __getitem__(self, i: int) -> StreamedLayer: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[StreamedLayer, ...]: ...
    def __getitem__(self, i: int | slice) -> StreamedLayer | tuple[StreamedLayer, ...]:
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        if not -len(self) <= i < len(self):
            raise IndexError(i)  # what ends a `for` over a sequence
        return StreamedLayer(self, f"layers.{i % len(self)}.")
