"""Reading Hugging Face directories: names, spellings of RoPE, and transformers as the judge."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import ConfigError
from numpy_llama.formats.checkpoint import StoredTensor, expected_shapes
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.config import config_from_hf, config_to_hf
from numpy_llama.formats.huggingface.read import (
    checkpoint_from_hf_tensors,
    hf_name,
    is_buffer,
    our_name,
)
from tests.models import ROPES, random_tensors, tiny_config

WHERE = "config.json"


def stored(array: np.ndarray, dtype: str = "F32") -> StoredTensor:
    """An array as a reader would give it."""
    return StoredTensor(array.shape, dtype, array.nbytes, lambda: array)


def test_names_go_there_and_back() -> None:
    """Every tensor that a model can have, biases included, has one name on each side."""
    config = tiny_config(n_layers=12, attention_bias=True, mlp_bias=True)
    ours = [name for name, _ in expected_shapes(config)]
    theirs = [hf_name(name) for name in ours]
    assert [our_name(name) for name in theirs] == ours
    assert len(set(theirs)) == len(ours)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.rotary_emb.inv_freq", True),
        ("model.layers.11.self_attn.rotary_emb.inv_freq", True),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", True),
        ("model.layers.0.self_attn.q_proj.weight", False),
        ("model.layers.0.self_attn.rotary_emb.inv_freq.weight", False),
        ("my_inv_freq", False),
    ],
)
def test_buffers(name: str, expected: bool) -> None:
    """Tables beside the weights; nothing that merely looks like one."""
    assert is_buffer(name) is expected and (our_name(name) is None or not expected)


@pytest.mark.oracle
def test_names_are_those_of_transformers() -> None:
    """The names and shapes in the state of a real LlamaForCausalLM, and no other."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = tiny_config(attention_bias=True, mlp_bias=True)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config_to_hf(config)))
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert shapes == {hf_name(name): shape for name, shape in expected_shapes(config)}


def test_tensors_of_another_reader(tmp_path: Path) -> None:
    """A reader of another file with these names gives its tensors and the parsed config."""
    config = tiny_config()
    tensors = {hf_name(n): stored(a) for n, a in random_tensors(config, dtype="f4").items()}
    file = tmp_path / "model.bin"
    checkpoint = checkpoint_from_hf_tensors(file, "test", config_to_hf(config), tensors)
    assert checkpoint.config == config and checkpoint.rope_layout == "half-split"
    assert checkpoint.source == file and checkpoint.format == "test"
    assert list(checkpoint.tensors) == [name for name, _ in expected_shapes(config)]
    with pytest.raises(ConfigError, match=str(tmp_path / "config.json")):
        checkpoint_from_hf_tensors(file, "test", {}, tensors)


# — config.json —

