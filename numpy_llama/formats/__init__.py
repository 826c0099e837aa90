"""Checkpoints: one file a format, all giving the same named tensors and LlamaConfig.

What a path holds is decided by its content, not by its extension.
"""

from pathlib import Path

from ..choices import RopeLayout
from ..errors import CheckpointError
from .checkpoint import Checkpoint, StoredTensor
from .storage.files import foreign_content, open_regular

__all__ = ["Checkpoint", "StoredTensor", "open_checkpoint"]

KNOWN = (
    "a Hugging Face directory, a GGUF file, Meta's directory (consolidated.00.pth, params.json), "
    "a llama2.c .bin, or an npz"
)


def open_directory(path: Path) -> Checkpoint:
    """Open a directory by the files that are in it."""
    from .huggingface import read as huggingface
    from .torch import meta, pytorch_bin

    for reader in (huggingface, meta, pytorch_bin):
        if reader.recognises(path):
            opened: Checkpoint = reader.read(path)
            return opened
    if (path / "config.json").is_file():
        raise CheckpointError(
            f"{path}: there is a config.json and no weights: model.safetensors, or "
            "model.safetensors.index.json with its shards, is missing"
        )
    raise CheckpointError(f"{path}: this directory holds no model: config.json is missing")


def open_file(path: Path, rope_layout: RopeLayout | None, n_heads: int | None) -> Checkpoint:
    """Open a file by its first bytes, or its structure."""
    from . import npz
    from .gguf import read as gguf
    from .llama2c import read as llama2c

    with open_regular(path) as file:
        head = file.read(64)
    if head.startswith(b"GGUF"):
        return gguf.read(path)
    if npz.recognises(path):
        return npz.read(path, rope_layout, n_heads)
    if llama2c.recognises(path):
        return llama2c.read(path)
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    if (path.parent / "config.json").is_file() or (path.parent / "params.json").is_file():
        raise CheckpointError(f"{path}: this is one file of a model: give its directory")
    what = foreign_content(head) or f"not a checkpoint that is known here: give {KNOWN}"
    raise CheckpointError(f"{path}: this is {what}")


def open_checkpoint(
    path: str | Path, rope_layout: RopeLayout | None = None, n_heads: int | None = None
) -> Checkpoint:
    """Open a checkpoint of any known format. Headers are read; a tensor, when it is asked for.

    rope_layout and n_heads are looked at for an npz only, which does not say them.
    Raises CheckpointError or ConfigError, in one sentence that names the file.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory")
    return open_directory(path) if path.is_dir() else open_file(path, rope_layout, n_heads)
