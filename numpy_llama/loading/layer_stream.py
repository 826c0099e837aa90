"""Layers that stay in their file: each matrix is expanded when it is used, and then forgotten."""

import itertools
import math
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import overload

import numpy as np

from ..config import LlamaConfig
from ..formats.checkpoint import layer_shapes
from ..parameters import LayerWeights

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

    def taken(self) -> bool:
        """Whether an array looks at it."""
        return self.root is not None and self.root() is not None

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """What np.empty gives: from the scratch where it is free, else new."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self.lock:
            if self.taken():
                return np.empty(shape, dtype)
            if len(self.memory) < size:
                self.memory = np.empty(size, np.uint8).data
            # Every view of this array keeps it alive; over a plain array they would keep that.
            root = np.frombuffer(self.memory[:size], dtype)
            self.root = weakref.ref(root)
        return root.reshape(shape)


class Ahead:
    """The matrices of all layers, expanded on request, and the next one meanwhile in a thread.

    So the file is read while the processor multiplies. `order`: in which they will be asked for;
    another order costs time, and changes nothing. Threads may share it.
    """

    def __init__(self, load: Load, order: Sequence[str]):
        self.load = load
        self.following = dict(itertools.pairwise(order))
        self.begin()

    def begin(self) -> None:
        """Nothing expanded yet, and a thread of this process to do it.

        A forked child has neither its parent's thread nor a hope for the locks that it held.
        """
        self.process = os.getpid()
        self.scratch = (Scratch(), Scratch())  # for the matrix in use, and for the next
        self.worker = ThreadPoolExecutor(1)
        self.pending: dict[str, Future[np.ndarray]] = {}

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """What np.empty gives, from the scratch that is free, if one is."""
        first, second = self.scratch
        return (second if first.taken() else first).empty(shape, dtype)

    def matrix(self, name: str) -> np.ndarray:
        """One matrix by its name; starts on the one that follows."""
        if self.process != os.getpid():
            self.begin()
        future = self.pending.pop(name, None)
        array = future.result() if future else self.load(name, self.empty)
        following = self.following.get(name)
        if following:
            with suppress(RuntimeError):  # the system gives no thread: no head start, then
                self.pending = {following: self.worker.submit(self.load, following, self.empty)}
        return array


class StreamedLayer(LayerWeights):
    """One block whose matrices are expanded when they are asked for, each time, and not kept."""

    stream: "LayerStream"
    prefix: str

    def __init__(self, stream: "LayerStream", prefix: str):
        vectors = [name for name, shape in stream.shapes.items() if len(shape) == 1]
        loaded = {name: stream.load(prefix + name, np.empty) for name in vectors}
        vars(self).update(loaded, stream=stream, prefix=prefix)  # a frozen class has no other way

    def __getattr__(self, name: str) -> np.ndarray:
        """What `__init__` did not set: a matrix, or nothing that a block has."""
        stream: LayerStream | None = vars(self).get("stream")
        if stream is None or name not in stream.shapes:
            raise AttributeError(name)
        return stream.ahead.matrix(self.prefix + name)

    def kept(self) -> LayerWeights:
        """The same block, all of it in memory."""
        names = self.stream.shapes
        return LayerWeights(**{n: self.stream.load(self.prefix + n, np.empty) for n in names})


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none of them."""

    def __init__(self, config: LlamaConfig, load: Load):
        self.load = load
        self.n_layers = config.n_layers
        self.shapes = layer_shapes(config)  # in the order of a forward pass
        matrices = [name for name, shape in self.shapes.items() if len(shape) == 2]
        order = [f"layers.{i}.{name}" for i in range(config.n_layers) for name in matrices]
        self.ahead = Ahead(load, order)

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
