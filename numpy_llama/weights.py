"""From a checkpoint's stored tensors to the model's arrays: all at once, or one layer at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from .attention import attend_blocked
from .errors import InputError
from .formats import Checkpoint, StoredTensor, open_checkpoint
from .formats.checkpoint import layer_shapes
from .formats.floats import bf16_to_f32, f16_to_f32
from .model import LayerWeights, Llama, Weights
from .rope import adjacent_from_half_split

DTYPES: dict[str, type[np.floating[Any]]] = {"float32": np.float32, "float64": np.float64}

ToDevice = Callable[[np.ndarray], np.ndarray]


def stay_on_host(array: np.ndarray) -> np.ndarray:
    """The device of a run on the CPU."""
    return array


def expand(bits: np.ndarray, stored: str, dtype: np.dtype) -> np.ndarray:
    """A stored tensor in the dtype of the computation, exactly; no copy where it has it already."""
    if stored == "BF16":
        bits = bf16_to_f32(bits)
    elif stored == "F16":
        bits = f16_to_f32(bits)
    return bits.astype(dtype, copy=False)


def load_tensor(checkpoint: Checkpoint, name: str, dtype: np.dtype) -> np.ndarray:
    """One tensor by our name, RoPE's pairs adjacent, in the dtype of the computation."""
    tensor: StoredTensor = checkpoint.tensors[name]
    bits = tensor.load()
    part = name.rpartition(".")[2]
    if checkpoint.rope_layout == "half-split" and part in ("wq", "bq", "wk", "bk"):
        config = checkpoint.config
        heads = config.n_heads if part in ("wq", "bq") else config.n_kv_heads
        bits = adjacent_from_half_split(bits, heads)  # before it is expanded: half the bytes
    return expand(bits, tensor.dtype, dtype)


class StreamedLayer(LayerWeights):
    """One block whose matrices are expanded when they are asked for, each time, and not kept."""

    load: Callable[[str], np.ndarray]
    shapes: Mapping[str, tuple[int, ...]]

    def __init__(self, load: Callable[[str], np.ndarray], shapes: Mapping[str, tuple[int, ...]]):
        vectors = {name: load(name) for name, shape in shapes.items() if len(shape) == 1}
        vars(self).update(vectors, load=load, shapes=shapes)  # a frozen class has no other way

    def __getattr__(self, name: str) -> np.ndarray:
        """What `__init__` did not set: a matrix, or nothing that a block has."""
        if name in vars(self).get("shapes", ()):
            return self.load(name)
        raise AttributeError(name)

    def kept(self) -> LayerWeights:
        """The same block, all of it in memory."""
        return LayerWeights(**{name: getattr(self, name) for name in self.shapes})


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none of them."""

    def __init__(self, checkpoint: Checkpoint, load: Callable[[str], np.ndarray]):
        self.shapes = layer_shapes(checkpoint.config)
        self.n_layers = checkpoint.config.n_layers
        self.load = load

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
        return StreamedLayer(lambda name: self.load(prefix + name), self.shapes)


def load_weights(
    checkpoint: Checkpoint,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
) -> Weights:
    """The weights of a checkpoint as the model uses them.

    dtype: "float32" (the default) or "float64". A float32 file is used where it lies: its pages
    are read when first touched. `stream`: the matrices of the layers stay in the file, and each is
    expanded at every use; the values are the same.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")

    def load(name: str) -> np.ndarray:
        return to_device(load_tensor(checkpoint, name, np.dtype(DTYPES[dtype])))

    embeddings = load("tok_embeddings")
    lm_head = embeddings if checkpoint.config.tied_head else load("lm_head")
    layers = LayerStream(checkpoint, load)
    return Weights(
        tok_embeddings=embeddings,
        layers=layers if stream else tuple(layers[i].kept() for i in range(len(layers))),
        final_norm=load("final_norm"),
        lm_head=lm_head,
    )


def model_of(
    checkpoint: Checkpoint,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
) -> Llama:
    """A model with the weights of a checkpoint, as `load_weights` takes them."""
    return Llama(
        checkpoint.config, load_weights(checkpoint, dtype, stream, to_device), attend_blocked
    )


def load_model(
    source: str | Path,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
) -> Llama:
    """A model from any checkpoint that `open_checkpoint` reads, with the blocked attention.

    Raises CheckpointError or ConfigError where the files are not a whole, well-formed Llama.
    """
    return model_of(open_checkpoint(Path(source)), dtype, stream, to_device)
