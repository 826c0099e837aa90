"""Malformed GGUF files: cases G1 to G28, what any file can be, and files mutated at random."""

import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from numpy_llama.errors import CheckpointError, ConfigError
from numpy_llama.formats.gguf.read import read
from tests.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I32,
    STRING,
    U8,
    U32,
    U64,
    Tensor,
    Typed,
    encoded,
    entry,
    gguf_bytes,
    header_bytes,
    llama_metadata,
    llama_tensors,
    padding,
    string,
    tensor_entry,
)
from tests.hostile import EXAMPLES, mutations
from tests.malformed.limits import check_accepted, check_refused
from tests.models import random_tensors, tiny_config

CONFIG = tiny_config(n_layers=1)
METADATA = llama_metadata(CONFIG)
TENSORS = llama_tensors(random_tensors(CONFIG))
GOOD = gguf_bytes(METADATA, TENSORS)
WQ = "blk.0.attn_q.weight"


def changed(key: str, value: Any) -> bytes:
    """The good file with one value of its metadata changed; None: left out."""
    metadata = METADATA | {key: value}
    return gguf_bytes({k: v for k, v in metadata.items() if v is not None}, TENSORS)


def extra_entry(raw: bytes) -> bytes:
    """A header with the architecture and one more entry, as these bytes, and no tensors."""
    return header_bytes([entry("general.architecture", "llama"), raw])


def one_tensor(
    name: str | bytes = "a", dims: tuple[int, ...] = (4, 8), code: int = 0, offset: int = 0
) -> bytes:
    """A file with one tensor, of 128 bytes unless its header lies."""
    header = header_bytes([], [tensor_entry(name, dims, code, offset)])
    return header + padding(len(header), 32) + bytes(128)


def two_tensors(second: int, length: int = 256) -> bytes:
    """A file with two tensors of 128 bytes, the second at this offset."""
    infos = [tensor_entry("a", (4, 8), 0, 0), tensor_entry("b", (4, 8), 0, second)]
    header = header_bytes([], infos)
    return header + padding(len(header), 32) + bytes(length)


def n_dims(n: int) -> bytes:
    """A tensor that says that it has `n` dimensions, and has bytes for 5."""
    info = string("a") + struct.pack("<I5QIQ", n, 1, 1, 1, 1, 1, 0, 0)
    return header_bytes([], [info]) + bytes(128)


def with_tensors(*tensors: Tensor) -> bytes:
    """The good file and more tensors."""
    return gguf_bytes(METADATA, [*TENSORS, *tensors])


def divisors(*values: float, base: Any = 10000.0) -> bytes:
    """The good file with these divisors of its frequencies."""
    tensors = [*TENSORS, encoded("rope_freqs.weight", np.array(values))]
    return gguf_bytes(METADATA | {"llama.rope.freq_base": base}, tensors)


def array_of(kind: int, count: int, items: bytes = b"") -> bytes:
    return string("a") + struct.pack("<IIQ", ARRAY, kind, count) + items


NESTED = struct.pack("<IQ", ARRAY, 1) * 3000 + struct.pack("<IQ", U8, 0)
V1_STRING = struct.pack("<I", 20) + b"general.architecture" + struct.pack("<II", STRING, 5)

