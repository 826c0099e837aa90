"""Malformed directories: index and shards (X1 to X10), and tensors that do not fit (C, W)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.errors import CheckpointError, ConfigError
from numpy_llama.formats.checkpoint import expected_shapes
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.config import config_to_hf
from numpy_llama.formats.huggingface.read import CONFIG, INDEX, SINGLE, hf_name
from numpy_llama.formats.huggingface.safetensors import read_file, write_file
from tests.malformed.limits import check_accepted, check_refused
from tests.models import tiny_config

Tensors = dict[str, tuple[str, np.ndarray]]  # Hugging Face's name: dtype and values
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def model_tensors(**overrides: Any) -> Tensors:
    """The tensors of a tiny model."""
    rng = np.random.default_rng(0)
    return {
        hf_name(name): ("F32", rng.random(shape, np.float32))
        for name, shape in expected_shapes(tiny_config(n_layers=1, **overrides))
    }


def write_tensors(path: Path, tensors: Tensors) -> None:
    """A safetensors file of these tensors."""
    write_file(path, [(name, dtype, a.shape, a) for name, (dtype, a) in tensors.items()], {})


def write_config(directory: Path, changes: Mapping[str, Any] | None = None) -> None:
    """The config.json of the tiny model, with changes."""
    raw = config_to_hf(tiny_config(n_layers=1)) | dict(changes or {})
    (directory / CONFIG).write_text(json.dumps(raw))


def write_single(directory: Path, tensors: Tensors | None = None, **changes: Any) -> Path:
    """A directory with a single file."""
    write_config(directory, changes)
    write_tensors(directory / SINGLE, model_tensors() if tensors is None else tensors)
    return directory


def write_sharded(directory: Path) -> dict[str, Any]:
    """A good directory of two shards; returns its index, for the test to break."""
    write_config(directory)
    tensors = list(model_tensors().items())
    halves = dict(zip(SHARDS, (dict(tensors[:5]), dict(tensors[5:])), strict=True))
    for file, half in halves.items():
        write_tensors(directory / file, half)
    index = {
        "metadata": {"total_size": sum(array.nbytes for _, (_, array) in tensors)},
        "weight_map": {name: file for file, half in halves.items() for name in half},
    }
    write_index(directory, index)
    return index


def write_index(directory: Path, index: Any) -> None:
    """The index, as JSON."""
    (directory / INDEX).write_text(json.dumps(index))


def check_index(directory: Path, *words: str) -> str:
    """Reading the directory is refused, with these words."""
    return check_refused(lambda: huggingface.read(directory), CheckpointError, *words)


def test_good_shards_are_accepted(tmp_path: Path) -> None:
    """What every test below breaks."""
    write_sharded(tmp_path)
    tensors = check_accepted(lambda: huggingface.read(tmp_path)).tensors
    for name, (_, values) in model_tensors().items():
        assert np.array_equal(tensors[huggingface.our_name(name) or ""].load(), values)


OUTSIDE = [
    "../model.safetensors",
    "/etc/model.safetensors",
    "C:\\model.safetensors",
    "C:model.safetensors",
    "\\\\server\\share\\model.safetensors",
    "sub/model.safetensors",
    "sub\\model.safetensors",
    "model.safetensors\0.safetensors",
    "",
    ".",
    "..",
    "config.json",
    "\ud800.safetensors",
    "line\nbreak.safetensors",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_x1_shard_outside_the_directory(name: str, tmp_path: Path) -> None:
    """Whatever is not a plain name of a .safetensors file."""
    index = write_sharded(tmp_path)
    index["weight_map"]["model.norm.weight"] = name
    write_index(tmp_path, index)
    check_index(tmp_path, INDEX, "weight_map", "model.norm.weight")


def test_x2_shard_that_is_a_link(tmp_path: Path) -> None:
    """The hub's cache is made of links to files elsewhere: they are followed."""
    write_sharded(tmp_path)
    (tmp_path / "blobs").mkdir()
    os.rename(tmp_path / SHARDS[0], tmp_path / "blobs" / "0123")
    (tmp_path / SHARDS[0]).symlink_to(Path("blobs") / "0123")
    check_accepted(lambda: huggingface.read(tmp_path))


