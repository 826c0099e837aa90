"""A model as the options of a run ask for it: its dtype, its device, streamed where it must be."""

import warnings
from collections.abc import Callable
from pathlib import Path

from ..backend import open_device
from ..config import LlamaConfig
from ..formats import open_checkpoint
from ..model import Llama
from . import memory
from .weights import Progress, in_arrays, model_of, numpy_dtype, untold

Say = Callable[[str], None]


class Told(UserWarning):
    """A sentence for the user of a library: something that they did not ask for."""


def warn(line: str) -> None:
    """Tell the user of a library; commands print the sentence instead."""
    warnings.warn(line, Told, stacklevel=2)


def too_large(config: LlamaConfig, dtype: str, say: Say) -> bool:
    """Whether the weights would not fit in the free memory of the host, which is said."""
    need = memory.weight_memory(config, numpy_dtype(dtype).itemsize)
    free = memory.free_memory()
    if free is None or need.resident <= free:
        return False
    say(
        f"streaming the weights: as {dtype} they take {memory.human(need.resident)}, and only "
        f"{memory.human(free)} of memory are free"
    )
    return True


def open_llama(
    path: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    stream: bool | None = None,
    say: Say = warn,
    progress: Progress = untold,
) -> Llama:
    """The model in any checkpoint that `open_checkpoint` reads.

    dtype: "float32" or "float64". device: "cpu", "cuda" or "auto". stream: leave the matrices in
    the file, with the same values; None does so on the host, where they would not fit in its free
    memory, and tells `say`. Raises CheckpointError, ConfigError or InputError.
    """
    backend = open_device(device)
    checkpoint = open_checkpoint(path)
    if stream is None:
        stream = backend.name == "cpu" and too_large(checkpoint.config, dtype, say)
    return model_of(checkpoint, dtype, stream, backend.to_device, progress)


def open_reference(path: str | Path, stream: bool | None = None, say: Say = warn) -> Llama:
    """The model that goldens are of, in float32: each of its weights is an array.

    stream: make those of a layer anew whenever it is asked for; None does so where all would not
    fit in the free memory, and tells `say`. Raises CheckpointError or ConfigError.
    """
    return in_arrays(open_llama(path, stream=stream, say=say))
