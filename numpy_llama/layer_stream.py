"""Layers that stay in their file: each matrix is expanded when it is used, and then forgotten."""

import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import overload

import numpy as np

from .config import LlamaConfig
from .formats.checkpoint import layer_shapes
from .model import LayerWeights

Empty = Callable[..., np.ndarray]  # as np.empty
Load = Callable[[str, Empty], np.ndarray]  # a tensor by its name, in memory from the second


class Scratch:
    """Memory for one array at a time, taken again when no array looks at it any more.

    New memory would cost more than expanding a matrix into it: the system clears every page.
    """

    def __init__(self) -> None:
        self.memory = memoryview(b"")
        self.root: weakref.ref[np.ndarray] | None = None
        self.lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """What np.empty gives: from the scratch where it is free, else new."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self.lock:
            if self.root is not None and self.root() is not None:
                return np.empty(shape, dtype)
            if len(self.memory) < size:
                self.memory = np.empty(size, np.uint8).data
            # Every view of this array keeps it alive; over a plain array they would keep that.
            root = np.frombuffer(self.memory[:size], dtype)
            self.root = weakref.ref(root)
        return root.reshape(shape)


class StreamedLayer(LayerWeights):
    """One block whose matrices are expanded when they are asked for, each time, and not kept."""

    load: Load
    scratch: Scratch
    shapes: Mapping[str, tuple[int, ...]]

    def __init__(self, load: Load, scratch: Scratch, shapes: Mapping[str, tuple[int, ...]]):
        vectors = {name: load(name, np.empty) for name, shape in shapes.items() if len(shape) == 1}
        # A frozen class has no other way to set them.
        vars(self).update(vectors, load=load, scratch=scratch, shapes=shapes)

    def __getattr__(self, name: str) -> np.ndarray:
        """What `__init__` did not set: a matrix, or nothing that a block has."""
        if name in vars(self).get("shapes", ()):
            return self.load(name, self.scratch.empty)
        raise AttributeError(name)

    def kept(self) -> LayerWeights:
        """The same block, all of it in memory."""
        return LayerWeights(**{name: self.load(name, np.empty) for name in self.shapes})


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none of them."""

    def __init__(self, config: LlamaConfig, load: Load):
        self.shapes = layer_shapes(config)
        self.n_layers = config.n_layers
        self.load = load
        self.scratch = Scratch()

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
        prefix = f"layers.{i % len(self)}."
        return StreamedLayer(
            lambda name, empty: self.load(prefix + name, empty), self.scratch, self.shapes
        )
