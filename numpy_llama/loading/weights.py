"""From a checkpoint's stored tensors to the model's arrays: all at once, or one layer at a time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..attention import attend_blocked
from ..choices import DTYPES
from ..errors import InputError
from ..formats import Checkpoint, StoredTensor, open_checkpoint
from ..model import Llama
from ..parameters import LayerWeights, Weights, rotated_heads
from ..rope import adjacent_rows
from .layer_stream import LayerStream
from .streamed_matrix import TO_F32, StreamedMatrix

ToDevice = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]


def stay_on_host(array: np.ndarray) -> np.ndarray:
    """The device of a run on the CPU."""
    return array


def untold(done: int, total: int) -> None:
    """The progress that nobody asked for."""


def numpy_dtype(name: str) -> np.dtype:
    """The dtype of a computation: "float32" or "float64". Raises InputError for another name."""
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return np.dtype(name)


def expand(bits: np.ndarray, stored: str, dtype: np.dtype) -> np.ndarray:
    """A stored tensor in the dtype of the computation, exactly; no copy where it has it already."""
    if stored in TO_F32:
        bits = TO_F32[stored](bits)
    return bits.astype(dtype, copy=False)


def count_not_finite(checkpoint: Checkpoint) -> dict[str, int]:
    """How many values are NaN or infinite, by our name of each tensor that has any. Reads all."""
    found = {}
    for name, tensor in checkpoint.tensors.items():
        bits = tensor.load()
        values = TO_F32[tensor.dtype](bits) if tensor.dtype in TO_F32 else bits
        found[name] = values.size - int(np.count_nonzero(np.isfinite(values)))
    return {name: count for name, count in found.items() if count}


def load_tensor(checkpoint: Checkpoint, name: str, dtype: np.dtype) -> np.ndarray:
    """One tensor by our name, RoPE's pairs adjacent, in the dtype of the computation."""
    tensor: StoredTensor = checkpoint.tensors[name]
    bits = tensor.load()
    heads = rotated_heads(name, checkpoint.config)
    if heads and checkpoint.rope_layout == "half-split":
        bits = adjacent_rows(bits, heads)  # before it is expanded: half the bytes
    return expand(bits, tensor.dtype, dtype)


def stored_matrix(checkpoint: Checkpoint, name: str, dtype: np.dtype) -> Any:
    """The same of a matrix, for a product or a table: one of 16-bit floats stays in the file."""
    tensor: StoredTensor = checkpoint.tensors[name]
    if tensor.dtype not in TO_F32:
        return load_tensor(checkpoint, name, dtype)
    order = None
    heads = rotated_heads(name, checkpoint.config)
    if heads and checkpoint.rope_layout == "half-split":
        order = adjacent_rows(np.arange(tensor.shape[0]), heads)
    return StreamedMatrix(tensor.load(), tensor.dtype, dtype, order)


def load_weights(
    checkpoint: Checkpoint,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
    progress: Progress = untold,
) -> Weights:
    """The weights of a checkpoint as the model uses them.

    dtype: "float32" (the default) or "float64". A float32 file is used where it lies: its pages
    are read when first touched. `stream`: matrices stay in the file, and each is expanded at every
    use; the values are the same, and sums may be taken in another order.
    """
    computed = numpy_dtype(dtype)

    def load(name: str) -> np.ndarray:
        return to_device(load_tensor(checkpoint, name, computed))

    gain = load("final_norm")
    on_host = isinstance(gain, np.ndarray)
    matrix = partial(stored_matrix, checkpoint, dtype=computed) if on_host else load
    outer = matrix if stream else load
    embeddings = outer("tok_embeddings")
    layers = LayerStream(checkpoint.config, load, matrix)

    def kept(i: int) -> LayerWeights:
        progress(i, len(layers))
        return layers.kept(i)

    return Weights(
        tok_embeddings=embeddings,
        layers=layers if stream else tuple(map(kept, range(len(layers)))),
        final_norm=gain,
        lm_head=embeddings if checkpoint.config.tied_head else outer("lm_head"),
    )


def model_of(
    checkpoint: Checkpoint,
    dtype: str = "float32",
    stream: bool = False,
    to_device: ToDevice = stay_on_host,
    progress: Progress = untold,
) -> Llama:
    """A model with the weights of a checkpoint, as `load_weights` takes them."""
    weights = load_weights(checkpoint, dtype, stream, to_device, progress)
    return Llama(checkpoint.config, weights, attend_blocked)


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


def in_arrays(model: Llama) -> Llama:
    """The same model, each of its weights an array of NumPy, as goldens need them.

    Where it is streamed, those of a layer are made anew whenever it is asked for.
    """
    w = model.weights
    if not isinstance(w.layers, LayerStream):
        return model
    table, head = w.tok_embeddings, w.lm_head
    arrays = {id(a): np.asarray(a) if isinstance(a, StreamedMatrix) else a for a in (table, head)}
    layers = w.layers.in_arrays()
    weights = replace(w, tok_embeddings=arrays[id(table)], layers=layers, lm_head=arrays[id(head)])
    return replace(model, weights=weights)