# Name of the case: the file, and the words that the refusal must have.
BROKEN: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "an empty file": (b"", ("0 are left",)),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
    "an HTML page": (b"<!DOCTYPE html><html>", ("HTML",)),
    "a gzip file": (b"\x1f\x8b" + bytes(50), ("gzip",)),
    "G1 bad magic": (b"GGUX" + GOOD[4:], ("GGUX",)),
    "G1 the magic of the format before": (b"ggjt" + GOOD[4:], ("ggjt",)),
    "G2 version 0": (header_bytes([], version=0), ("version 0",)),
    "G2 version 1": (header_bytes([], version=1), ("version 1",)),
    "G2 version 4": (header_bytes([], version=4), ("version 4",)),
    "G2 big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), ("big-endian",)),
    "G3 2^64 - 1 tensors": (header_bytes([], n_tensors=2**64 - 1), ("18446744073709551615",)),
    "G3 2^60 tensors": (header_bytes([], n_tensors=2**60), ("1152921504606846976 tensors",)),
    "G3 2^64 - 1 keys": (header_bytes([], n_keys=2**64 - 1), ("18446744073709551615 keys",)),
    "G3 2^60 keys": (header_bytes([], n_keys=2**60), ("1152921504606846976 keys",)),
    "G4 key of 2^63 bytes": (
        extra_entry(struct.pack("<Q", 2**63) + b"key" + bytes(40)),
        ("metadata key 1", str(2**63)),
    ),
    "G4 empty key": (extra_entry(entry("", 1)), ("metadata key 1", "1 to 65535")),
    "G4 key not UTF-8": (extra_entry(entry(b"a\xff", 1)), ("metadata key 1", "UTF-8")),
    "G4 key over 64 KB": (extra_entry(entry("a" * 65536, 1)), ("metadata key 1", "65535")),
    "G4 key with NUL": (extra_entry(entry("a\0b", 1)), ("metadata key 1", "NUL")),
    "G5 value of type 99": (
        extra_entry(string("a") + struct.pack("<IQ", 99, 0)),
        ("'a'", "type 99"),
    ),
    "G5 value of type 13": (
        extra_entry(string("a") + struct.pack("<IQ", 13, 0)),
        ("'a'", "type 13"),
    ),
    "G6 array of arrays": (
        extra_entry(array_of(ARRAY, 1, struct.pack("<IQ", U8, 0))),
        ("'a'", "array of the type 9"),
    ),
    "G6 3000 arrays deep": (
        extra_entry(string("a") + struct.pack("<I", ARRAY) + NESTED),
        ("'a'", "array of the type 9"),
    ),
    "G7 array of 2^60 bytes": (extra_entry(array_of(U8, 2**60)), ("'a'", str(2**60))),
    "G7 array of 2^60 doubles": (extra_entry(array_of(F64, 2**60)), ("'a'", str(2**63))),
    "G8 2 million strings, 1 present": (
        extra_entry(array_of(STRING, 2_000_000, string("one"))),
        ("'a'", "16000000"),
    ),
    "G8 3 strings, the last one longer than the file": (
        extra_entry(array_of(STRING, 3, string("x") * 2 + struct.pack("<Q", 2**62))),
        ("element 2", "'a'"),
    ),
    "G8 3 strings, 2 present": (
        extra_entry(array_of(STRING, 3, string("x" * 9) * 2)),
        ("element 2", "'a'"),
    ),
    "G8 string not UTF-8 in an array": (
        extra_entry(array_of(STRING, 1, string(b"\xc3("))),
        ("'a'", "UTF-8"),
    ),
    "G8 value not UTF-8": (extra_entry(entry("a", b"\xff")), ("'a'", "UTF-8")),
    "G9 key twice": (extra_entry(entry("general.architecture", "x")), ("twice", "architecture")),
    "G10 alignment 0": (changed("general.alignment", 0), ("alignment", "not 0")),
    "G10 alignment 13": (changed("general.alignment", 13), ("alignment", "not 13")),
    "G10 alignment 2^31": (changed("general.alignment", 2**31), ("alignment", "2147483648")),
    "G10 alignment a u64": (changed("general.alignment", Typed(U64, 32)), ("alignment", "u32")),
    "G10 alignment a text": (changed("general.alignment", "32"), ("alignment", "u32")),
    "G10 alignment not that of the data": (changed("general.alignment", 4096), ("offset", "4096")),
    "G11 name of 64 bytes": (one_tensor("n" * 64), ("tensor 0", "63")),
    "G11 name of 10 MB": (one_tensor("n" * 10_000_000), ("tensor 0", "63")),
    "G11 empty name": (one_tensor(""), ("tensor 0", "63")),
    "G11 name with NUL": (one_tensor("a\0"), ("tensor 0", "NUL")),
    "G11 name not UTF-8": (one_tensor(b"\xff"), ("tensor 0", "UTF-8")),
    "G12 5 dimensions": (n_dims(5), ("'a'", "5 dimensions")),
    "G12 2^32 - 1 dimensions": (n_dims(2**32 - 1), ("'a'", "4294967295 dimensions")),
    "G12 0 dimensions": (n_dims(0), ("'a'", "0 dimensions")),
    "G13 a dimension of -1": (one_tensor(dims=(4, 2**64 - 1)), (str(16 * (2**64 - 1)),)),
    "G13 a dimension of 0": (one_tensor(dims=(0, 8)), ("'a'", "empty")),
    "G13 2^64 elements": (one_tensor(dims=(2**32, 2**32)), (str(2**66),)),
    "G13 a product that wraps to 32": (one_tensor(dims=(2**62, 4, 2**59, 32)), ("cut short",)),
    **{
        f"G14 type {code}": (one_tensor(code=code), ("'a'", f"type {code}"))
        for code in (999, 2**32 - 1, 4, 5, 31, 32, 33, 36, 37, 38, 42)
    },
    "G15 rows of 8 in blocks of 32": (one_tensor(code=2), ("'a'", "rows of 8", "32")),
    "G15 rows of 288 in blocks of 256": (one_tensor(dims=(1, 288), code=12), ("288", "256")),
    "G16 offset misaligned": (two_tensors(129), ("'b'", "129", "128")),
    "G16 overlap": (two_tensors(96), ("'b'", "96", "128")),
    "G16 same place": (two_tensors(0), ("'b'", "offset 0")),
    "G16 gap": (two_tensors(160, 320), ("'b'", "160")),
    "G16 past the end": (two_tensors(1 << 20), ("'b'", "1048576")),
    "G16 2^63": (two_tensors(2**63), ("'b'", str(2**63))),
    "G16 first not at 0": (one_tensor(offset=32), ("'a'", "offset 32")),
    "G17 tensor twice": (with_tensors(TENSORS[0]), ("token_embd.weight", "twice")),
    "G18 last byte missing": (one_tensor()[:-1], ("128 bytes", "127")),
    "G18 no data": (one_tensor()[:-128], ("128 bytes", "holds 0")),
    "G18 not even the padding before the data": (
        header_bytes([], [tensor_entry("a", (4, 8), 0, 0)]),
        ("128 bytes", "holds 0"),
    ),
    "G19 bytes after the last tensor": (GOOD + b"#", ("added",)),
    "G20 truth value 7": (
        extra_entry(string("a") + struct.pack("<IB", BOOL, 7)),
        ("'a'", "0 or 1, not 7"),
    ),
    "G20 truth value 2 in an array": (
        extra_entry(array_of(BOOL, 3, b"\x01\x02\x00")),
        ("'a'", "0 or 1, not 2"),
    ),
    "G21 architecture a number": (changed("general.architecture", 1), ("architecture", "int")),
    "G21 architecture a list": (changed("general.architecture", ["llama"]), ("list",)),
    "G21 no tensors": (gguf_bytes(METADATA), ("token_embd.weight",)),
    "G23 a token too few": (
        changed("tokenizer.ggml.tokens", ["x"] * (CONFIG.vocab_size - 1)),
        ("tokens", "60", "61"),
    ),
    "G23 a score too many": (
        changed("tokenizer.ggml.scores", [0.0] * (CONFIG.vocab_size + 1)),
        ("scores", "62", "61"),
    ),
    "G23 no types": (
        changed("tokenizer.ggml.token_type", Typed(I32, [])),
        ("token_type", "0 entries"),
    ),
    "G23 tokens a text": (changed("tokenizer.ggml.tokens", "x" * 61), ("tokens", "array")),
    "G25 split.count a text": (changed("split.count", "2"), ("split.count", "str")),
    "G25 split.count in a file without a number": (
        changed("split.count", 2),
        ("split.count is 2", "NAME-00001-of-0000N.gguf"),
    ),
    "G27 divisors of F16": (
        with_tensors(encoded("rope_freqs.weight", np.ones(4), "F16")),
        ("rope_freqs.weight", "F16"),
    ),
    "G27 divisors a matrix": (
        with_tensors(encoded("rope_freqs.weight", np.ones((2, 2)))),
        ("rope_freqs.weight", "(2, 2)"),
    ),
    "G28 strings of version 1": (
        header_bytes([V1_STRING + b"llama" + bytes(64)]),
        ("metadata key 0",),
    ),
    "tensor of a mixture of experts": (
        with_tensors(encoded("blk.0.ffn_gate_inp.weight", np.ones((8, 24)))),
        ("ffn_gate_inp", "plain Llama"),
    ),
    "tensor of a layer that is not there": (
        with_tensors(encoded("blk.1.attn_norm.weight", np.ones(24))),
        ("layers.1.attn_norm",),
    ),
    "layer number with a zero before it": (
        with_tensors(encoded("blk.00.attn_norm.weight", np.ones(24))),
        ("blk.00.attn_norm.weight",),
    ),
    "tensor missing": (gguf_bytes(METADATA, TENSORS[:-2]), ("final_norm", "missing")),
    "tensor transposed": (
        gguf_bytes(METADATA, [t._replace(shape=(24, 48)) if WQ in t else t for t in TENSORS]),
        ("layers.0.wq", "(24, 48)", "(48, 24)"),
    ),
    "whole numbers as weights": (
        gguf_bytes(METADATA, [TENSORS[0]._replace(code=26), *TENSORS[1:]]),
        ("token_embd.weight", "I32"),
    ),
    "one bias of the three": (
        with_tensors(encoded("blk.0.attn_q.bias", np.ones(48))),
        ("layers.0.bk", "missing"),
    ),
}