CONFIGS = {
    **{f"rope {name}": tiny_config(rope_scaling=rope) for name, rope in ROPES.items()},
    "tied": tiny_config(tied_head=True),
    "biases": tiny_config(attention_bias=True, mlp_bias=True),
    "eps and theta": tiny_config(norm_eps=9.999999747378752e-06, rope_theta=500000.0),
    "yarn, all fields": tiny_config(
        rope_scaling=RopeScaling(
            "yarn",
            factor=3.0,
            original_context=20,
            beta_fast=16.0,
            beta_slow=2.0,
            attention_factor=1.25,
            truncate=False,
        )
    ),
    "yarn, mscale": tiny_config(
        rope_scaling=RopeScaling(
            "yarn", factor=3.0, original_context=20, mscale=0.7, mscale_all_dim=1.0
        )
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config_comes_back(case: str) -> None:
    """Through JSON, to the last bit of every number."""
    raw = json.loads(json.dumps(config_to_hf(CONFIGS[case])))
    assert config_from_hf(raw, WHERE) == CONFIGS[case]


@pytest.mark.oracle
@pytest.mark.parametrize("case", CONFIGS)
def test_transformers_reads_and_rewrites_our_config(case: str, tmp_path: Path) -> None:
    """What it writes, in its own spelling (rope_parameters), is the same config to us."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(
        json.dumps(config_to_hf(CONFIGS[case], "bfloat16", 1, (2, 3)))
    )
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert str(theirs.dtype) == "torch.bfloat16" and theirs.eos_token_id == [2, 3]
    theirs.save_pretrained(tmp_path / "again")
    raw = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "rope_parameters" in raw
    assert config_from_hf(raw, WHERE) == CONFIGS[case]


def published(**changes: Any) -> dict[str, Any]:
    """The fields that the config.json of any Llama has, with changes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": 128256,
    } | changes


LLAMA_3_2 = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
EXPECTED_3_2 = RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 500000.0, "rope_scaling": LLAMA_3_2},
        {"rope_parameters": LLAMA_3_2 | {"rope_theta": 500000.0}},
        {"rope_theta": 500000.0, "rope_parameters": LLAMA_3_2 | {"type": "llama3"}},
        {"rope_theta": 5e5, "rope_scaling": LLAMA_3_2, "rope_parameters": LLAMA_3_2},
    ],
    ids=["version 4", "version 5", "mixed", "both"],
)
def test_llama_3_2_in_every_spelling(fields: dict[str, Any]) -> None:
    """The same θ and the same scaling."""
    config = config_from_hf(published(**fields), WHERE)
    assert config.rope_theta == 500000.0 and config.rope_scaling == EXPECTED_3_2
    assert config.head_dim == 64 and not config.tied_head


def test_llama_1_as_it_was_published() -> None:
    """Older names, no key/value heads, no RoPE fields: what was not yet there has its default."""
    raw = published(
        architectures=["LLaMAForCausalLM"],
        hidden_size=4096,
        intermediate_size=11008,
        max_sequence_length=2048,
        num_hidden_layers=32,
        vocab_size=32000,
        rms_norm_eps=1e-06,
        pad_token_id=-1,
    )
    del raw["num_key_value_heads"], raw["max_position_embeddings"]
    assert config_from_hf(raw, WHERE) == LlamaConfig(
        dim=4096,
        n_layers=32,
        n_heads=32,
        n_kv_heads=32,
        head_dim=128,
        hidden_dim=11008,
        vocab_size=32000,
        max_context=2048,
        norm_eps=1e-06,
    )


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_linear_scaling_by_either_key(key: str) -> None:
    """`type` came first."""
    raw = published(rope_scaling={key: "linear", "factor": 2})
    assert config_from_hf(raw, WHERE).rope_scaling == RopeScaling("linear", factor=2)


def test_yarn_without_a_factor() -> None:
    """It is how many times longer the context became; and absent β have the paper's values."""
    scaling = {"rope_type": "yarn", "original_max_position_embeddings": 8192, "factor": None}
    config = config_from_hf(published(rope_scaling=scaling), WHERE)
    assert config.rope_scaling == RopeScaling("yarn", 16.0, 8192, beta_fast=32.0, beta_slow=1.0)


def test_original_context_at_the_top_level() -> None:
    """Some models keep it there."""
    scaling = {name: v for name, v in LLAMA_3_2.items() if name[:8] != "original"}
    raw = published(rope_scaling=scaling, original_max_position_embeddings=8192)
    assert config_from_hf(raw, WHERE).rope_scaling == EXPECTED_3_2


@pytest.mark.oracle
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_read_what_transformers_wrote(tied: bool, shard_size: str, tmp_path: Path) -> None:
    """A model that save_pretrained wrote, whole and in shards, comes back to the last bit."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = tiny_config(tied_head=tied)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config_to_hf(config)))
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    checkpoint = huggingface.read(tmp_path)
    assert checkpoint.config == config
    state = theirs.state_dict()
    for name, tensor in checkpoint.tensors.items():
        assert np.array_equal(tensor.load(), state[hf_name(name)].numpy()), name
