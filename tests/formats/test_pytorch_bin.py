"""Old Hugging Face directories: one pytorch_model.bin, or shards with an index."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig
from numpy_llama.formats.huggingface.read import hf_name
from numpy_llama.formats.torch import pytorch_bin
from numpy_llama.loading.weights import load_weights
from numpy_llama.model import Llama
from tests.malformed.limits import refused
from tests.models import random_model, random_tensors, random_tokens, tiny_config
from tests.torch_files import write_torch

CONFIG = tiny_config(n_layers=2)


def config_json(config: LlamaConfig) -> dict[str, Any]:
    """config.json of a model, as transformers 4 wrote it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_head,
        "hidden_act": "silu",
    }


def hf_tensors(config: LlamaConfig, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Random tensors under Hugging Face's names."""
    tensors = random_tensors(config, dtype=np.dtype(dtype))
    return {hf_name(name): array for name, array in tensors.items()}


def write_sharded(folder: Path, config: LlamaConfig, tensors: dict[str, np.ndarray]) -> Path:
    """The tensors in two shards, and the index."""
    weight_map = {}
    for i in (1, 2):
        shard = f"pytorch_model-{i:05d}-of-00002.bin"
        part = dict(list(tensors.items())[i - 1 :: 2])
        write_torch(folder / shard, part)
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    return folder


def write_single(folder: Path, config: LlamaConfig, tensors: dict[str, np.ndarray]) -> Path:
    """The tensors in one file."""
    write_torch(folder / "pytorch_model.bin", tensors)
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    return folder


@pytest.mark.parametrize("write", [write_single, write_sharded])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_directory_is_read_bit_for_bit(
    tmp_path: Path, dtype: str, tied: bool, write: Any
) -> None:
    config = replace(CONFIG, tied_head=tied)
    tensors = hf_tensors(config, dtype)
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    assert not pytorch_bin.recognises(tmp_path)
    checkpoint = pytorch_bin.read(write(tmp_path, config, tensors | buffer))
    assert pytorch_bin.recognises(tmp_path)
    assert checkpoint.config == config and checkpoint.rope_layout == "half-split"
    assert len(checkpoint.tensors) == len(tensors)
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(tensor.load(), tensors[hf_name(name)])
        assert tensor.load().dtype == dtype


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_a_directory_computes_what_the_model_computes(
    tmp_path: Path, n_kv_heads: int, tied: bool
) -> None:
    config = replace(CONFIG, n_kv_heads=n_kv_heads, tied_head=tied)
    tensors = hf_tensors(config, "float64")
    for name, heads in (("q_proj", 6), ("k_proj", n_kv_heads)):
        for i in range(config.n_layers):
            key = f"model.layers.{i}.self_attn.{name}.weight"
            pairs = tensors[key].reshape(heads, 4, 2, config.dim)  # adjacent, and then half-split
            tensors[key] = np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], 1).reshape(-1, 24)
    checkpoint = pytorch_bin.read(write_single(tmp_path, config, tensors))
    found = Llama(checkpoint.config, load_weights(checkpoint, "float64"))
    tokens = random_tokens(config, 12)
    expected = random_model(config).forward(tokens)
    # Not the same bits: BLAS may sum in another order where an array lies at an odd address.
    np.testing.assert_allclose(found.forward(tokens), expected, rtol=0, atol=1e-12)


def test_both_forms_at_once_are_refused(tmp_path: Path) -> None:
    write_single(write_sharded(tmp_path, CONFIG, hf_tensors(CONFIG)), CONFIG, hf_tensors(CONFIG))
    refused(lambda: pytorch_bin.read(tmp_path), "has both")


NAMES = ["../x.bin", "/x.bin", "C:\\x.bin", "\\\\host\\x.bin", "a\\x.bin", "x\0.bin", "", ".", 3]


@pytest.mark.parametrize("name", NAMES)
def test_x1_a_shard_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    index = write_sharded(tmp_path, CONFIG, hf_tensors(CONFIG)) / pytorch_bin.INDEX
    raw = json.loads(index.read_text())
    raw["weight_map"]["lm_head.weight"] = name
    index.write_text(json.dumps(raw))
    refused(lambda: pytorch_bin.read(tmp_path), str(index), "lm_head.weight")


@pytest.mark.parametrize("weight_map", [None, [], {}, "x"])
def test_x7_a_map_that_is_no_table_is_refused(tmp_path: Path, weight_map: object) -> None:
    index = write_sharded(tmp_path, CONFIG, hf_tensors(CONFIG)) / pytorch_bin.INDEX
    index.write_text(json.dumps({"weight_map": weight_map}))
    refused(lambda: pytorch_bin.read(tmp_path), str(index), "weight_map")


@pytest.mark.parametrize(
    "change", ["shard missing", "listed, absent", "present, unlisted", "in two shards"]
)
def test_x3_to_x6_shards_that_differ_from_the_index_are_refused(
    tmp_path: Path, change: str
) -> None:
    index = write_sharded(tmp_path, CONFIG, hf_tensors(CONFIG)) / pytorch_bin.INDEX
    raw = json.loads(index.read_text())
    first = tmp_path / "pytorch_model-00001-of-00002.bin"
    match change:
        case "shard missing":
            first.unlink()
        case "listed, absent":
            raw["weight_map"]["model.layers.9.mlp.up_proj.weight"] = first.name
        case "present, unlisted":
            del raw["weight_map"]["model.norm.weight"]
        case "in two shards":
            write_torch(first, hf_tensors(CONFIG))
    index.write_text(json.dumps(raw))
    refused(lambda: pytorch_bin.read(tmp_path), "pytorch_model-0000")


@pytest.mark.oracle
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_transformers_saves_with_torch_is_read(tmp_path: Path, dtype: str, tied: bool) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = replace(CONFIG, tied_head=tied)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config_json(config)))
    state = model.to(getattr(torch, dtype)).state_dict()  # an OrderedDict with _metadata
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config_json(config)))
    checkpoint = pytorch_bin.read(tmp_path)
    assert checkpoint.config == config and ("lm_head" in checkpoint.tensors) is not tied
    for name, tensor in checkpoint.tensors.items():
        expected = state[hf_name(name)]
        if dtype == "bfloat16":
            expected = expected.view(torch.uint16)
        np.testing.assert_array_equal(tensor.load(), expected.numpy())
