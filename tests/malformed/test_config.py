"""Malformed config.json: cases C1 to C11, and what any JSON can be."""

import json
from pathlib import Path
from typing import Any

import pytest

from numpy_llama.errors import ConfigError
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.config import config_from_hf, config_to_hf
from tests.malformed.limits import check_accepted, check_refused
from tests.models import tiny_config

WHERE = "models/x/config.json"
GONE = object()  # as a value: the field is taken out
NAN, INF = float("nan"), float("inf")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


def changed(**changes: Any) -> dict[str, Any]:
    """The config.json of a tiny model, with changes."""
    raw = config_to_hf(tiny_config()) | changes
    return {name: value for name, value in raw.items() if value is not GONE}


COUNTS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
REQUIRED = [name for name in COUNTS if name not in ("num_key_value_heads", "head_dim")]


@pytest.mark.parametrize("field", REQUIRED)
def test_c1_missing(field: str) -> None:
    """Nothing that decides a shape is guessed."""
    raw = changed(**{field: GONE})
    check_refused(lambda: config_from_hf(raw, WHERE), ConfigError, WHERE, field, "missing")


@pytest.mark.parametrize("field", ["rms_norm_eps", "model_type"])
def test_c1_missing_otherwise(field: str) -> None:
    """ε differs between Llama 1 and 2; without model_type it could be anything."""
    check_refused(
        lambda: config_from_hf(changed(**{field: GONE}), WHERE), ConfigError, WHERE, field
    )


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [0, -1, True, 32.0, "32", [32], {}, 10**12], ids=repr)
def test_c4_counts(field: str, value: Any) -> None:
    """Not zero, negative, true, with a point, text, a list, or far too many."""
    raw = changed(**{field: value})
    check_refused(lambda: config_from_hf(raw, WHERE), ConfigError, WHERE, field, str(value)[:10])


@pytest.mark.parametrize("field", REQUIRED)
def test_c4_counts_null(field: str) -> None:
    """Null is accepted only where the format gives it a meaning."""
    check_refused(lambda: config_from_hf(changed(**{field: None}), WHERE), ConfigError, field)


