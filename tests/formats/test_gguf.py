"""GGUF: the header against the `gguf` package's reader, configs, names, splits, and whole models.

Files are written by `gguf.GGUFWriter` or byte by byte by tests/gguf_files.py.
"""

import builtins
import math
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import MissingExtraError
from numpy_llama.formats.checkpoint import Checkpoint
from numpy_llama.formats.gguf.config import shortest
from numpy_llama.formats.gguf.header import GGUFHeader, read_header
from numpy_llama.formats.gguf.read import read
from numpy_llama.formats.gguf.types import TENSOR_TYPES
from numpy_llama.loading.weights import load_weights
from numpy_llama.model import Llama
from tests.gguf_files import (
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U64,
    Tensor,
    Typed,
    encoded,
    gguf_bytes,
    llama_metadata,
    llama_tensors,
    their_name,
    write_llama,
)
from tests.models import random_tensors, random_tokens, tiny_config, weights_of

EVERY_KIND: dict[str, Any] = {
    "general.architecture": "llama",
    "a.u8": Typed(U8, 255),
    "a.i8": Typed(I8, -128),
    "a.u16": Typed(U16, 65535),
    "a.i16": Typed(I16, -32768),
    "a.u32": 2**32 - 1,
    "a.i32": Typed(I32, -(2**31)),
    "a.f32": 1e-5,
    "a.true": True,
    "a.false": False,
    "a.empty": "",
    "a.text": "naïve 🦙",
    "a.u64": Typed(U64, 2**64 - 1),
    "a.i64": Typed(I64, -(2**63)),
    "a.f64": Typed(F64, math.pi),
    "a.texts": ["", "a", "Ġ🦙", "\0"],
    "a.numbers": Typed(I16, [1, -2, 3]),
    "a.reals": [0.5, 0.1],
    "a.truths": [True, False],
}
MATRIX = np.arange(96.0).reshape(3, 32)


def save(path: Path, metadata: dict[str, Any], tensors: list[Tensor], **options: int) -> Path:
    path.write_bytes(gguf_bytes(metadata, tensors, **options))
    return path