def misconfigured() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Files that are whole, with hyper-parameters that are not those of a Llama."""
    cases: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    ours = {"block_count": "n_layers", "feed_forward_length": "hidden_dim"}
    ours |= {"context_length": "max_context", "embedding_length": "dim"}
    for name in ours:
        for value in ("32", True, [24, 24], None):
            cases[f"G22 {name} = {value}"] = (changed(f"llama.{name}", value), (name,))
        for value in (0, 2**32 - 1, Typed(I32, -1)):
            cases[f"G22 {name} = {value}"] = (changed(f"llama.{name}", value), (ours[name],))
    for name in ("head_count", "head_count_kv"):
        for value in ("6", 0, 2**31, 6.0, Typed(I32, -6), [6], 5):
            case = changed(f"llama.attention.{name}", value)
            cases[f"G22 {name} = {value}"] = (case, ("head",))
    epsilon = "llama.attention.layer_norm_rms_epsilon"
    for value in (float("nan"), float("inf"), -1e-5, "1e-5", None):
        cases[f"G22 epsilon = {value}"] = (changed(epsilon, value), ("eps",))
    for value in (float("nan"), 0.0, -1.0, [1.0], Typed(F64, 1e309)):
        cases[f"G22 freq_base = {value}"] = (changed("llama.rope.freq_base", value), ("rope",))
    for value in (float("inf"), float("nan"), -1.0):
        cases[f"rope factor {value}"] = (changed("llama.rope.scaling.factor", value), ("factor",))
    for value in ("longrope", "", "llama3"):
        cases[f"rope type {value!r}"] = (changed("llama.rope.scaling.type", value), ("type",))
    keys = {
        "llama.attention.value_length": 4,
        "llama.rope.dimension_count": 4,
        "llama.vocab_size": 60,
        "llama.expert_count": 8,
        "llama.attention.sliding_window": 4096,
        "llama.logit_scale": 2.0,
        "llama.rope.scaling.attn_factor": 1.5,
        "llama.attention.causal": False,
        "llama.an_idea_of_tomorrow": [1, 2],
    }
    for key, value in keys.items():
        cases[f"{key} = {value}"] = (changed(key, value), (key.removeprefix("llama."),))
    return cases


CONFIGS: dict[str, tuple[bytes, tuple[str, ...]]] = misconfigured() | {
    "G21 no architecture": (changed("general.architecture", None), ("None",)),
    "G21 another architecture": (changed("general.architecture", "qwen2"), ("'qwen2'",)),
    "G21 nothing at all": (header_bytes([]), ("architecture",)),
    "G27 divisors too few": (divisors(1, 2, 8), ("(3,)", "4")),
    "G27 divisors too many": (divisors(1, 2, 8, 8, 8), ("(5,)", "4")),
    "G27 divisors of no scaling": (divisors(1, 3, 8, 5), ("rope_freqs.weight", "8.0")),
    "G27 divisor 0": (divisors(1, 0, 8, 8), ("rope_freqs.weight",)),
    "G27 divisor NaN": (divisors(1, float("nan"), 8, 8), ("factor",)),
    "G27 divisor infinite": (divisors(1, 1, 8, float("inf")), ("factor",)),
    "G27 base 0": (divisors(1, 1, 8, 8, base=0.0), ("rope",)),
    "G27 base negative": (divisors(1, 1, 8, 8, base=-2.0), ("rope.freq_base",)),
    "G27 base next to 0": (divisors(1, 1, 8, 8, base=Typed(F64, 5e-324)), ("rope_freqs",)),
    "G27 base next to infinity": (divisors(1, 1, 8, 8, base=Typed(F64, 1e308)), ("rope",)),
    "G27 divisors negative": (divisors(-1, -1, -8, -8), ("factor",)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    check_refused(lambda: read(path), CheckpointError, str(path), *words)


@pytest.mark.parametrize("name", CONFIGS)
def test_wrong_hyper_parameters_are_refused(name: str, tmp_path: Path) -> None:
    content, words = CONFIGS[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    check_refused(lambda: read(path), ConfigError, str(path), *words)


def test_heads_that_do_not_divide_the_width(tmp_path: Path) -> None:
    """Allowed only where key_length says how wide a head is: else it is 24 / 5."""
    said = ("attention.key_length", "attention.value_length", "rope.dimension_count")
    metadata = {k: v for k, v in METADATA.items() if k.removeprefix("llama.") not in said}
    metadata |= {"llama.attention.head_count": 5, "llama.attention.head_count_kv": 1}
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(metadata, TENSORS))
    check_refused(lambda: read(path), ConfigError, str(path), "24", "5")


def test_the_unchanged_file_is_accepted(tmp_path: Path) -> None:
    """Or the tests above would prove nothing."""
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    assert check_accepted(lambda: read(path)).config == CONFIG


@pytest.mark.parametrize("cut", range(0, 8192, 61))
def test_g18_cut_short_anywhere(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD[:cut])
    check_refused(lambda: read(path), CheckpointError, str(path))


def test_g19_padding_at_the_end_may_be_missing(tmp_path: Path) -> None:
    """Not every writer pads the last tensor: its padding, or a part of it, may be missing."""
    path = tmp_path / "model.gguf"
    padded = gguf_bytes(METADATA, TENSORS, alignment=64)
    needless = -len(TENSORS[-1].data) % 64
    assert needless == 32
    for missing in (0, 1, needless):
        path.write_bytes(padded[: len(padded) - missing])
        assert check_accepted(lambda: read(path)).config == CONFIG
    path.write_bytes(padded[: len(padded) - needless - 1])
    check_refused(lambda: read(path), CheckpointError, "cut short")


def test_g24_byte_tokens_are_the_tokenizers_matter(tmp_path: Path) -> None:
    """The reader of weights does not interpret tokens: a wrong one is no reason to refuse them."""
    tokens = ["<0x-1>", "<0xZZ>", "<0x100>"] + ["x"] * (CONFIG.vocab_size - 3)
    path = tmp_path / "model.gguf"
    path.write_bytes(changed("tokenizer.ggml.tokens", tokens))
    assert check_accepted(lambda: read(path)).config == CONFIG


@pytest.mark.parametrize(
    "code, block, finite",
    [
        (2, b"\x00\x7c" + b"\x01" * 16, False),  # Q4_0 with the scale +∞
        (2, b"\x00\x7e" + b"\x01" * 16, False),  # … NaN
        (2, b"\x00\x00" + b"\x01" * 16, True),  # … 0
        (12, b"\x00\x00\x00\x7c" + b"\x11" * 140, False),  # Q4_K with an infinite minimum
        (12, b"\x00\x00\x00\x00" + b"\x11" * 140, True),  # … with the super-block scale 0
    ],
)
def test_g26_scales_that_are_not_finite(
    code: int, block: bytes, finite: bool, tmp_path: Path
) -> None:
    """They load, without a warning, as what they are; it is the logits that say so."""
    config = tiny_config(n_layers=1, dim=256, hidden_dim=8)
    tensors = llama_tensors(random_tensors(config))
    shape = (config.vocab_size, config.dim)
    blocks = block * (config.vocab_size * config.dim // (32 if code == 2 else 256))
    tensors[0] = Tensor("token_embd.weight", shape, code, blocks)
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(llama_metadata(config), tensors))
    values = check_accepted(lambda: read(path).tensors["tok_embeddings"].load())
    assert np.isfinite(values).all() == finite
    assert values.shape == shape


def split_files(folder: Path, **changes: Any) -> Path:
    """The good model in two files, with some of the second one's metadata changed."""
    parts = [TENSORS[:5], TENSORS[5:]]
    for i, tensors in enumerate(parts):
        values = {"split.no": i, "split.count": 2, "split.tensors.count": len(TENSORS)}
        metadata = METADATA if i == 0 else {"general.architecture": "llama"}
        changed_values = {f"split.{k}": v for k, v in changes.items()} if i == 1 else {}
        metadata = {**metadata, **values, **changed_values}
        path = folder / f"model-{i + 1:05}-of-00002.gguf"
        path.write_bytes(gguf_bytes(metadata, tensors))
    return folder / "model-00001-of-00002.gguf"


