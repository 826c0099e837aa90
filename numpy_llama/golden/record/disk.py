"""The two files of a golden: written so that it is the old one or the new one, and read.

A golden that takes the place of another is there from one moment to the next: when its JSON is.
Its values wait until then as golden-HASH.safetensors, and are found under that name too.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...config import LlamaConfig
from ...errors import InputError
from ...formats.checkpoint import StoredTensor
from ...formats.huggingface.safetensors import read_file, write_file
from ...formats.storage.files import sha256_of, sync_directory, write_json
from ...formats.storage.lock import locked
from ...formats.storage.strict_json import shown
from ...taps import tap_names
from ..replay.rows import tap_shape

JSON, VALUES = "golden.json", "golden.safetensors"
UNNAMED = "golden-.safetensors"  # while its hash is not known


def waiting_name(sha256: str) -> str:
    """The file of a golden's values until its JSON is there."""
    return f"golden-{sha256}.safetensors"


def values_path(directory: Path, sha256: object) -> Path:
    """The file of the values with this hash. Raises InputError if there is none."""
    files = (directory / VALUES, directory / waiting_name(str(sha256)[:16]))
    for path in files:
        if path.is_file() and sha256_of(path) == sha256:
            return path
    if not files[0].is_file():
        raise InputError(f"{files[0]}: does not exist")
    raise InputError(f"{files[0]}: is not the file that {JSON} was written with")


def text_of(content: dict[str, Any]) -> str:
    """A golden's JSON."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """The content and, last, the sha256 of its text without that."""
    content = {name: value for name, value in content.items() if name != "sha256"}
    return content | {"sha256": hashlib.sha256(text_of(content).encode()).hexdigest()}


class StoredValues(Mapping[str, np.ndarray]):
    """The taps of a file, each mapped when it is asked for."""

    def __init__(self, tensors: Mapping[str, StoredTensor], order: list[str]):
        self.tensors = tensors
        self.order = order

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def read_values(path: Path, config: LlamaConfig, T: int) -> StoredValues:
    """The taps of a golden's file, their names and shapes checked."""
    tensors = read_file(path)
    order = tap_names(config.n_layers)
    for name, tensor in tensors.items():
        if name not in order:
            raise InputError(f"{path}: {shown(name)} is no tap of the model in {JSON}")
        expected = tap_shape(name, config, T)
        if tensor.shape != expected or tensor.dtype != "F32":
            raise InputError(
                f"{path}: {name} is {tensor.dtype} {tensor.shape}, {JSON} calls for F32 {expected}"
            )
    if not tensors:
        raise InputError(f"{path}: holds no taps")
    return StoredValues(tensors, [name for name in order if name in tensors])


def replace_both(
    directory: Path, values: Mapping[str, np.ndarray], content: Callable[[str], dict[str, Any]]
) -> None:
    """Write both files over what is there, and over what a run that was ended left.

    The values go where no reader looks, the JSON that asks for them takes the place of the old
    one, and then they get their name. content: the JSON's, for the sha256 of the values' file.
    """
    tensors = [
        (name, "F32", array.shape, np.ascontiguousarray(array, np.float32))
        for name, array in values.items()
    ]
    with locked(directory / "golden"):
        digest = write_file(directory / UNNAMED, tensors, {"format": "numpy_llama golden"})
        os.replace(directory / UNNAMED, waiting := directory / waiting_name(digest[:16]))
        sync_directory(directory)  # on the disk before the JSON is: a power cut keeps no order
        write_json(directory / JSON, signed(content(digest)), indent=1)
        os.replace(waiting, directory / VALUES)
        for left in directory.glob(waiting_name("[0-9a-f]" * 16)):  # by a run that was ended
            left.unlink()
        sync_directory(directory)