def test_x2_link_that_leads_nowhere(tmp_path: Path) -> None:
    """As a cache is left by a download that was interrupted."""
    write_sharded(tmp_path)
    (tmp_path / SHARDS[0]).unlink()
    (tmp_path / SHARDS[0]).symlink_to("gone")
    check_index(tmp_path, SHARDS[0], "does not exist")


def test_x3_shard_missing(tmp_path: Path) -> None:
    """Named."""
    write_sharded(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    check_index(tmp_path, SHARDS[1], "does not exist")


def test_x4_tensor_that_its_shard_lacks(tmp_path: Path) -> None:
    """The index promises one more."""
    index = write_sharded(tmp_path)
    index["weight_map"]["model.layers.9.input_layernorm.weight"] = SHARDS[0]
    write_index(tmp_path, index)
    check_index(tmp_path, SHARDS[0], "model.layers.9.input_layernorm.weight", "lacks")


def test_x5_tensor_in_two_shards(tmp_path: Path) -> None:
    """Which of them would count depends on the reader."""
    write_sharded(tmp_path)
    twice = "model.embed_tokens.weight"
    second = {name: ("F32", t.load()) for name, t in read_file(tmp_path / SHARDS[1]).items()}
    write_tensors(tmp_path / SHARDS[1], second | {twice: model_tensors()[twice]})
    check_index(tmp_path, SHARDS[1], twice, SHARDS[0])


def test_x6_tensor_that_the_index_does_not_list(tmp_path: Path) -> None:
    """It belongs to another model, or the index does."""
    index = write_sharded(tmp_path)
    del index["weight_map"]["model.norm.weight"]
    write_index(tmp_path, index)
    check_index(tmp_path, SHARDS[1], "model.norm.weight", "no file")


@pytest.mark.parametrize(
    "index",
    [
        [],
        {},
        {"weight_map": None},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"model.norm.weight": 1}},
        {"weight_map": {"model.norm.weight": ["x.safetensors"]}},
    ],
    ids=json.dumps,
)
def test_x7_weight_map_that_is_no_table_of_texts(index: Any, tmp_path: Path) -> None:
    """Of any other type, or empty."""
    write_sharded(tmp_path)
    write_index(tmp_path, index)
    check_index(tmp_path, INDEX, "weight_map")


@pytest.mark.parametrize("text", ["", "{", "{}x", '{"a":1,"a":2}', "\xff", "[" * 100_000])
def test_x7_index_that_is_not_json(text: str, tmp_path: Path) -> None:
    """Cut short, with a name twice, not UTF-8, too deep."""
    write_sharded(tmp_path)
    (tmp_path / INDEX).write_text(text, encoding="latin-1")
    check_index(tmp_path, INDEX)


@pytest.mark.parametrize("size", [0, -1, 10**15, "big", None])
def test_x8_total_size_is_ignored(size: Any, tmp_path: Path) -> None:
    """It is wrong in many real files, and each shard's header says better what must be there."""
    index = write_sharded(tmp_path)
    index["metadata"]["total_size"] = size
    write_index(tmp_path, index)
    check_accepted(lambda: huggingface.read(tmp_path))


def test_x9_shard_that_shrinks_between_two_tensors(tmp_path: Path) -> None:
    """It is opened once, and every load looks whether it is still whole."""
    write_sharded(tmp_path)
    checkpoint = huggingface.read(tmp_path)
    checkpoint.tensors["tok_embeddings"].load()
    os.truncate(tmp_path / SHARDS[0], 1000)
    check_refused(
        checkpoint.tensors["layers.0.wq"].load, CheckpointError, SHARDS[0], "shrank", "1000"
    )


def test_x10_single_file_beside_shards(tmp_path: Path) -> None:
    """Two models in one directory: the user says which."""
    write_sharded(tmp_path)
    write_tensors(tmp_path / SINGLE, model_tensors())
    check_index(tmp_path, SINGLE, INDEX, "remove")


def test_neither(tmp_path: Path) -> None:
    """A config alone is no model."""
    write_config(tmp_path)
    check_index(tmp_path, tmp_path.name, SINGLE)


# — tensors that the config does not call for —


