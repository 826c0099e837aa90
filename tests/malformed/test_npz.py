"""The ways in which an npz file can be wrong or hostile, N1 to N8; each gets one sentence."""

import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.formats import npz
from numpy_llama.formats.checkpoint import Checkpoint
from tests.formats.test_npz import write_npz
from tests.formats.test_pytorch_bin import hf_tensors
from tests.hostile import EXAMPLES, frugal, load_or_refuse, mutations, swift
from tests.malformed.limits import refused
from tests.models import tiny_config
from tests.torch_files import write_zip

CONFIG = tiny_config(n_layers=1)
NORM = "model.norm.weight"


def read(path: Path) -> Checkpoint:
    """The reader with what a user would say."""
    return npz.read(path, "adjacent")


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    """A member by NumPy's own writer."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def npy_of(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A member with any header."""
    layout = "<H" if version == b"\1\0" else "<I"
    return b"\x93NUMPY" + version + struct.pack(layout, len(header)) + header.encode() + data


def with_norm(tmp_path: Path, member: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    """A good model whose last norm is this member."""
    write_npz(tmp_path, CONFIG, {})
    members = {f"{name}.npy": npy(array) for name, array in hf_tensors(CONFIG).items()}
    return write_zip(tmp_path / "model.npz", members | {f"{NORM}.npy": member}, method)


def described(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    """The header of an array."""
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def test_the_pieces_of_these_tests_make_a_file_that_is_read(tmp_path: Path) -> None:
    member = npy_of(described("(24,)"), np.ones(24, np.float32).tobytes(), b"\2\0")
    found = read(with_norm(tmp_path, member)).tensors["final_norm"].load()
    np.testing.assert_array_equal(found, np.ones(24))


def test_n1_an_array_of_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    member = npy(np.array([{"x": 1}], dtype=object), pickled=True)
    path = with_norm(tmp_path, member)
    refused(lambda: read(path), str(path), NORM, "not an array of floats")


SHAPES = ["(1099511627776,)", "(4294967296, 4294967296)", "(6, 4)", "(23,)", "(25,)", "()"]
SHAPES += ["(24, 0)", "(24, 1, 1, 1, 1, 1, 1, 1, 1)", "(-24,)", "(24.0,)", "(9" * 5000 + ",)"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_n2_a_shape_that_the_bytes_are_not_is_refused(
    tmp_path: Path, shape: str, method: int
) -> None:
    path = with_norm(tmp_path, npy_of(described(shape), bytes(96)), method)
    refused(lambda: read(path), str(path))


def test_n3_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    bomb = npy(np.zeros(50_000_000, np.float32))  # 200 MB, which 195 kB unpack to
    path = with_norm(tmp_path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 400_000
    refused(lambda: read(path), str(path), NORM, "unpack to 200000128")


@pytest.mark.parametrize("count", [0, 92, 100])
def test_n2_bytes_that_the_shape_does_not_account_for_are_refused(
    tmp_path: Path, count: int
) -> None:
    path = with_norm(tmp_path, npy_of(described("(24,)"), bytes(count)))
    refused(lambda: read(path), str(path), "(24,), which its")


def test_n3_a_member_that_unpacks_to_less_is_refused_when_loaded(tmp_path: Path) -> None:
    member = npy(np.ones(24, np.float32))
    path = with_norm(tmp_path, member[:-8], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(NORM.encode()) - 30 + 22, len(member))
    struct.pack_into("<I", data, data.rindex(NORM.encode()) - 46 + 24, len(member))
    path.write_bytes(data)

    def load() -> None:
        read(path).tensors["final_norm"].load()

    sentence = refused(load, str(path), NORM, f"unpacks to {len(member) - 8} bytes")
    assert "damaged" in sentence


def test_n3_a_damaged_member_is_refused_when_loaded(tmp_path: Path) -> None:
    path = with_norm(tmp_path, npy(np.ones(24, np.float32)), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    packed = data.index(NORM.encode()) + len(f"{NORM}.npy")
    data[packed : packed + 16] = b"\xff" * 16
    path.write_bytes(data)
    refused(lambda: read(path), str(path), NORM, "damaged")


HEADERS = {
    "N4 a header of 40 kB": described("(24,)") + " " * 40_000,
    "N5 nested parentheses": described("(" * 3000 + "24,)"),
    "N5 an expression": described("(10**10**10,)"),
    "N6 a structure": described("(24,)", "[('a', '<f4')]"),
    "N6 whole numbers": described("(24,)", "'<i4'"),
    "N6 text": described("(24,)", "'<U1'"),
    "N6 no such type": described("(24,)", "'<f3'"),
    "N6 order by number": described("(24,)", order="2"),
    "not a table": "(24,)",
    "empty": "",
    "a key more": described("(24,)").replace("}", "'x': 1}"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_n4_n5_n6_headers_that_are_no_floats_are_refused(tmp_path: Path, case: str) -> None:
    path = with_norm(tmp_path, npy_of(HEADERS[case], bytes(96)))
    refused(lambda: read(path), str(path), NORM)


@pytest.mark.parametrize("start", [b"", b"\x93NUMPX\1\0", b"\x93NUMPY\4\0" + bytes(96)])
def test_members_that_are_no_arrays_are_refused(tmp_path: Path, start: bytes) -> None:
    path = with_norm(tmp_path, start)
    refused(lambda: read(path), str(path), NORM)


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/../../x.npy", "a\\x.npy"])
def test_n7_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = with_norm(tmp_path, npy(np.ones(24, np.float32)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, npy(np.ones(1)))
    refused(lambda: read(path), str(path), "unsafe name")


def test_n7_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = with_norm(tmp_path, npy(np.ones(24, np.float32)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("run.py", "print()")
    refused(lambda: read(path), str(path), "run.py")


def test_n8_duplicate_members_are_refused(tmp_path: Path) -> None:
    path = with_norm(tmp_path, npy(np.ones(24, np.float32)))
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(f"{NORM}.npy", npy(np.ones(24, np.float32)))
    refused(lambda: read(path), str(path), "twice")


def test_other_tensors_are_refused_by_name(tmp_path: Path) -> None:
    write_npz(tmp_path, CONFIG, hf_tensors(CONFIG) | {"extra": np.ones(1)})
    refused(lambda: read(tmp_path / "model.npz"), "extra")


def test_a_file_without_a_llama_in_it_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", x=np.ones(3))
    path = tmp_path / "model.npz"
    refused(lambda: npz.read(path, "adjacent", n_heads=6), str(path), "first layer")


SIZES = {"n_heads": 2, "n_kv_heads": 1, "head_dim": 2, "dim": 4, "hidden_dim": 6, "vocab_size": 5}
SMALL = tiny_config(n_layers=1, **SIZES)


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_mutated_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = write_npz(folder, SMALL, hf_tensors(SMALL), compressed)
    whole = path.read_bytes()
    directory = whole.index(b"PK\1\2")
    start, end = data.draw(
        st.sampled_from([(0, len(whole)), (0, 600), (directory, len(whole))])
    )  # anything, the first arrays' headers, or the directory
    path.write_bytes(whole[:start] + data.draw(mutations(whole[start:end])) + whole[end:])
    with frugal(), swift(seconds=5):
        load_or_refuse(read, path)
