"""Formats of weights: of each a small valid file, and what reads it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numpy_llama.formats.checkpoint import Checkpoint
from numpy_llama.formats.gguf.read import read as read_gguf
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.config import config_to_hf
from numpy_llama.formats.huggingface.read import CONFIG, INDEX, SINGLE
from numpy_llama.formats.llama2c import read as llama2c
from numpy_llama.formats.torch import meta
from tests.fuzz.format import Format
from tests.fuzz.mutate import mutated_json
from tests.malformed.test_gguf import SMALL as GGUF
from tests.malformed.test_llama2c import SMALL as LLAMA2C
from tests.malformed.test_llama2c import WRITERS
from tests.malformed.test_mutations import SHARD, SMALL, index_of
from tests.malformed.test_npz import SMALL as NPZ
from tests.malformed.test_npz import hf_tensors, write_npz
from tests.malformed.test_npz import read as read_npz
from tests.malformed.test_pickle import PART, torch_members, write_meta, write_torch, write_zip
from tests.malformed.test_pickle import SMALL as META
from tests.models import random_tensors

CONFIG_JSON = json.dumps(config_to_hf(SMALL)).encode()


def load(checkpoint: Checkpoint) -> None:
    """All of its tensors."""
    for tensor in checkpoint.tensors.values():
        assert tensor.load().shape == tensor.shape


def reading(name: str, read: Callable[[Path], Checkpoint]) -> Callable[[Path, bytes], None]:
    """Write the content under a name; read the directory, or the file where `read` takes one."""

    def use(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        load(read(folder / name if read in (read_gguf, llama2c.read) else folder))

    return use


def huggingface_directory(folder: Path) -> None:
    (folder / CONFIG).write_bytes(CONFIG_JSON)
    (folder / SINGLE).write_bytes(SHARD)


def safetensors(folder: Path) -> Format:
    huggingface_directory(folder)
    return Format(SHARD, reading(SINGLE, huggingface.read))


def config(folder: Path) -> Format:
    huggingface_directory(folder)
    return Format(CONFIG_JSON, reading(CONFIG, huggingface.read), mutated_json)


def index(folder: Path) -> Format:
    huggingface_directory(folder)
    (folder / SINGLE).rename(folder / "a.safetensors")
    seed = json.dumps(index_of()).encode()
    return Format(seed, reading(INDEX, huggingface.read), mutated_json)


def gguf(folder: Path) -> Format:
    return Format(GGUF, reading("model.gguf", read_gguf))


def llama2c_of(version: int) -> Callable[[Path], Format]:
    def build(folder: Path) -> Format:
        path = folder / "model.bin"
        WRITERS[version](path, LLAMA2C, random_tensors(LLAMA2C, dtype=np.float32))
        return Format(path.read_bytes(), reading(path.name, llama2c.read))

    return build


def npz_of(compressed: bool) -> Callable[[Path], Format]:
    def build(folder: Path) -> Format:
        path = write_npz(folder, NPZ, hf_tensors(NPZ), compressed)

        def use(folder: Path, content: bytes) -> None:
            path.write_bytes(content)
            load(read_npz(path))

        return Format(path.read_bytes(), use)

    return build


def meta_directory(folder: Path) -> Path:
    write_meta(folder, META, random_tensors(META, dtype=np.float32), multiple_of=12)
    return folder / "consolidated.00.pth"


def pickle(folder: Path) -> Format:
    path, members = meta_directory(folder), torch_members(PART)

    def use(folder: Path, content: bytes) -> None:
        write_zip(path, members | {"archive/data.pkl": content})
        load(meta.read(folder))

    return Format(members["archive/data.pkl"], use)


def torch_archive(folder: Path) -> Format:
    path = meta_directory(folder)
    return Format(write_torch(path, PART).read_bytes(), reading(path.name, meta.read))


def params(folder: Path) -> Format:
    meta_directory(folder)
    seed = (folder / "params.json").read_bytes()
    return Format(seed, reading("params.json", meta.read), mutated_json)


FORMATS = {
    "safetensors": safetensors,
    "config.json": config,
    "model.safetensors.index.json": index,
    "gguf": gguf,
    **{f"llama2c version {version}": llama2c_of(version) for version in WRITERS},
    "npz": npz_of(False),
    "npz, compressed": npz_of(True),
    "torch's pickle": pickle,
    "torch's archive": torch_archive,
    "params.json": params,
}