@pytest.mark.parametrize("changes", [{"no": 0}, {"no": 2}, {"count": 3}, {"no": "1"}])
def test_g25_second_file_of_another_model(changes: dict[str, Any], tmp_path: Path) -> None:
    path = split_files(tmp_path, **changes)
    check_refused(lambda: read(path), CheckpointError, "model-00002-of-00002.gguf", "split.")


def test_g25_file_missing(tmp_path: Path) -> None:
    path = split_files(tmp_path)
    (tmp_path / "model-00002-of-00002.gguf").unlink()
    check_refused(lambda: read(path), CheckpointError, "model-00002-of-00002.gguf", "exist")


def test_g25_tensor_in_both_files(tmp_path: Path) -> None:
    path = split_files(tmp_path)
    metadata = {"split.no": 1, "split.count": 2, "split.tensors.count": 5 + len(TENSORS)}
    (tmp_path / "model-00002-of-00002.gguf").write_bytes(gguf_bytes(metadata, TENSORS))
    first = METADATA | {"split.no": 0, "split.count": 2, "split.tensors.count": 5 + len(TENSORS)}
    path.write_bytes(gguf_bytes(first, TENSORS[:5]))
    check_refused(lambda: read(path), CheckpointError, "token_embd.weight", "two files")


def test_g25_number_of_tensors_wrong(tmp_path: Path) -> None:
    path = split_files(tmp_path)
    first = METADATA | {"split.no": 0, "split.count": 2, "split.tensors.count": 99}
    path.write_bytes(gguf_bytes(first, TENSORS[:5]))
    check_refused(lambda: read(path), CheckpointError, "split.tensors.count is 99")


