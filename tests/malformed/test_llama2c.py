"""The ways in which a llama2.c file can be wrong, L1 to L6; each gets one sentence."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.formats.llama2c import read as llama2c
from tests.formats.test_llama2c import CONFIG, WRITERS
from tests.hostile import EXAMPLES, frugal, load_or_refuse, mutations, swift
from tests.malformed.limits import refused
from tests.models import random_tensors, tiny_config

INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
FIELDS = ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_context"]


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A good file of each version."""
    path = tmp_path / f"v{request.param}.bin"
    WRITERS[request.param](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    return path


def put(path: Path, at: int, layout: str, value: int) -> None:
    """Overwrite one number of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(layout, value))


def integers_at(path: Path) -> int:
    """Where the seven integers begin."""
    return 0 if path.name == "v0.bin" else 8


@pytest.mark.parametrize("size", [1, 3, 4, 7, 27, 28, 36, 40])
def test_l1_a_header_that_is_cut_short_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    refused(lambda: llama2c.read(path), str(path))


def test_l1_an_empty_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    refused(lambda: llama2c.read(path), str(path), "0 bytes")
    assert not llama2c.recognises(path)


@pytest.mark.parametrize("value", [0, -1, INT_MIN, INT_MAX, 1 << 20])
@pytest.mark.parametrize("field", FIELDS)
def test_l2_l3_sizes_that_no_model_has_are_refused(path: Path, field: str, value: int) -> None:
    put(path, integers_at(path) + 4 * FIELDS.index(field), "<i", value)
    if field == "max_context" and value > 0 and path.name != "v0.bin":
        # No tensor of versions 1 and 2 depends on it: nothing shows that it is wrong.
        assert llama2c.read(path).config.max_context == value
    else:
        refused(lambda: llama2c.read(path), str(path))


@pytest.mark.parametrize(
    "field, value", [("dim", 47), ("n_heads", 7), ("n_kv_heads", 4), ("n_heads", 16)]
)
def test_l4_heads_that_do_not_divide_are_refused(path: Path, field: str, value: int) -> None:
    put(path, integers_at(path) + 4 * FIELDS.index(field), "<i", value)
    refused(lambda: llama2c.read(path), str(path))


@pytest.mark.parametrize("change", [-4096, -4, -1, 1, 4, 4096])
def test_l5_a_size_that_is_not_exact_is_refused(path: Path, change: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:change] if change < 0 else whole + bytes(change))
    refused(lambda: llama2c.read(path), str(path), f"has {len(whole) + change} bytes")


def test_l5_version_0_without_its_two_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v0.bin"
    WRITERS[0](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    tables = 2 * CONFIG.max_context * CONFIG.head_dim // 2 * 4
    path.write_bytes(path.read_bytes()[:-tables])
    refused(lambda: llama2c.read(path), str(path))


@pytest.mark.parametrize("version", [0, 3, -1, INT_MAX])
def test_l6_an_unknown_version_is_refused(path: Path, version: int) -> None:
    if path.name != "v0.bin":
        put(path, 4, "<i", version)
        refused(lambda: llama2c.read(path), str(path), f"version {version}")


@pytest.mark.parametrize("group", [0, -1, 7, 32, 96, INT_MIN, INT_MAX])
def test_l6_a_bad_group_is_refused(tmp_path: Path, group: int) -> None:
    path = tmp_path / "v2.bin"
    WRITERS[2](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    put(path, 37, "<i", group)
    refused(lambda: llama2c.read(path), str(path), "into groups of")


def test_a_byte_for_tied_that_is_neither_0_nor_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v1.bin"
    WRITERS[1](path, CONFIG, random_tensors(CONFIG, dtype=np.float32))
    put(path, 36, "<B", 2)
    refused(lambda: llama2c.read(path), str(path), "not 0 or 1")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    refused(lambda: llama2c.read(tmp_path), str(tmp_path), "directory")
    assert not llama2c.recognises(tmp_path)


SIZES = {
    "n_heads": 2,
    "n_kv_heads": 1,
    "head_dim": 8,
    "dim": 16,
    "hidden_dim": 32,
    "max_context": 4,
}
SMALL = tiny_config(n_layers=2, vocab_size=16, **SIZES)


@pytest.mark.parametrize("version", WRITERS)
@settings(max_examples=EXAMPLES // 3 + 1)
@given(data=st.data())
def test_mutated_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, version: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"mutated-v{version}.bin"
    WRITERS[version](path, SMALL, random_tensors(SMALL, dtype=np.float32))
    whole = path.read_bytes()
    split = data.draw(st.sampled_from([48, len(whole)]))  # half of the mutations in the header
    path.write_bytes(data.draw(mutations(whole[:split])) + whole[split:])
    with frugal(), swift(seconds=5):
        load_or_refuse(llama2c.read, path)
