"""llama2.c's files, against a writer of each version that shares nothing with the reader."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import CheckpointError, ConfigError
from numpy_llama.formats.llama2c import read as llama2c
from numpy_llama.formats.llama2c import write as writer
from tests.models import random_tensors, tiny_config

CONFIG = tiny_config(dim=48, n_layers=2, max_context=20)  # head_dim 8 = 48 / 6
GROUP = 16

Arrays = dict[str, np.ndarray]
Writer = Callable[[Path, LlamaConfig, Arrays], Arrays]


def integers(config: LlamaConfig, vocab_size: int) -> bytes:
    """The seven integers that every version begins with."""
    sizes = (config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads)
    return struct.pack("<7i", *sizes, vocab_size, config.max_context)


def stacked(tensors: Arrays, config: LlamaConfig, kind: str) -> list[np.ndarray]:
    """One kind of tensor of all layers."""
    return [tensors[f"layers.{i}.{kind}"] for i in range(config.n_layers)]


def small_header(version: int, config: LlamaConfig) -> bytes:
    """The header of versions 1 and 2."""
    start = b"24ka" + struct.pack("<i", version) + integers(config, config.vocab_size)
    start += bytes([config.tied_head]) + struct.pack("<i", GROUP if version == 2 else 0)
    return start.ljust(256, b"\0")


def write_v0(path: Path, config: LlamaConfig, tensors: Arrays) -> Arrays:
    """Version 0. Returns what a reader must find."""
    vocab_size = config.vocab_size if config.tied_head else -config.vocab_size
    arrays = [tensors["tok_embeddings"]]
    for kind in "attn_norm wq wk wv wo ffn_norm w_gate w_down w_up".split():
        arrays += stacked(tensors, config, kind)
    arrays.append(tensors["final_norm"])
    table = np.full((config.max_context, config.head_dim // 2), np.nan, np.float32)
    arrays += [table, table]  # RoPE's: nobody reads them
    if not config.tied_head:
        arrays.append(tensors["lm_head"])
    path.write_bytes(integers(config, vocab_size) + b"".join(a.tobytes() for a in arrays))
    return tensors


def write_v1(path: Path, config: LlamaConfig, tensors: Arrays) -> Arrays:
    """Version 1. Returns what a reader must find."""
    arrays = stacked(tensors, config, "attn_norm") + stacked(tensors, config, "ffn_norm")
    arrays += [tensors["final_norm"], tensors["tok_embeddings"]]
    for kind in "wq wk wv wo w_gate w_down w_up".split():
        arrays += stacked(tensors, config, kind)
    if not config.tied_head:
        arrays.append(tensors["lm_head"])
    path.write_bytes(small_header(1, config) + b"".join(a.tobytes() for a in arrays))
    return tensors


def write_v2(path: Path, config: LlamaConfig, tensors: Arrays) -> Arrays:
    """Version 2, its integers and scales random. Returns q · scale, each computed by itself."""
    rng = np.random.default_rng(1)
    norms = [f"layers.{i}.{kind}" for kind in ("attn_norm", "ffn_norm") for i in range(2)]
    norms.append("final_norm")
    kinds = "wq wk wv wo w_gate w_down w_up".split()
    matrices = ["tok_embeddings"] + [f"layers.{i}.{kind}" for kind in kinds for i in range(2)]
    matrices += [] if config.tied_head else ["lm_head"]
    data = small_header(2, config) + b"".join(tensors[name].tobytes() for name in norms)
    expected = {name: tensors[name] for name in norms}
    for name in matrices:
        q = rng.integers(-128, 128, tensors[name].size, dtype=np.int8)
        scales = rng.lognormal(-3, 1, q.size // GROUP).astype(np.float32)
        values = [float(v) * float(scales[i // GROUP]) for i, v in enumerate(q)]  # in float64
        expected[name] = np.array(values, np.float32).reshape(tensors[name].shape)
        data += q.tobytes() + scales.tobytes()
    path.write_bytes(data)
    return expected


WRITERS: dict[int, Writer] = {0: write_v0, 1: write_v1, 2: write_v2}


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_every_version_is_read_bit_for_bit(
    tmp_path: Path, n_kv_heads: int, tied: bool, version: int
) -> None:
    config = replace(CONFIG, n_kv_heads=n_kv_heads, tied_head=tied)
    path = tmp_path / "model.bin"
    expected = WRITERS[version](path, config, random_tensors(config, dtype=np.float32))
    assert llama2c.recognises(path)
    checkpoint = llama2c.read(path)
    assert checkpoint.config == config and checkpoint.rope_layout == "adjacent"
    assert checkpoint.tensors.keys() == expected.keys()
    for name, array in expected.items():
        found = checkpoint.tensors[name].load()
        assert found.dtype == np.float32 and found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("version", [0, 1])
def test_floats_are_mapped_and_not_copied(tmp_path: Path, version: int) -> None:
    path = tmp_path / "model.bin"
    WRITERS[version](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    for tensor in llama2c.read(path).tensors.values():
        array = tensor.load()
        assert not array.flags.owndata and not array.flags.writeable


@pytest.mark.parametrize("tied", [False, True])
def test_our_writer_writes_what_the_format_says(tmp_path: Path, tied: bool) -> None:
    config = replace(CONFIG, tied_head=tied)
    tensors = random_tensors(config, dtype=np.float32)
    write_v0(tmp_path / "theirs.bin", config, tensors)
    writer.write_v0(tmp_path / "ours.bin", config, tensors)
    theirs = np.frombuffer((tmp_path / "theirs.bin").read_bytes()[28:], np.float32)
    ours = np.frombuffer((tmp_path / "ours.bin").read_bytes()[28:], np.float32)
    tables = np.isnan(theirs)
    np.testing.assert_array_equal(ours[~tables], theirs[~tables])
    angles = np.array([[m * 10000 ** (-2 * i / 8) for i in range(4)] for m in range(20)])
    np.testing.assert_allclose(ours[tables], np.r_[np.cos(angles), np.sin(angles)].ravel(), 1e-6)
    assert (tmp_path / "ours.bin").read_bytes()[:28] == (tmp_path / "theirs.bin").read_bytes()[:28]


CANNOT_HOLD: dict[str, dict[str, Any]] = {
    "norm_eps": {"norm_eps": 1e-6},
    "rope_theta": {"rope_theta": 500000.0},
    "rope_scaling": {"rope_scaling": RopeScaling("linear", factor=2.0)},
    "head_dim": {"head_dim": 6},
    "biases": {"attention_bias": True},
}


@pytest.mark.parametrize("what", CANNOT_HOLD)
def test_a_config_that_the_format_cannot_hold_is_not_written(tmp_path: Path, what: str) -> None:
    config = replace(CONFIG, **CANNOT_HOLD[what])
    with pytest.raises(ConfigError, match=what):
        writer.write_v0(tmp_path / "model.bin", config, random_tensors(config))
    assert not list(tmp_path.iterdir())


def test_a_missing_tensor_is_not_written(tmp_path: Path) -> None:
    tensors = random_tensors(CONFIG)
    del tensors["layers.1.wk"]
    with pytest.raises(CheckpointError, match="layers.1.wk"):
        writer.write_v0(tmp_path / "model.bin", CONFIG, tensors)
    assert not list(tmp_path.iterdir())


def test_a_scale_that_overflows_gives_infinities_and_no_warning(tmp_path: Path) -> None:
    """As a damaged file may have; generation then names the first tap that is not finite."""
    path = tmp_path / "model.bin"
    WRITERS[2](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    path.write_bytes(path.read_bytes()[:-4] + np.float32(3e38).tobytes())
    tensors = llama2c.read(path).tensors.values()
    assert sum(not np.isfinite(tensor.load()).all() for tensor in tensors) == 1