def test_g25_renamed_file(tmp_path: Path) -> None:
    path = split_files(tmp_path)
    path = path.rename(tmp_path / "model.gguf")
    check_refused(lambda: read(path), CheckpointError, "NAME-00001-of-0000N.gguf")


def test_g25_name_that_says_another_number_of_files(tmp_path: Path) -> None:
    path = split_files(tmp_path).rename(tmp_path / "model-00001-of-00003.gguf")
    check_refused(lambda: read(path), CheckpointError, "split.count is 2", "00001-of-0000N")


def test_g25_65535_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "model-00001-of-65535.gguf"
    path.write_bytes(gguf_bytes(METADATA | {"split.no": 0, "split.count": 65535}, TENSORS))
    check_refused(lambda: read(path), CheckpointError, "model-00002-of-65535.gguf")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_no_file(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    make(path)
    check_refused(lambda: read(path), CheckpointError, str(path))


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    """Reading the map of what is gone would end the process, so the length is asked before."""
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    checkpoint = read(path)
    os.truncate(path, 100)
    check_refused(checkpoint.tensors["final_norm"].load, CheckpointError, str(path))


def small_model() -> bytes:
    """A valid file of about 2 kB, so that most mutations meet the header."""
    config = tiny_config(n_layers=1, dim=8, hidden_dim=2, head_dim=2, n_heads=2, vocab_size=3)
    metadata = llama_metadata(config) | {
        "tokenizer.ggml.tokens": ["a", "bc", "<unk>"],
        "tokenizer.ggml.scores": Typed(F32, [0.0, 1.0, 2.0]),
        "tokenizer.ggml.token_type": Typed(I32, [1, 1, 2]),
        "tokenizer.ggml.add_bos_token": True,
        "general.file_type": Typed(U32, 0),
    }
    tensors = llama_tensors(random_tensors(config))
    tensors.append(encoded("rope_freqs.weight", np.ones(1)))
    return gguf_bytes(metadata, tensors)


SMALL = small_model()


@settings(max_examples=EXAMPLES, deadline=None)
@given(mutations(SMALL))
def test_mutated_files_are_refused_or_load(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(content)
        try:
            checkpoint = read(path)
            arrays = [tensor.load() for tensor in checkpoint.tensors.values()]
        except (CheckpointError, ConfigError) as error:
            assert str(path) in str(error)
            return
        assert [a.shape for a in arrays] == [t.shape for t in checkpoint.tensors.values()]
        assert all(isinstance(a, np.ndarray) for a in arrays)
