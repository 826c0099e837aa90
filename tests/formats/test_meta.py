"""Meta's files: however a model is cut into parts, the same tensors come back, bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import CheckpointError, ConfigError
from numpy_llama.formats.storage.floats import f32_to_bf16
from numpy_llama.formats.torch import meta
from tests.malformed.limits import refused
from tests.models import random_tensors, tiny_config
from tests.torch_files import meta_part, write_torch

# dim 48: int(2 · 4 · 48 / 3) = 128, which multiple_of 24 rounds up to 144
CONFIG = tiny_config(
    dim=48,
    n_layers=2,
    n_heads=8,
    n_kv_heads=2,
    head_dim=6,
    hidden_dim=144,
    vocab_size=56,
    max_context=4096,
)
HEADS = {"MHA": 8, "GQA": 2, "MQA": 1}


def params_of(config: LlamaConfig, **more: Any) -> dict[str, Any]:
    """params.json for a config, as Meta writes it."""
    return {
        "dim": config.dim,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "vocab_size": -1,
        "multiple_of": 24,
        "norm_eps": config.norm_eps,
    } | more


def stored(config: LlamaConfig, dtype: str) -> dict[str, np.ndarray]:
    """Random tensors as a file stores them: BF16 as bits."""
    tensors = random_tensors(config, dtype=np.float32)
    if dtype == "BF16":
        return {name: f32_to_bf16(array) for name, array in tensors.items()}
    return {name: array.astype(dtype) for name, array in tensors.items()}


def write_meta(
    folder: Path,
    config: LlamaConfig,
    tensors: dict[str, np.ndarray],
    ranks: int = 1,
    embed_axis: int = 0,
    **params: Any,
) -> Path:
    """A directory of Meta's with `ranks` parts."""
    for rank in range(ranks):
        part = meta_part(tensors, config, rank, ranks, embed_axis)
        part["rope.freqs"] = np.ones(config.head_dim // 2, np.float32)
        write_torch(folder / f"consolidated.{rank:02d}.pth", part)
    (folder / "params.json").write_text(json.dumps(params_of(config, **params)))
    return folder


@pytest.mark.parametrize("embed_axis", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("heads", HEADS)
def test_parts_are_joined_bit_for_bit(
    tmp_path: Path, heads: str, ranks: int, embed_axis: int
) -> None:
    config = replace(CONFIG, n_kv_heads=HEADS[heads])
    tensors = stored(config, "BF16")
    checkpoint = meta.read(write_meta(tmp_path, config, tensors, ranks, embed_axis))
    assert checkpoint.config == config
    assert checkpoint.rope_layout == "adjacent"
    for name, array in tensors.items():
        found = checkpoint.tensors[name]
        assert found.shape == array.shape and found.dtype == "BF16"
        assert found.nbytes == array.nbytes
        np.testing.assert_array_equal(found.load(), array)


@pytest.mark.parametrize("dtype", ["float32", "float16", "BF16"])
def test_one_part_is_mapped_and_not_copied(tmp_path: Path, dtype: str) -> None:
    tensors = stored(CONFIG, dtype)
    checkpoint = meta.read(write_meta(tmp_path, CONFIG, tensors))
    for name, array in tensors.items():
        loaded = checkpoint.tensors[name].load()
        np.testing.assert_array_equal(loaded, array)
        assert loaded.dtype == array.dtype and not loaded.flags.owndata
        assert not loaded.flags.writeable


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("how", ["absent", "equal"])
def test_a_head_that_is_absent_or_equals_the_embeddings_is_tied(
    tmp_path: Path, how: str, ranks: int
) -> None:
    config = replace(CONFIG, tied_head=True)
    tensors = stored(config, "BF16")
    written = tensors | ({"lm_head": tensors["tok_embeddings"]} if how == "equal" else {})
    checkpoint = meta.read(write_meta(tmp_path, config, written, ranks))
    assert checkpoint.config.tied_head and "lm_head" not in checkpoint.tensors


def test_a_head_that_differs_in_its_last_bit_is_not_tied(tmp_path: Path) -> None:
    tensors = stored(CONFIG, "BF16")
    tensors["lm_head"] = tensors["tok_embeddings"].copy()
    tensors["lm_head"][-1, -1] ^= 1
    checkpoint = meta.read(write_meta(tmp_path, CONFIG, tensors))
    assert not checkpoint.config.tied_head
    np.testing.assert_array_equal(checkpoint.tensors["lm_head"].load(), tensors["lm_head"])


def test_copies_of_a_key_head_that_differ_are_refused_when_loaded(tmp_path: Path) -> None:
    config = replace(CONFIG, n_kv_heads=2)
    write_meta(tmp_path, config, stored(config, "float32"), ranks=4)
    other = meta_part(stored(config, "float32"), config, 3, 4, 0)  # rank 3 holds head 1, not 0
    write_torch(tmp_path / "consolidated.01.pth", other)
    tensor = meta.read(tmp_path).tensors["layers.0.wk"]
    refused(tensor.load, str(tmp_path), "layers.0.wk", "00 and 01 differ")


# Llama 1 7B and 65B, 2 7B and 70B, Code Llama, 3 8B, 3.1 8B: (their params.json, their context)
RELEASED: dict[str, tuple[dict[str, Any], int]] = {
    "Llama 1 7B": ({"dim": 4096, "n_heads": 32, "norm_eps": 1e-6}, 2048),
    "Llama 1 65B": ({"dim": 8192, "n_heads": 64, "norm_eps": 1e-5}, 2048),
    "Llama 2 7B": ({"dim": 4096, "n_heads": 32, "norm_eps": 1e-5}, 4096),
    "Llama 2 70B": ({"dim": 8192, "n_heads": 64, "n_kv_heads": 8, "norm_eps": 1e-5}, 4096),
    "Code Llama 7B": ({"dim": 4096, "n_heads": 32, "norm_eps": 1e-5, "rope_theta": 1e6}, 16384),
    "Llama 3 8B": ({"dim": 4096, "n_heads": 32, "norm_eps": 1e-5, "rope_theta": 5e5}, 8192),
    "Llama 3.1 8B": (
        {
            "dim": 4096,
            "n_heads": 32,
            "norm_eps": 1e-5,
            "rope_theta": 5e5,
            "use_scaled_rope": True,
        },
        131072,
    ),
}


def params_from(tmp_path: Path, fields: dict[str, Any]) -> meta.Params:
    """The Params of a params.json with these fields."""
    path = tmp_path / "params.json"
    path.write_text(json.dumps({"n_layers": 32} | fields))
    return meta.read_params(path)


@pytest.mark.parametrize("model", RELEASED)
def test_the_context_of_every_release_is_known(tmp_path: Path, model: str) -> None:
    fields, context = RELEASED[model]
    assert meta.max_context(params_from(tmp_path, fields)) == context
    said = params_from(tmp_path, fields | {"max_seq_len": 1234})
    assert meta.max_context(said) == 1234


# (dim, ffn_dim_multiplier, multiple_of) and the published width of each release's feed-forward
WIDTHS = {
    "Llama 1 7B": (4096, None, 256, 11008),
    "Llama 1 13B": (5120, None, 256, 13824),
    "Llama 2 70B": (8192, 1.3, 4096, 28672),
    "Llama 3 8B": (4096, 1.3, 1024, 14336),
    "Llama 3.1 405B": (16384, 1.2, 4096, 53248),
    "Llama 3.2 1B": (2048, 1.5, 256, 8192),
    "Llama 3.2 3B": (3072, 1.0, 256, 8192),
}


@pytest.mark.parametrize("model", WIDTHS)
def test_the_hidden_size_follows_meta_s_formula(tmp_path: Path, model: str) -> None:
    dim, multiplier, multiple, width = WIDTHS[model]
    fields = {"dim": dim, "n_heads": 32, "norm_eps": 1e-5, "multiple_of": multiple}
    params = params_from(tmp_path, fields | {"ffn_dim_multiplier": multiplier})
    assert params.hidden_dim == width


@pytest.mark.parametrize("tied, factor", [(False, 8.0), (True, 32.0)])
def test_scaled_rope_has_the_factor_of_the_release(
    tmp_path: Path, tied: bool, factor: float
) -> None:
    config = replace(CONFIG, tied_head=tied)
    folder = write_meta(
        tmp_path, config, stored(config, "BF16"), use_scaled_rope=True, rope_theta=5e5
    )
    found = meta.read(folder).config
    assert found.rope_scaling == RopeScaling("llama3", factor, 8192, 1.0, 4.0)
    assert found.rope_theta == 5e5 and found.max_context == 131072


@pytest.mark.parametrize("dim, n_layers, factor", [(2048, 16, 32), (3072, 28, 32), (4096, 32, 8)])
def test_the_small_models_of_3_2_are_known_by_their_size(
    tmp_path: Path, dim: int, n_layers: int, factor: float
) -> None:
    fields = {"dim": dim, "n_layers": n_layers, "n_heads": 32, "norm_eps": 1e-5}
    params = params_from(tmp_path, fields | {"use_scaled_rope": True, "rope_theta": 5e5})
    assert meta.rope_scaling(params, tied=False).factor == factor


def test_defaults_are_those_of_llama_1(tmp_path: Path) -> None:
    folder = write_meta(tmp_path, replace(CONFIG, n_kv_heads=8), stored(CONFIG, "float32"))
    params = params_of(CONFIG, norm_eps=1e-6)
    del params["n_kv_heads"], params["multiple_of"]
    tensors = stored(replace(CONFIG, n_kv_heads=8), "float32")
    write_torch(
        folder / "consolidated.00.pth",
        meta_part(tensors, replace(CONFIG, n_kv_heads=8), 0, 1, 0),
    )
    (folder / "params.json").write_text(json.dumps(params))
    config = meta.read(folder).config
    assert (config.n_kv_heads, config.rope_theta, config.max_context) == (8, 10000.0, 2048)


def test_a_directory_is_recognised_by_both_kinds_of_files(tmp_path: Path) -> None:
    assert not meta.recognises(tmp_path)
    (tmp_path / "params.json").write_text("{}")
    assert not meta.recognises(tmp_path)
    (tmp_path / "consolidated.00.pth").touch()
    assert meta.recognises(tmp_path)
    assert not meta.recognises(tmp_path / "params.json")


# C12 and its like: a field of params.json that is wrong, and what the sentence mentions
BAD_PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "multiple_of zero": ({"multiple_of": 0}, "multiple_of"),
    "multiple_of that does not fit w1": ({"multiple_of": 100}, "144 rows"),
    "ffn_dim_multiplier negative": ({"ffn_dim_multiplier": -1.0}, "ffn_dim_multiplier"),
    "vocab_size zero": ({"vocab_size": 0}, "vocab_size"),
    "vocab_size that differs": ({"vocab_size": 57}, "tok_embeddings"),
    "dim true": ({"dim": True}, "dim"),
    "dim text": ({"dim": "48"}, "dim"),
    "dim huge": ({"dim": 10**18}, "dim"),
    "n_heads not a divisor": ({"n_heads": 7}, "n_heads"),
    "n_kv_heads not a divisor": ({"n_kv_heads": 3}, "n_kv_heads"),
    "n_layers a billion": ({"n_layers": 10**9}, "n_layers"),
    "n_layers too many": ({"n_layers": 3}, "layers.2"),
    "n_layers too few": ({"n_layers": 1}, "layers.1"),
    "norm_eps zero": ({"norm_eps": 0}, "norm_eps"),
    "norm_eps missing": ({"norm_eps": None}, "norm_eps"),
    "rope_theta text": ({"rope_theta": "10000"}, "rope_theta"),
    "use_scaled_rope a number": ({"use_scaled_rope": 1}, "use_scaled_rope"),
    "quantised": ({"quantization_args": {"group_size": 32}}, "quantization_args"),
    "multimodal": ({"vision_chunk_size": 448}, "vision_chunk_size"),
}


@pytest.mark.parametrize("case", BAD_PARAMS)
def test_c12_bad_params_are_refused(tmp_path: Path, case: str) -> None:
    change, mention = BAD_PARAMS[case]
    write_meta(tmp_path, CONFIG, stored(CONFIG, "float32"), **change)
    refused(lambda: meta.read(tmp_path), str(tmp_path), mention)


NOT_TABLES = ["", "[]", "null", '{"dim": NaN}', "[" * 100_000, '{"dim": 1, "dim": 2}', "\ufeff{}"]


@pytest.mark.parametrize("raw", [*NOT_TABLES, "x" * 70_000])
def test_c12_params_that_are_no_table_are_refused(tmp_path: Path, raw: str) -> None:
    write_meta(tmp_path, CONFIG, stored(CONFIG, "float32"))
    (tmp_path / "params.json").write_text(raw)
    refused(lambda: meta.read(tmp_path), str(tmp_path / "params.json"))


def test_c12_a_multiplier_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NaN"):
        params_from(tmp_path, {"dim": 48, "ffn_dim_multiplier": float("nan")})


def test_p13_a_missing_rank_is_named(tmp_path: Path) -> None:
    write_meta(tmp_path, CONFIG, stored(CONFIG, "float32"), ranks=4)
    (tmp_path / "consolidated.01.pth").unlink()
    refused(lambda: meta.read(tmp_path), "consolidated.01.pth is missing")


def test_p13_a_missing_last_rank_changes_shapes(tmp_path: Path) -> None:
    write_meta(tmp_path, CONFIG, stored(CONFIG, "float32"), ranks=2)
    (tmp_path / "consolidated.01.pth").unlink()
    refused(lambda: meta.read(tmp_path), "params.json")


@pytest.mark.parametrize("what", ["dtype", "shape", "missing", "extra"])
def test_p13_ranks_that_disagree_are_refused(tmp_path: Path, what: str) -> None:
    tensors = stored(CONFIG, "float32")
    write_meta(tmp_path, CONFIG, tensors, ranks=2)
    part = meta_part(tensors, CONFIG, 1, 2, 0)
    name = "layers.1.attention.wq.weight"
    match what:
        case "dtype":
            part[name] = part[name].astype(np.float16)
        case "shape":
            part[name] = part[name][:-1]
        case "missing":
            del part[name]
        case "extra":
            part["layers.7.ffn_norm.weight"] = part["norm.weight"]
    write_torch(tmp_path / "consolidated.01.pth", part)
    mention = {"extra": "layers.7", "missing": "01.pth: has no part of 'layers.1.wq'"}
    refused(lambda: meta.read(tmp_path), mention.get(what, "'layers.1.wq' differ"))


def test_p13_parts_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    tensors = stored(CONFIG, "float32")
    for rank in range(3):
        part = meta_part(tensors, CONFIG, rank % 2, 2, 0)
        write_torch(tmp_path / f"consolidated.{rank:02d}.pth", part)
    (tmp_path / "params.json").write_text(json.dumps(params_of(CONFIG)))
    refused(lambda: meta.read(tmp_path), str(tmp_path))


def test_a_tensor_that_no_llama_has_is_refused(tmp_path: Path) -> None:
    write_meta(tmp_path, CONFIG, stored(CONFIG, "float32"))
    part = meta_part(stored(CONFIG, "float32"), CONFIG, 0, 1, 0)
    part["lm_head"] = part["output.weight"]
    write_torch(tmp_path / "consolidated.00.pth", part)
    with pytest.raises(CheckpointError, match="'lm_head' is not a tensor of a Llama"):
        meta.read(tmp_path)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("heads", HEADS)
def test_files_that_torch_wrote_are_read_bit_for_bit(
    tmp_path: Path, heads: str, ranks: int, tied: bool, dtype: str
) -> None:
    torch = pytest.importorskip("torch")
    config = replace(CONFIG, n_kv_heads=HEADS[heads], tied_head=tied)
    tensors = random_tensors(config, dtype=np.float32)
    for rank in range(ranks):
        part = meta_part(tensors, config, rank, ranks, embed_axis=1)
        state = {k: torch.from_numpy(v).to(getattr(torch, dtype)) for k, v in part.items()}
        torch.save(state, tmp_path / f"consolidated.{rank:02d}.pth")
    (tmp_path / "params.json").write_text(json.dumps(params_of(config)))
    checkpoint = meta.read(tmp_path)
    assert checkpoint.config == config
    for name, array in tensors.items():
        expected = torch.from_numpy(array).to(getattr(torch, dtype))
        expected = (expected.view(torch.int16) if dtype == "bfloat16" else expected).numpy()
        found = checkpoint.tensors[name].load()
        found = found.view(np.int16) if dtype == "bfloat16" else found
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
