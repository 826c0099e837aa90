"""From a checkpoint's stored tensors to the model's arrays: all at once, or one layer at a time."""

from collections.abc import Callable, Sequence
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


class LayerStream(Sequence[LayerWeights]):
    """The layers of a checkpoint as a sequence that keeps none: each is expanded when asked for."""

    def __init__(self, checkpoint: Checkpoint, dtype: np.dtype, to_device: ToDevice):
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.to_device = to_device

    def __len__(self) -> int:
        return self.checkpoint.config.n_layers

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
        names = layer_shapes(self.checkpoint.config)
        return LayerWeights(
            **{
                name: self.to_device(load_tensor(self.checkpoint, f"layers.{i}.{name}", self.dtype))
                for name in names
            }
        )


def load_weights(
    checkpoint: Checkpoint,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
) -> Weights:
    """The weights of a checkpoint as the model uses them.

    dtype: "float32" (the default) or "float64". A float32 file is used where it lies: its pages
    are read when first touched. `stream`: the layers are expanded one at a time, at every forward.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    compute = np.dtype(DTYPES[dtype])
    embeddings = to_device(load_tensor(checkpoint, "tok_embeddings", compute))
    if checkpoint.config.tied_head:
        lm_head = embeddings
    else:
        lm_head = to_device(load_tensor(checkpoint, "lm_head", compute))
    layers = LayerStream(checkpoint, compute, to_device)
    return Weights(
        tok_embeddings=embeddings,
        layers=layers if stream else tuple(layers),
        final_norm=to_device(load_tensor(checkpoint, "final_norm", compute)),
        lm_head=lm_head,
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
    checkpoint = open_checkpoint(Path(source))
    weights = load_weights(checkpoint, dtype, stream, to_device)
    return Llama(checkpoint.config, weights, attend_blocked)
