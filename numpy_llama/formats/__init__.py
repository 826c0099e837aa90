"""Checkpoints: one file a format, all giving the same named tensors and LlamaConfig.

What a path holds is decided by its content, not by its name.
"""

from pathlib import Path

from ..errors import CheckpointError
from .checkpoint import Checkpoint, StoredTensor

__all__ = ["Checkpoint", "StoredTensor", "open_checkpoint"]

# What people download by mistake, by its first bytes.
IMPOSTORS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<!DOCTYPE": "an HTML page, not a model: the download went wrong",
    b"<!doctype": "an HTML page, not a model: the download went wrong",
    b"<html": "an HTML page, not a model: the download went wrong",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
}


def check_path(path: Path) -> None:
    """Raise CheckpointError unless `path` is a directory or a regular file that can be read."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory")
    if not path.is_dir() and not path.is_file():
        raise CheckpointError(f"{path}: neither a regular file nor a directory")


def first_bytes(path: Path) -> bytes:
    """The start of a file; raises CheckpointError for an empty or unreadable one, or an impostor."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    for magic, what in IMPOSTORS.items():
        if head.startswith(magic):
            raise CheckpointError(f"{path}: this is {what}")
    return head


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any known format. Reads headers; no tensor is read until it is asked for.

    Raises CheckpointError or ConfigError, in one sentence that names the file.
    """
    from . import gguf, huggingface

    check_path(path)
    if path.is_dir():
        if (path / "config.json").is_file():
            return huggingface.read(path)
        raise CheckpointError(f"{path}: this directory holds no model: config.json is missing")
    head = first_bytes(path)
    if head.startswith(b"GGUF"):
        return gguf.read(path)
    raise CheckpointError(
        f"{path}: not a checkpoint that is known here (it starts with {head[:8]!r}): give a GGUF "
        "file or a Hugging Face directory"
    )