def test_w1_tensor_missing(tmp_path: Path) -> None:
    """The first is named, and how many there are."""
    tensors = model_tensors()
    del tensors["model.layers.0.mlp.up_proj.weight"]
    write_single(tmp_path, tensors)
    check_index(tmp_path, "layers.0.w_up", "missing")


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.input_layernorm.weight",  # there is one layer, 0
        "model.layers.00.input_layernorm.weight",
        "model.layers.-1.input_layernorm.weight",
        "model.layers.99999.input_layernorm.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.q_proj.weight_scale",
        "model.layers.0.self_attn.q_proj.bias",
        "layers.0.wq",
        "transformer.h.0.attn.weight",
        "x" * 999,  # its error must fit on a screen all the same
    ],
)
def test_w2_tensor_that_the_model_does_not_have(name: str, tmp_path: Path) -> None:
    """Strict by default: a tensor left out could be one that matters."""
    extra = {name: ("F32", np.zeros(24, np.float32))}
    write_single(tmp_path, model_tensors() | extra)
    check_index(tmp_path, tmp_path.name, huggingface.our_name(name) or name[:40], "is not part of")


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]
)
def test_w2_tables_that_old_versions_saved(name: str, tmp_path: Path) -> None:
    """They follow from the config, and are left out."""
    extra = {name: ("F32", np.zeros(4, np.float32))}
    write_single(tmp_path, model_tensors() | extra)
    assert name not in check_accepted(lambda: huggingface.read(tmp_path)).tensors


def test_w3_shape_that_differs_from_the_config(tmp_path: Path) -> None:
    """And C7: the vocabulary's size is that of the embeddings."""
    write_single(tmp_path, vocab_size=62)
    check_index(tmp_path, "tok_embeddings", "(61, 24)", "(62, 24)")


def test_w4_matrix_transposed(tmp_path: Path) -> None:
    """It has the right number of elements, and is refused."""
    name = "model.layers.0.mlp.up_proj.weight"
    tensors = model_tensors()
    tensors[name] = ("F32", np.ascontiguousarray(tensors[name][1].T))
    write_single(tmp_path, tensors)
    check_index(tmp_path, "w_up", "(24, 40)", "(40, 24)")


def test_w9_weights_that_are_whole_numbers(tmp_path: Path) -> None:
    """And S36: float32 relabelled as int32 has the same size."""
    write_single(tmp_path)
    content = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(content.replace(b'"F32"', b'"I32"', 1))
    check_index(tmp_path, "model.embed_tokens.weight", "I32")


def test_c8_tied_and_the_same_head(tmp_path: Path) -> None:
    """Some tied models store the embeddings twice: accepted, and one of them dropped."""
    tensors = model_tensors()
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    write_single(tmp_path, tensors, tie_word_embeddings=True)
    assert "lm_head" not in check_accepted(lambda: huggingface.read(tmp_path)).tensors


def test_c8_tied_and_the_same_head_with_a_nan(tmp_path: Path) -> None:
    """The same means the same bits: NaN equals nothing, not even itself."""
    tensors = model_tensors()
    tensors["model.embed_tokens.weight"][1][3, 5] = np.nan
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    write_single(tmp_path, tensors, tie_word_embeddings=True)
    check_accepted(lambda: huggingface.read(tmp_path))


@pytest.mark.parametrize("row", [0, 60])
def test_c8_tied_and_another_head(row: int, tmp_path: Path) -> None:
    """One bit of one value is enough."""
    tensors = model_tensors()
    head = tensors["model.embed_tokens.weight"][1].copy()
    head.view(np.uint32)[row, -1] ^= 1
    write_single(tmp_path, tensors | {"lm_head.weight": ("F32", head)}, tie_word_embeddings=True)
    check_index(tmp_path, "tie_word_embeddings", "lm_head.weight")


def test_c8_untied_and_no_head(tmp_path: Path) -> None:
    """A tied model whose config does not say so would give noise if the head were guessed."""
    tensors = model_tensors()
    del tensors["lm_head.weight"]
    write_single(tmp_path, tensors)
    check_index(tmp_path, "lm_head.weight", "tie_word_embeddings")


@pytest.mark.parametrize("field", ["attention_bias", "mlp_bias"])
def test_c9_bias_in_the_config_alone(field: str, tmp_path: Path) -> None:
    """And the other way round: W2, above."""
    write_single(tmp_path, **{field: True})
    check_index(tmp_path, "layers.0.b", "missing")


def test_config_missing(tmp_path: Path) -> None:
    """A directory of weights alone."""
    write_tensors(tmp_path / SINGLE, model_tensors())
    check_refused(lambda: huggingface.read(tmp_path), ConfigError, CONFIG, "does not exist")