# Name of the case: the changes, and the words that the refusal must have.
REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "C2 heads": ({"num_key_value_heads": 4}, ("4", "6")),
    "C3 no head_dim": ({"head_dim": GONE, "num_attention_heads": 10}, ("head_dim", "hidden_size")),
    "C3 odd head_dim": ({"head_dim": 7}, ("head_dim", "7")),
    "C5 eps NaN": ({"rms_norm_eps": NAN}, ("rms_norm_eps", "nan")),
    "C5 eps negative": ({"rms_norm_eps": -1e-5}, ("rms_norm_eps", "-1e-05")),
    "C5 eps text": ({"rms_norm_eps": "1e-5"}, ("rms_norm_eps", "'1e-5'")),
    "C5 eps null": ({"rms_norm_eps": None}, ("rms_norm_eps", "None")),
    "C6 theta 0": ({"rope_theta": 0}, ("rope_theta", "0")),
    "C6 theta negative": ({"rope_theta": -1.0}, ("rope_theta", "-1.0")),
    "C6 theta infinite": ({"rope_theta": INF}, ("rope_theta", "inf")),
    "C6 theta text": ({"rope_theta": "10000"}, ("rope_theta", "'10000'")),
    "C6 longrope": ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, ("longrope", "yarn")),
    "C6 su": ({"rope_scaling": {"rope_type": "su"}}, ("'su'",)),
    "C6 type a list": ({"rope_scaling": {"rope_type": ["linear"]}}, ("rope type", "['linear']")),
    "C6 two types": ({"rope_scaling": YARN | {"type": "linear"}}, ("rope_type", "twice")),
    "C6 a list": ({"rope_scaling": [2.0]}, ("rope_scaling", "[2.0]")),
    "C6 a number": ({"rope_parameters": 2.0}, ("rope_parameters", "2.0")),
    "C6 low above high": (
        {"rope_scaling": LLAMA3 | {"low_freq_factor": 5.0}},
        ("low_freq_factor", "high_freq_factor"),
    ),
    "C6 low equals high": ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, ("low_freq",)),
    "C6 factor 0": ({"rope_scaling": {"type": "linear", "factor": 0}}, ("factor", "0")),
    "C6 factor NaN": ({"rope_scaling": {"type": "dynamic", "factor": NAN}}, ("factor", "nan")),
    "C6 factor text": ({"rope_scaling": {"type": "linear", "factor": "2"}}, ("factor", "'2'")),
    "C6 no factor": ({"rope_scaling": {"type": "linear"}}, ("linear", "factor")),
    "C6 no low_freq_factor": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0}},
        ("llama3", "low_freq_factor"),
    ),
    "C6 field of another type": (
        {"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 32}},
        ("linear", "beta_fast"),
    ),
    "C6 factor without a type": ({"rope_scaling": {"factor": 2.0}}, ("default", "factor")),
    "C6 original context 0": (
        {"rope_scaling": YARN | {"original_max_position_embeddings": 0}},
        ("original",),
    ),
    "C6 original context text, factor absent": (
        {"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": "16"}},
        ("original_max_position_embeddings", "'16'"),
    ),
    "C6 original context 0, factor absent": (
        {"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 0}},
        ("original_max_position_embeddings",),
    ),
    "C6 both spellings, not the same": (
        {"rope_scaling": LLAMA3, "rope_parameters": LLAMA3 | {"factor": 32.0}},
        ("factor", "twice", "32.0"),
    ),
    "C6 two thetas": (
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}},
        ("rope_theta", "twice"),
    ),
    "C6 a dict for each kind of layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        ("full_attention",),
    ),
    "C6 half of the head rotated": ({"partial_rotary_factor": 0.5}, ("partial_rotary_factor",)),
    "C6 half of the head rotated, v5": (
        {"rope_parameters": {"partial_rotary_factor": 0.5}},
        ("partial_rotary_factor",),
    ),
    "C6 dynamic, head_dim 2": (
        {"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        ("head_dim",),
    ),
    "C8 tied as text": ({"tie_word_embeddings": "true"}, ("tie_word_embeddings",)),
    "C8 tied as number": ({"tie_word_embeddings": 1}, ("tie_word_embeddings",)),
    "C9 bias as text": ({"attention_bias": "no"}, ("attention_bias",)),
    "C9 bias of a Mistral": (
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "attention_bias": True},
        ("attention_bias", "mistral"),
    ),
    "C10 gelu": ({"hidden_act": "gelu"}, ("hidden_act", "'gelu'")),
    "C10 null": ({"hidden_act": None}, ("hidden_act", "None")),
    "C11 qwen2": ({"model_type": "qwen2"}, ("model_type", "'qwen2'", "llama")),
    "C11 model_type a list": ({"model_type": ["llama"]}, ("model_type",)),
    "C11 architecture": ({"architectures": ["Qwen2ForCausalLM"]}, ("architectures", "Qwen2")),
    "C11 a classifier": (
        {"architectures": ["LlamaForSequenceClassification"]},
        ("architectures", "LlamaForSequenceClassification"),
    ),
    "C11 architectures text": ({"architectures": "LlamaForCausalLM"}, ("architectures",)),
    "C11 sliding window": ({"sliding_window": 4096}, ("sliding_window", "4096")),
    "C11 sliding window of a Mistral": (
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 4096},
        ("sliding_window", "4096"),
    ),
    "C11 quantised": ({"quantization_config": {"bits": 4}}, ("quantization_config",)),
    "C11 kinds of layers": ({"layer_types": ["sliding_attention"] * 3}, ("layer_types",)),
    "C11 kinds of layers a number": ({"layer_types": 3}, ("layer_types",)),
    "C11 experts": ({"num_local_experts": 8}, ("num_local_experts", "8")),
    "C11 softcap": ({"final_logit_softcapping": 30.0}, ("final_logit_softcapping", "30.0")),
    "C11 scaled embeddings": ({"embedding_multiplier": 12.0}, ("embedding_multiplier", "12.0")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """Each is one sentence that names the file, the field and the value."""
    changes, words = REFUSED[case]
    check_refused(lambda: config_from_hf(changed(**changes), WHERE), ConfigError, WHERE, *words)


ACCEPTED: dict[str, dict[str, Any]] = {
    "C1 fields of no concern": {"use_cache": True, "torch_dtype": "float16", "pad_token_id": -1},
    "C1 field of a tool": {"transformers.js_config": {"dtype": "q4"}, "is_llama_config": True},
    "C1 pretraining_tp": {"pretraining_tp": 2},
    "C1 no architectures": {"architectures": GONE},
    "C5 eps 0": {"rms_norm_eps": 0},
    "C10 swish": {"hidden_act": "swish"},
    "C11 window null": {"sliding_window": None, "use_sliding_window": False},
    "C11 all layers full": {"layer_types": ["full_attention"] * 3},
    "C11 rope_interleaved false": {"rope_interleaved": False},
    "C6 no scaling": {"rope_scaling": None},
    "C6 empty scaling": {"rope_scaling": {}},
    "C6 whole head rotated": {"partial_rotary_factor": 1.0},
    "C6 both spellings, the same": {
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "C2 one key/value head for each": {"num_key_value_heads": None},
    "C13 many eos": {"eos_token_id": [1, 2], "bos_token_id": None},
    "C11 a Mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"]},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case: str) -> None:
    """The model is the same one, whatever else the file says."""
    config = check_accepted(lambda: config_from_hf(changed(**ACCEPTED[case]), WHERE))
    assert (config.dim, config.n_layers, config.rope_scaling.type) == (24, 3, "default")


# — the file —

TEXTS = {
    "empty": b"",
    "cut short": b'{"model_type": "llama"',
    "a list": b"[]",
    "null": b"null",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"model_type": "llama"}'.encode("utf-16"),
    "byte-order mark": b"\xef\xbb\xbf{}",
    "field twice": b'{"vocab_size": 1, "vocab_size": 2}',
    "NaN": b'{"rms_norm_eps": NaN}',
    "5000 digits": b'{"vocab_size": ' + b"1" * 5000 + b"}",
    "1e999": b'{"rope_theta": 1e999}',
    "deep": b"[" * 100_000,
    "2 MB": b'{"a": "' + b"x" * (2 << 20) + b'"}',
    "many values": b"[" + b"1," * 400_000 + b"1]",
}


@pytest.mark.parametrize("case", TEXTS)
def test_file(case: str, tmp_path: Path) -> None:
    """Whatever the bytes are, the file is named."""
    (tmp_path / "config.json").write_bytes(TEXTS[case])
    (tmp_path / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    check_refused(lambda: huggingface.read(tmp_path), ConfigError, "config.json")


def test_huge_strings_are_shortened(tmp_path: Path) -> None:
    """An error must fit on a screen."""
    raw = json.loads(json.dumps(changed(model_type="m" * 100_000)))
    assert len(check_refused(lambda: config_from_hf(raw, WHERE), ConfigError, "model_type")) < 300
