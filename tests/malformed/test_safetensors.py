"""Malformed safetensors files: cases S1 to S36, and what any file can be (1 to 10)."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.errors import CheckpointError
from numpy_llama.formats.huggingface.safetensors import read_file, read_header
from tests.malformed.limits import check_accepted, check_refused

NAME = "model.safetensors"


def entry(dtype: Any = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    """One entry of a header; by default a good one, of 24 bytes."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def make(header: Any, data: bytes = bytes(24), length: int | None = None) -> bytes:
    """A file: the header as it is if it is text or bytes, else as JSON; its length may be a lie."""
    if not isinstance(header, str | bytes):
        header = json.dumps(header)
    text = header.encode() if isinstance(header, str) else header
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def text_of(**entries: Any) -> str:
    """A good header's JSON, with these tensors."""
    return json.dumps(entries)


GOOD = text_of(a=entry())
DTYPE = '{"a":{"dtype":"F32","dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
TWICE = GOOD[:-1] + "," + GOOD[1:]
LITERAL = '{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,24]}}'

# Name of the case: the file, and the words that its refusal must have.
REFUSED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "S1 less than 8 bytes": (b"1234567", ("7 bytes",)),
    "S2 header of no bytes": (make("", b""), ("header",)),
    "S3 header of 2^64 - 1 bytes": (make(GOOD, length=2**64 - 1), ("18446744073709551615",)),
    "S4 header longer than the file": (make(GOOD, length=1000), ("cut short", "1000")),
    "S5 header over the limit": (make(GOOD, length=100_000_001), ("100000001", "100000000")),
    "S6 not UTF-8": (make(b'{"\xff":1}'), ("UTF-8",)),
    "S7 JSON that stops": (make(GOOD[:-2]), ("not JSON",)),
    "S8 a list": (make("[1, 2]"), ("header",)),
    "S8 null": (make("null"), ("header",)),
    "S8 a number": (make("12345"), ("header",)),
    "S9 byte-order mark": (make(b"\xef\xbb\xbf" + GOOD.encode()), ("header",)),
    "S9 UTF-16": (make(GOOD.encode("utf-16-le")), ("not JSON",)),
    "S10 leading space": (make(" " + GOOD), ("does not begin with {",)),
    "S11 trailing NUL": (make(GOOD + "\0"), ("not JSON",)),
    "S11 trailing comment": (make(GOOD + " // end"), ("not JSON",)),
    "S12 name twice": (make(TWICE), ("'a'", "twice")),
    "S13 field twice": (make(DTYPE), ("'dtype'", "twice")),
    "S14 overlap": (
        make({"a": entry(), "b": entry(offsets=[20, 44])}, bytes(44)),
        ("'b'", "overlaps"),
    ),
    "S14 same bytes twice": (make({"a": entry(), "b": entry()}), ("'b'", "overlaps")),
    "S15 hole at the start": (make({"a": entry(offsets=[4, 28])}, bytes(28)), ("'a'", "gap")),
    "S16 hole in the middle": (
        make({"a": entry(), "b": entry(offsets=[28, 52])}, bytes(52)),
        ("'b'", "gap"),
    ),
    "S17 trailing bytes": (make(GOOD, bytes(25)), ("1 bytes follow",)),
    "S18 last byte missing": (make(GOOD, bytes(23)), ("'a'", "cut short")),
    "S19 offsets reversed": (make({"a": entry(offsets=[24, 0])}), ("'a'", "data_offsets")),
    "S19 offset negative": (make({"a": entry(offsets=[-24, 0])}), ("'a'", "data_offsets")),
    "S19 three offsets": (make({"a": entry(offsets=[0, 24, 24])}), ("'a'", "data_offsets")),
    "S19 offsets with a point": (make({"a": entry(offsets=[0.0, 24.0])}), ("data_offsets",)),
    "S19 offsets as text": (make({"a": entry(offsets=["0", "24"])}), ("'a'", "data_offsets")),
    "S19 offsets null": (make({"a": entry(offsets=None)}), ("'a'", "data_offsets")),
    "S20 dimension negative": (make({"a": entry(shape=[-2, -3])}), ("'a'", "shape")),
    "S20 dimension true": (make({"a": entry(shape=[True, 6])}), ("'a'", "shape", "True")),
    "S20 dimension with a point": (make({"a": entry(shape=[2.0, 3])}), ("'a'", "shape")),
    "S20 dimension as text": (make({"a": entry(shape=["2", 3])}), ("'a'", "shape")),
    "S20 shape null": (make({"a": entry(shape=None)}), ("'a'", "shape")),
    "S21 product of 2^64": (
        make({"a": entry(shape=[2**32, 2**32], offsets=[0, 0])}, b""),
        ("'a'", "shape"),
    ),
    # In 64 bits its product is 4: 16 bytes of float32.
    "S21 product that wraps to 4": (
        make({"a": entry(shape=[4194305, 4194305, 211106198978564], offsets=[0, 16])}, bytes(16)),
        ("'a'", "shape", "data_offsets"),
    ),
    "S22 dimension of 10^30": (make(LITERAL % ("1" + "0" * 30)), ("31 digits",)),
    "S22 dimension of 5000 digits": (make(LITERAL % ("9" * 5000)), ("5000 digits",)),
    "S23 dtype unknown": (make({"a": entry("F33")}), ("'a'", "dtype", "F33")),
    "S23 dtype in lower case": (make({"a": entry("f32")}), ("'a'", "dtype", "f32")),
    "S23 dtype a list": (make({"a": entry(["F32"])}), ("'a'", "dtype")),
    "S24 no shape": (make({"a": {"dtype": "F32", "data_offsets": [0, 24]}}), ("'a'", "shape")),
    "S24 no dtype": (make({"a": {"shape": [2, 3], "data_offsets": [0, 24]}}), ("'a'", "dtype")),
    "S24 no offsets": (make({"a": {"dtype": "F32", "shape": [2, 3]}}), ("data_offsets",)),
    "S24 entry null": (make({"a": None}), ("'a'", "dtype")),
    # The reference ignores it; but a field that we do not know might change what the bytes mean.
    "S25 field too many": (make({"a": entry() | {"scale": 2}}), ("'a'", "scale")),
    "S26 metadata with a number": (
        make({"__metadata__": {"n": 1}, "a": entry()}),
        ("__metadata__",),
    ),
    "S26 metadata a list": (make({"__metadata__": ["x"], "a": entry()}), ("__metadata__",)),
    "S26 metadata a tensor": (make({"__metadata__": entry()}), ("__metadata__",)),
    "S29 nested 100,000 deep": (make('{"a":' + "[" * 90000 + "]" * 90000 + "}"), ("deep",)),
    "S30 NaN": (make(LITERAL % "NaN"), ("NaN",)),
    "S30 Infinity": (make(LITERAL % "-Infinity"), ("Infinity",)),
    "S30 number above all": (make(LITERAL % "1e999"), ("1e999",)),
    "S31 lone surrogate": (make(GOOD.replace("a", "\\ud800", 1)), ("name", "\\ud800")),
    "S31 NUL in a name": (make(GOOD.replace("a", "\\u0000", 1)), ("name", "\\x00")),
    "S31 empty name": (make({"": entry()}), ("name", "''")),
    "S31 name of 1 MB": (make({"n" * 1_000_000: entry()}), ("name",)),
    "S33 65 dimensions": (make({"a": entry(shape=[1] * 65, offsets=[0, 4])}), ("shape", "64")),
    "S34 half a byte": (make({"a": entry("F4", [3], [0, 1])}, b"1"), ("'a'", "F4", "1.5")),
    "S34 F8 of two bytes each": (make({"a": entry("F8_E4M3", [2], [0, 4])}, b"1234"), ("'a'",)),
    "S34 BF16 of four bytes": (make({"a": entry("BF16", [2], [0, 8])}, bytes(8)), ("'a'",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """Each is one sentence that names the file and the field."""
    content, words = REFUSED[case]
    path = tmp_path / NAME
    path.write_bytes(content)
    check_refused(lambda: read_file(path), CheckpointError, NAME, *words)


@pytest.mark.parametrize("count", [100_000, 1_000_000])
def test_s32_too_many_tensors(count: int, tmp_path: Path) -> None:
    """They would take 100 MB and more once parsed: counted first, and refused."""
    entries = (b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(count))
    path = tmp_path / NAME
    path.write_bytes(make(b"{" + b",".join(entries) + b"}", b""))
    check_refused(lambda: read_header(path), CheckpointError, NAME, "200,000 values")


def test_s32_as_many_as_a_large_model_has(tmp_path: Path) -> None:
    """5,000 tensors in one file are accepted: Llama 3.1 405B has 1,138."""
    header = {f"layers.{i}.w": entry("F16", [1, 1], [2 * i, 2 * i + 2]) for i in range(5000)}
    path = tmp_path / NAME
    path.write_bytes(make(header, bytes(10000)))
    assert len(check_accepted(lambda: read_file(path))) == 5000


def test_s32_a_list_instead_of_tensors(tmp_path: Path) -> None:
    """Three bytes of the file could be 64 of memory: the brackets are counted."""
    path = tmp_path / NAME
    path.write_bytes(make(b'{"a":[' + b"[]," * 10_000_000 + b"1]}", b""))
    check_refused(lambda: read_header(path), CheckpointError, NAME, "200,000 values")


def test_s10_trailing_spaces_are_padding(tmp_path: Path) -> None:
    """Writers align the data with them."""
    path = tmp_path / NAME
    path.write_bytes(make(GOOD + " " * 13, np.arange(6, dtype="<f4").tobytes()))
    assert check_accepted(lambda: read_file(path)["a"].load()).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_s26_extra_metadata_is_accepted(tmp_path: Path) -> None:
    """Any names and texts."""
    path = tmp_path / NAME
    path.write_bytes(make({"__metadata__": {"format": "pt", "…": ""}, "a": entry()}))
    assert check_accepted(lambda: read_header(path))[1] == {"format": "pt", "…": ""}


def test_s27_empty_tensors_share_an_offset(tmp_path: Path) -> None:
    """At the start, in the middle, at the end: they have no bytes to overlap with."""
    empty = {f"{at}{i}": entry(shape=[0, 5], offsets=[at, at]) for at in (0, 24) for i in (1, 2)}
    path = tmp_path / NAME
    path.write_bytes(make(empty | {"a": entry()}))
    arrays = check_accepted(lambda: {name: t.load() for name, t in read_file(path).items()})
    assert [arrays[name].shape for name in empty] == [(0, 5)] * 4


def test_s27_empty_tensor_inside_another(tmp_path: Path) -> None:
    """Its offset is in the middle of other bytes: that is an overlap."""
    path = tmp_path / NAME
    path.write_bytes(make({"a": entry(), "b": entry(shape=[0], offsets=[8, 8])}))
    check_refused(lambda: read_file(path), CheckpointError, NAME, "'b'", "overlaps")


def test_s28_scalar(tmp_path: Path) -> None:
    """A shape of no dimensions is one element."""
    path = tmp_path / NAME
    path.write_bytes(make({"a": entry(shape=[], offsets=[0, 4])}, np.float32(1.5).tobytes()))
    assert check_accepted(lambda: read_file(path)["a"].load()) == np.float32(1.5)


def test_s33_64_dimensions(tmp_path: Path) -> None:
    """As many as NumPy has."""
    path = tmp_path / NAME
    path.write_bytes(make({"a": entry(shape=[1] * 64, offsets=[0, 4])}, bytes(4)))
    assert check_accepted(lambda: read_file(path)["a"].load()).ndim == 64


@pytest.mark.parametrize("shift", [1, 2, 3, 5])
def test_s35_payload_not_aligned(shift: int, tmp_path: Path) -> None:
    """It loads, as an array that is aligned: BLAS would copy any other at each use."""
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    text = GOOD + " " * ((shift - len(GOOD)) % 8)
    path = tmp_path / NAME
    path.write_bytes(make(text, values.tobytes()))
    array = check_accepted(lambda: read_file(path)["a"].load())
    assert array.flags.aligned and np.array_equal(array, values)


@pytest.mark.parametrize("dtype", ["I32", "U8", "F8_E4M3", "BOOL", "F4", "C64"])
def test_s36_dtype_that_no_weight_has(dtype: str, tmp_path: Path) -> None:
    """The file is good, and says so; to load the tensor as a weight is refused."""
    shape = {"I32": [6], "C64": [3], "F4": [48]}.get(dtype, [24])
    path = tmp_path / NAME
    path.write_bytes(make({"a": entry(dtype, shape)}))
    tensor = check_accepted(lambda: read_file(path)["a"])
    assert tensor.dtype == dtype
    check_refused(tensor.load, CheckpointError, NAME, "'a'", dtype, "BF16")


# — what any file can be —

FOREIGN = {
    "6 Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs"),
    "7 HTML page": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "8 gzip": (gzip.compress(make(GOOD)), "gzip"),
    "8 zstd": (b"\x28\xb5\x2f\xfd" + bytes(60), "zstd"),
    "8 zip": (b"PK\x03\x04" + b"\xff" * 60, "zip"),
    "5 GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(60), "GGUF"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_another_file_under_the_name(case: str, tmp_path: Path) -> None:
    """What it is instead is said."""
    content, word = FOREIGN[case]
    path = tmp_path / NAME
    path.write_bytes(content)
    check_refused(lambda: read_file(path), CheckpointError, NAME, word)


def test_1_empty_file(tmp_path: Path) -> None:
    """It cannot even be mapped."""
    path = tmp_path / NAME
    path.touch()
    check_refused(lambda: read_file(path), CheckpointError, NAME, "empty")


def test_2_directory(tmp_path: Path) -> None:
    """A directory with the file's name."""
    check_refused(lambda: read_file(tmp_path), CheckpointError, tmp_path.name, "directory")


def test_3_fifo(tmp_path: Path) -> None:
    """To open one would wait for a writer that never comes."""
    path = tmp_path / NAME
    os.mkfifo(path)
    check_refused(lambda: read_file(path), CheckpointError, NAME, "regular file")


def test_3_device() -> None:
    """/dev/zero never ends."""
    check_refused(lambda: read_file(Path("/dev/zero")), CheckpointError, "/dev/zero", "regular")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_4_no_permission(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    path = tmp_path / NAME
    path.write_bytes(make(GOOD))
    path.chmod(0)
    check_refused(lambda: read_file(path), CheckpointError, NAME, "Permission denied")


def test_missing_and_impossible_paths(tmp_path: Path) -> None:
    """A path that leads nowhere, one through a file, one with a NUL, one that is too long."""
    (tmp_path / "file").touch()
    for name, word in (
        ("none", "does not exist"),
        ("file/x", "cannot be read"),
        ("\0", "not a path"),
        ("n" * 300, "cannot be read"),
    ):
        check_refused(lambda name=name: read_file(tmp_path / name), CheckpointError, word)


def test_9_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    """To touch the missing pages would kill the process; load looks first."""
    path = tmp_path / NAME
    path.write_bytes(make(GOOD))
    tensor = read_file(path)["a"]
    os.truncate(path, 40)
    check_refused(tensor.load, CheckpointError, NAME, "shrank")


def test_10_file_that_is_replaced_after_it_was_opened(tmp_path: Path) -> None:
    """What was opened stays what it was: the map keeps the old file."""
    path = tmp_path / NAME
    path.write_bytes(make(GOOD, b"\1" * 24))
    tensor = read_file(path)["a"]
    other = tmp_path / "other"
    other.write_bytes(b"not the same")
    os.replace(other, path)
    assert tensor.load().tobytes() == b"\1" * 24