def plain(value: Any) -> Any:
    """A value of the header as the `gguf` package gives it: arrays are lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def check_header(header: GGUFHeader) -> None:
    """Everything in a header equals what the `gguf` package reads from the same file."""
    theirs = gguf.GGUFReader(header.path)
    fields = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert {key: plain(value) for key, value in header.metadata.items()} == fields
    assert list(header.metadata) == list(fields)
    assert header.alignment == theirs.alignment
    assert header.data_start == theirs.data_offset
    assert header.version == theirs.fields["GGUF.version"].contents()
    assert [
        (name, info.type.name, info.shape, header.data_start + info.offset, info.nbytes)
        for name, info in header.tensors.items()
    ] == [
        (t.name, t.tensor_type.name, tuple(t.shape[::-1].tolist()), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ]


def test_the_table_of_types_is_ggmls() -> None:
    theirs = {int(code): (code.name, *size) for code, size in gguf.GGML_QUANT_SIZES.items()}
    assert {code: tuple(row) for code, row in TENSOR_TYPES.items()} == theirs


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_header_of_our_writer(alignment: int, tmp_path: Path) -> None:
    tensors = [
        encoded("a", np.ones(3)),
        encoded("b", MATRIX, "F16"),
        encoded("c", MATRIX, "Q8_0"),
        encoded("d", MATRIX.reshape(1, 3, 1, 32), "F64"),
    ]
    path = save(tmp_path / "x.gguf", EVERY_KIND, tensors, alignment=alignment)
    check_header(read_header(path))


def test_header_of_the_gguf_packages_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(7)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_causal_attention(True)
    writer.add_token_list(["a", "Ġb", "🦙"])
    writer.add_token_scores([0.0, -1.5, 1e30])
    writer.add_uint64("a.u64", 2**63)
    writer.add_tensor("a", np.ones((2, 3), np.float32))
    writer.add_tensor("b", np.ones((5,), np.float16))
    blocks = gguf.quants.quantize(MATRIX.astype(np.float32), gguf.GGMLQuantizationType.Q5_1)
    writer.add_tensor("c", blocks, raw_dtype=gguf.GGMLQuantizationType.Q5_1)
    finish(writer)
    check_header(read_header(path))


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_version_2_is_read_like_3(tmp_path: Path) -> None:
    content = bytearray(gguf_bytes(EVERY_KIND, [encoded("a", MATRIX)]))
    content[4] = 2
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    header = read_header(path)
    assert header.version == 2
    check_header(header)


@pytest.mark.parametrize("type_name", ["F64", "F32", "F16"])
def test_floats_are_the_file_itself(type_name: str, tmp_path: Path) -> None:
    config = tiny_config()
    arrays = random_tensors(config)
    checkpoint = read(write_llama(tmp_path / "x.gguf", config, arrays, type_name))
    for name, array in arrays.items():
        stored = checkpoint.tensors[name]
        values = stored.load()
        assert stored.dtype == (type_name if array.ndim > 1 else "F32")
        expected = array.astype({"F64": "f8", "F32": "f4", "F16": "f2"}[stored.dtype])
        assert values.dtype == expected.dtype and np.array_equal(values, expected)
        assert stored.nbytes == expected.nbytes
        assert not values.flags.writeable and not values.flags.owndata
    assert checkpoint.format == "GGUF v3"
    assert checkpoint.rope_layout == "adjacent"


def test_bf16_is_its_bits_and_needs_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    arrays = random_tensors(config)
    path = write_llama(tmp_path / "x.gguf", config, arrays, "BF16")
    expected = gguf.quants.quantize(
        arrays["layers.1.wo"].astype(np.float32), gguf.GGMLQuantizationType.BF16
    ).view("<u2")
    without_gguf(monkeypatch)
    stored = read(path).tensors["layers.1.wo"]
    assert stored.dtype == "BF16" and stored.load().dtype == np.uint16
    assert np.array_equal(stored.load(), expected)


def without_gguf(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the `gguf` package were not installed."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "gguf":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_quantised_types_name_the_package_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(dim=32, hidden_dim=64, head_dim=16)
    path = write_llama(tmp_path / "x.gguf", config, random_tensors(config), "Q8_0")
    without_gguf(monkeypatch)
    checkpoint = read(path)  # to look at it, nothing is needed
    with pytest.raises(MissingExtraError, match=r"Q8_0 .*pip install gguf"):
        checkpoint.tensors["tok_embeddings"].load()


def reopened(tmp_path: Path, config: LlamaConfig, **changes: Any) -> Checkpoint:
    """A random model written with some of its metadata changed (None: left out), and read."""
    metadata = llama_metadata(config) | changes
    metadata = {key: value for key, value in metadata.items() if value is not None}
    return read(save(tmp_path / "x.gguf", metadata, llama_tensors(random_tensors(config))))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"n_kv_heads": 6},
        {"n_kv_heads": 1},
        {"tied_head": True},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"norm_eps": 1e-6, "rope_theta": 500000.0},
        {"norm_eps": 3.1e-7, "rope_theta": 1234567.0},
    ],
)
def test_config_survives(overrides: dict[str, Any], tmp_path: Path) -> None:
    config = tiny_config(**overrides)
    assert reopened(tmp_path, config).config == config


def test_what_the_metadata_may_leave_out(tmp_path: Path) -> None:
    config = tiny_config(dim=48, n_kv_heads=6, rope_theta=10000.0)  # head_dim = dim / n_heads
    left_out = ["attention.head_count_kv", "attention.key_length", "attention.value_length"]
    left_out += ["rope.dimension_count", "rope.freq_base", "vocab_size"]
    changes: dict[str, Any] = {f"llama.{name}": None for name in left_out}
    assert reopened(tmp_path, config, **changes).config == config


@pytest.mark.parametrize(
    "x, expected",
    [
        (float(np.float32(1e-5)), 1e-5),
        (float(np.float32(0.1)), 0.1),
        (500000.0, 500000.0),
        (math.pi, math.pi),  # a float64 that no float32 is
        (1e300, 1e300),
        (math.inf, math.inf),
    ],
)
def test_shortest(x: float, expected: float) -> None:
    assert shortest(x) == expected


def test_shortest_rounds_back_to_the_same_float32() -> None:
    for x in np.random.default_rng(0).lognormal(0, 20, 1000).astype(np.float32):
        assert np.float32(shortest(float(x))) == x


SCALING = "llama.rope.scaling."


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"type": "none", "factor": 4.0}, RopeScaling()),
        ({"type": "linear", "factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"factor": 0.0}, RopeScaling()),
        ({"type": "yarn", "factor": 4.0}, RopeScaling("yarn", 4.0, 64)),
        (
            {"type": "yarn", "factor": 4.0, "original_context_length": 16, "attn_factor": 1.0},
            RopeScaling("yarn", 4.0, 16),
        ),
        (
            {"type": "yarn", "factor": 4.0, "yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0},
            RopeScaling("yarn", 4.0, 64, beta_fast=16.0, beta_slow=2.0),
        ),
        (
            {"type": "yarn", "factor": 4.0, "yarn_attn_factor": 1.25, "yarn_ext_factor": 1.0},
            RopeScaling("yarn", 4.0, 64, attention_factor=1.25),
        ),
        (
            {"type": "yarn", "factor": 4.0, "attn_factor": 0.5},
            RopeScaling("yarn", 4.0, 64, attention_factor=0.5 * (0.1 * math.log(4) + 1)),
        ),
    ],
)
def test_rope_scaling(changes: dict[str, Any], expected: RopeScaling, tmp_path: Path) -> None:
    keys = {SCALING + name: value for name, value in changes.items()}
    assert reopened(tmp_path, tiny_config(), **keys).config.rope_scaling == expected


def llama3_divisors(
    theta: float, hd: int, factor: float, context: int, low: float = 1.0, high: float = 4.0
) -> np.ndarray:
    """Llama 3's scaling as llama.cpp's converter stores it, one pair at a time, by wavelengths."""
    divisors = []
    for i in range(0, hd, 2):
        wavelength = 2 * math.pi * theta ** (i / hd)
        if wavelength < context / high:
            divisors.append(1.0)
        elif wavelength > context / low:
            divisors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


def with_divisors(
    tmp_path: Path, config: LlamaConfig, divisors: np.ndarray, **metadata: Any
) -> LlamaConfig:
    tensors = [*llama_tensors(random_tensors(config)), encoded("rope_freqs.weight", divisors)]
    path = save(tmp_path / "x.gguf", llama_metadata(config) | metadata, tensors)
    return read(path).config


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_scaling_is_recovered_from_its_divisors(factor: float, tmp_path: Path) -> None:
    config = tiny_config(head_dim=64, rope_theta=500000.0, max_context=131072)
    divisors = llama3_divisors(500000.0, 64, factor, 8192)
    assert ((divisors > 1) & (divisors < factor)).sum() >= 2  # some pairs lie in between
    scaling = with_divisors(tmp_path, config, divisors).rope_scaling
    assert scaling == RopeScaling("llama3", factor, 8192)


def test_llama3_scaling_of_another_context_when_the_metadata_says_it(tmp_path: Path) -> None:
    config = tiny_config(head_dim=16)
    divisors = llama3_divisors(10000.0, 16, 4.0, 100)
    key = SCALING + "original_context_length"
    scaling = with_divisors(tmp_path, config, divisors, **{key: 100}).rope_scaling
    assert scaling == RopeScaling("llama3", 4.0, 100)


def test_divisors_of_one_change_nothing(tmp_path: Path) -> None:
    assert with_divisors(tmp_path, tiny_config(), np.ones(4)) == tiny_config()


def test_a_missing_output_bias_is_zero(tmp_path: Path) -> None:
    """As in models with biases on queries, keys and values alone; the config has all four."""
    config = tiny_config(attention_bias=True)
    arrays = random_tensors(config)
    without = {name: array for name, array in arrays.items() if not name.endswith(".bo")}
    checkpoint = read(write_llama(tmp_path / "x.gguf", config, without))
    assert checkpoint.config == config
    stored = checkpoint.tensors["layers.2.bo"]
    assert stored.nbytes == 0 and stored.shape == (24,)
    assert not stored.load().any()


@pytest.mark.parametrize("named", [1, 2, 3])
def test_split_files_are_joined(named: int, tmp_path: Path) -> None:
    """By whichever of its files the model is called; the first one has the metadata."""
    config = tiny_config()
    arrays = random_tensors(config, dtype=np.float32)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama", split_max_tensors=12)
    add_config(writer, config)
    for name, array in arrays.items():
        writer.add_tensor(their_name(name), array)
    finish(writer)
    assert len(list(tmp_path.iterdir())) == 3
    checkpoint = read(tmp_path / f"model-0000{named}-of-00003.gguf")
    assert checkpoint.config == config
    assert set(checkpoint.tensors) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(checkpoint.tensors[name].load(), array)


def add_config(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    """The metadata in the order and by the methods of llama.cpp's converter."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_context)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)


