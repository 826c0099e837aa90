"""Every format × every dtype that it can hold × MHA, GQA, MQA × tied and untied: the same logits.

Each file is written by a writer of its own, in the tests of its format. The judge is the model on
the very numbers that the file holds, in arrays that no reader has touched; the Hugging Face form
of the same weights is the first row, and every other row meets it there.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import gguf
import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.formats import open_checkpoint
from numpy_llama.formats.huggingface.read import hf_name
from numpy_llama.loading.weights import load_weights
from numpy_llama.model import Llama
from tests.formats.test_gguf import half_split_rows
from tests.formats.test_llama2c import WRITERS
from tests.formats.test_meta import write_meta
from tests.formats.test_pytorch_bin import config_json, write_sharded, write_single
from tests.gguf_files import write_llama
from tests.models import random_tensors, random_tokens, tiny_config, weights_of

Arrays = dict[str, np.ndarray]

# Meta's formula gives hidden_dim, llama2.c's head_dim is dim / n_heads, GGUF's blocks have 32.
CONFIG = tiny_config(
    dim=96, n_layers=2, head_dim=16, hidden_dim=256, vocab_size=58, max_context=4096
)
HEADS = {"MHA": 6, "GQA": 2, "MQA": 1}
FLOATS = ("F32", "F16", "BF16")


@lru_cache
def drawn(config: LlamaConfig) -> Arrays:
    """Random weights that bfloat16 holds: float32 with nothing in its lower half."""
    tensors = random_tensors(config, dtype=np.float32)
    return {name: (a.view(np.uint32) & 0xFFFF0000).view("f4") for name, a in tensors.items()}


def stored(arrays: Arrays, dtype: str) -> Arrays:
    """The bits of each array in a file of that dtype."""
    if dtype == "BF16":
        return {name: (a.view(np.uint32) >> 16).astype("u2") for name, a in arrays.items()}
    return {name: a.astype({"F32": "f4", "F16": "f2"}[dtype]) for name, a in arrays.items()}


def held(arrays: Arrays, dtype: str) -> Arrays:
    """The numbers that a file of that dtype holds."""
    return stored(arrays, "F16") if dtype == "F16" else arrays


def hugging_face(arrays: Arrays, config: LlamaConfig) -> Arrays:
    """Under Hugging Face's names, the pairs of RoPE apart."""
    heads = {"wq": config.n_heads, "wk": config.n_kv_heads}
    return {
        hf_name(name): half_split_rows(a, heads[kind]) if kind in heads else a
        for name, a in arrays.items()
        for kind in [name.rpartition(".")[2]]
    }


# — one writer a format: it returns what to open, and the numbers that the file holds —

Written = tuple[Path, Arrays]


def write_safetensors(path: Path, arrays: Arrays) -> None:
    """Byte by byte: NumPy has no bfloat16, and so the library's NumPy side has none."""
    header, data = {}, b""
    for name, a in arrays.items():
        dtype = {"f4": "F32", "f2": "F16", "u2": "BF16"}[a.dtype.str[1:]]
        offsets = [len(data), len(data) + a.nbytes]
        header[name] = {"dtype": dtype, "shape": a.shape, "data_offsets": offsets}
        data += a.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_hf(folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str, shards: int) -> Written:
    tensors = hugging_face(stored(arrays, dtype), config)
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder, held(arrays, dtype)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[i::shards])
        write_safetensors(folder / file, part)
        weight_map |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return folder, held(arrays, dtype)


def write_bin(
    folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str, shards: int
) -> Written:
    tensors = hugging_face(stored(arrays, dtype), config)
    (write_single if shards == 1 else write_sharded)(folder, config, tensors)
    return folder, held(arrays, dtype)


def write_meta_parts(
    folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str, ranks: int
) -> Written:
    write_meta(folder, config, stored(arrays, dtype), ranks, embed_axis=1, multiple_of=32)
    return folder, held(arrays, dtype)


def write_npz(folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str) -> Written:
    tensors = hugging_face(stored(arrays, dtype), config)
    if dtype == "BF16":
        tensors = {name: a.view("V2") for name, a in tensors.items()}  # as NumPy saves it
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    np.savez(folder / "model.npz", **tensors)
    return folder / "model.npz", held(arrays, dtype)


def write_llama2c(
    folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str, version: int
) -> Written:
    return folder / "model.bin", WRITERS[version](folder / "model.bin", config, arrays)


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """A matrix as `gguf` quantises and dequantises it; GGUF keeps vectors in float32."""
    if array.ndim == 1:
        return array
    kind = gguf.GGMLQuantizationType[dtype]
    return gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind).reshape(array.shape)


def write_gguf(folder: Path, config: LlamaConfig, arrays: Arrays, dtype: str) -> Written:
    path = write_llama(folder / "model.gguf", config, arrays, dtype)
    return path, {name: rounded(array, dtype) for name, array in arrays.items()}


BLOCKS_OF_32 = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")
BLOCKS_OF_256 = ("TQ1_0", "TQ2_0")
FORMATS: dict[str, tuple[Callable[..., Written], tuple[str, ...], tuple[int, ...]]] = {
    "safetensors": (write_hf, FLOATS, (1,)),
    "safetensors, 3 shards": (write_hf, FLOATS, (3,)),
    "PyTorch .bin": (write_bin, FLOATS, (1,)),
    "PyTorch .bin, 2 shards": (write_bin, FLOATS, (2,)),
    "Meta": (write_meta_parts, FLOATS, (1,)),
    "Meta, 2 parts": (write_meta_parts, FLOATS, (2,)),
    "npz": (write_npz, FLOATS, ()),
    "llama2.c version 0": (write_llama2c, ("F32",), (0,)),
    "llama2.c version 1": (write_llama2c, ("F32",), (1,)),
    "llama2.c version 2": (write_llama2c, ("int8",), (2,)),
    "GGUF": (write_gguf, (*FLOATS, *BLOCKS_OF_32, *BLOCKS_OF_256), ()),
}
ROWS = [(name, dtype) for name, (_, dtypes, _) in FORMATS.items() for dtype in dtypes]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("name", "dtype"), ROWS)
def test_logits(tmp_path: Path, name: str, dtype: str, heads: str, tied: bool) -> None:
    config = replace(CONFIG, n_kv_heads=HEADS[heads], tied_head=tied)
    if dtype in BLOCKS_OF_256:
        config = replace(config, dim=256, head_dim=128, hidden_dim=512)  # six heads of 128: 3 · 256
    write, _, more = FORMATS[name]
    path, numbers = write(tmp_path, config, drawn(config), dtype, *more)
    checkpoint = open_checkpoint(path, rope_layout="half-split")
    assert checkpoint.config == config
    exact = {n: np.asarray(a, np.float64) for n, a in numbers.items()}
    tokens = random_tokens(config, 12)
    expected = Llama(config, weights_of(config, exact)).forward(tokens)
    logits = Llama(config, load_weights(checkpoint, "float64")).forward(tokens)
    assert logits.dtype == np.float64
    assert np.abs(logits - expected).max() <= 1e-6 * np.abs(expected).max()


def test_every_type_that_gguf_can_write_is_here() -> None:
    """The types that `gguf` can quantise to, found by asking it."""
    block = np.ones((1, 256), np.float32)
    written = set()
    for kind in gguf.GGMLQuantizationType:
        try:
            gguf.quants.quantize(block, kind)
        except NotImplementedError:
            continue
        written.add(kind.name)
    assert written == set(FORMATS["GGUF"][1])