def half_split_rows(w: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows with the pairs (2i, 2i + 1) of each head moved to (i, i + hd/2): Hugging Face's wq."""
    hd = len(w) // n_heads
    order = [*range(0, hd, 2), *range(1, hd, 2)]
    return np.concatenate([w[h * hd : (h + 1) * hd][order] for h in range(n_heads)])


def converters_permute(w: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter does to Hugging Face's wq and wk: i and i + hd/2 meet."""
    hd = len(w) // n_heads
    order = [i // 2 + (i % 2) * (hd // 2) for i in range(hd)]
    return np.concatenate([w[h * hd : (h + 1) * hd][order] for h in range(n_heads)])


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("tied", [False, True])
def test_a_converted_model_has_the_logits_of_its_weights(
    kv_heads: int, tied: bool, tmp_path: Path
) -> None:
    """From Hugging Face's rows, permuted as the converter does, to the same logits."""
    config = tiny_config(n_kv_heads=kv_heads, tied_head=tied)
    arrays = random_tensors(config, dtype=np.float32)
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    add_config(writer, config)
    for name, array in arrays.items():
        if name.endswith(("wq", "wk")):
            heads = config.n_heads if name.endswith("wq") else kv_heads
            array = converters_permute(half_split_rows(array, heads), heads)
        writer.add_tensor(their_name(name), array)
    finish(writer)
    checkpoint = read(path)
    assert checkpoint.config == config
    same = {name: array.astype(np.float64) for name, array in arrays.items()}
    tokens = random_tokens(config, 12)
    expected = Llama(config, weights_of(config, same)).forward(tokens)
    logits = Llama(config, load_weights(checkpoint, "float64")).forward(tokens)
    assert logits.dtype == np.float64
    assert np.abs(logits - expected).max() <= 1e-12 * np.abs(expected).max()


def test_a_header_as_large_as_the_real_model_s_is_read_at_once(tmp_path: Path) -> None:
    """49,152 tokens and as many merges, as SmolLM2 has: the bar is 0.3 s."""
    words = [f"Ġword{i}" for i in range(49152)]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)],
    }
    path = tmp_path / "large.gguf"
    path.write_bytes(gguf_bytes(metadata))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        header = read_header(path)
        times.append(time.perf_counter() - start)
    assert header.metadata["tokenizer.ggml.tokens"] == words
    assert min(times) < 0.3
