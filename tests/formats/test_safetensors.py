"""Our safetensors against the format's own library, both ways, and the promises of the writer."""

import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_llama.formats.huggingface.safetensors import BITS, read_file, read_header, write_file

library = pytest.importorskip("safetensors")
library_numpy = pytest.importorskip("safetensors.numpy")

# Dtypes that NumPy has, by the format's names.
NUMPY = {
    **{"F64": np.float64, "F32": np.float32, "F16": np.float16, "C64": np.complex64},
    **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "BOOL": np.bool_},
    **{"U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8},
}
WEIGHTS = ["F64", "F32", "F16"]


def random_bytes(count: int, seed: int = 0) -> bytes:
    """Any bits at all: NaN, infinities and subnormals among them."""
    return np.random.default_rng(seed).bytes(count)


def sample(dtype: str) -> dict[str, np.ndarray]:
    """Arrays of several shapes, of none, of no dimension, and with a name that is not ASCII."""
    shapes = {"matrix": (3, 5), "vector": (7,), "scalar": (), "empty": (0, 4), "gewicht ü": (2,)}
    kind = np.dtype(NUMPY[dtype])
    return {
        name: np.frombuffer(random_bytes(kind.itemsize * int(np.prod(shape))), kind).reshape(shape)
        if dtype != "BOOL"
        else np.resize([True, False], shape)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("dtype", NUMPY)
def test_header_of_a_file_of_the_library(dtype: str, tmp_path: Path) -> None:
    """Names, dtypes, shapes, metadata and places are those that the library wrote."""
    path, arrays = tmp_path / "a.safetensors", sample(dtype)
    library_numpy.save_file(arrays, path, {"format": "np"})
    entries, metadata = read_header(path)
    assert metadata == {"format": "np"}
    assert {name: entry.shape for name, entry in entries.items()} == {
        name: array.shape for name, array in arrays.items()
    }
    content = path.read_bytes()
    for name, entry in entries.items():
        assert entry.dtype == dtype
        assert content[entry.start : entry.stop] == arrays[name].tobytes()


@pytest.mark.parametrize("dtype", WEIGHTS)
def test_read_what_the_library_wrote(dtype: str, tmp_path: Path) -> None:
    """The arrays are equal to the last bit, and are the file: nothing is copied."""
    path, arrays = tmp_path / "a.safetensors", sample(dtype)
    library_numpy.save_file(arrays, path)
    for name, tensor in read_file(path).items():
        array = tensor.load()
        assert array.dtype == NUMPY[dtype] and array.tobytes() == arrays[name].tobytes()
        assert tensor.nbytes == array.nbytes
        if array.size:
            assert isinstance(root_of(array), mmap.mmap) and not array.flags.writeable


def root_of(array: Any) -> Any:
    """What holds the memory of an array that is a view of a view of …"""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@pytest.mark.parametrize("dtype", WEIGHTS)
def test_the_library_reads_what_we_wrote(dtype: str, tmp_path: Path) -> None:
    """Both from arrays and from functions that make them; the data begins at a multiple of 8."""
    path, arrays = tmp_path / "a.safetensors", sample(dtype)
    tensors = [
        (name, dtype, array.shape, array if i % 2 else lambda array=array: array)
        for i, (name, array) in enumerate(arrays.items())
    ]
    write_file(path, tensors, {"source": "test"})
    found = library_numpy.load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape and found[name].tobytes() == array.tobytes()
    with library.safe_open(path, "np") as file:
        assert file.metadata() == {"source": "test"}
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0


@pytest.mark.parametrize("dtype", BITS)
def test_every_dtype_is_written_as_the_library_names_it(dtype: str, tmp_path: Path) -> None:
    """The library's own parser accepts each of our dtypes, with our number of bits."""
    path, content = tmp_path / "a.safetensors", random_bytes(BITS[dtype])
    write_file(path, [("a", dtype, (8,), content)], {})
    with library.safe_open(path, "np") as file:
        piece = file.get_slice("a")
        assert piece.get_dtype() == dtype and piece.get_shape() == [8]
    assert read_file(path)["a"].nbytes == len(content)


def test_bf16_is_its_bits(tmp_path: Path) -> None:
    """NumPy has no bfloat16: the bits come as uint16, and go back as such."""
    path, bits = tmp_path / "a.safetensors", np.arange(1 << 16, dtype=np.uint16)
    write_file(path, [("a", "BF16", bits.shape, bits)], {})
    tensor = read_file(path)["a"]
    assert tensor.dtype == "BF16" and np.array_equal(tensor.load(), bits)


@pytest.mark.oracle
def test_bf16_against_torch(tmp_path: Path) -> None:
    """The same bits through torch, in both directions."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    bits = np.arange(1 << 16, dtype=np.uint16)
    theirs = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    save_file({"a": theirs}, tmp_path / "theirs.safetensors")
    assert np.array_equal(read_file(tmp_path / "theirs.safetensors")["a"].load(), bits)
    write_file(tmp_path / "ours.safetensors", [("a", "BF16", bits.shape, bits)], {})
    ours = load_file(tmp_path / "ours.safetensors")["a"]
    assert torch.equal(ours.view(torch.int16), theirs.view(torch.int16))


def test_write_over_the_file_that_is_mapped(tmp_path: Path) -> None:
    """Truncating it first would leave zeros, or kill the process."""
    path, values = tmp_path / "a.safetensors", np.arange(30_000, dtype=np.float32)
    write_file(path, [("a", "F32", values.shape, values)], {})
    mapped = read_file(path)["a"]
    first = ("first", "U8", (9999,), bytes(9999))  # so that no byte stays where it was
    write_file(path, [first, ("b", "F32", values.shape, mapped.load())], {})
    assert np.array_equal(mapped.load(), values)  # the old file, for who has it
    assert np.array_equal(read_file(path)["b"].load(), values)


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    """What `write_file` returns can be checked with any tool."""
    path = tmp_path / "a.safetensors"
    digest = write_file(path, [("a", "U8", (5,), b"12345")], {"k": "v"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """Whatever is raised half-way, Ctrl-C included."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, [("a", "U8", (3,), b"123"), ("b", "U8", (1,), interrupted)], {})
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"old"


@pytest.mark.parametrize(
    "tensors",
    [
        [("a", "F32", (2,), np.zeros(2, np.float64))],
        [("a", "F32", (2,), np.zeros(3, np.float32))],
        [("a", "U8", (2,), b"123")],
        [("a", "U8", (1,), b"1"), ("a", "U8", (1,), b"1")],
    ],
    ids=["dtype", "shape", "bytes", "name twice"],
)
def test_what_the_header_would_lie_about_is_not_written(tensors: list, tmp_path: Path) -> None:
    """A caller's mistake, not a user's: ValueError, and no file."""
    with pytest.raises(ValueError):
        write_file(tmp_path / "a.safetensors", tensors, {})
    assert os.listdir(tmp_path) == []


def test_one_tensor_in_memory_at_a_time(tmp_path: Path) -> None:
    """Each array is garbage before the next is made."""
    alive = []

    class Counted(np.ndarray):
        """An array that says when it dies."""

        def __del__(self) -> None:
            if self.base is None:
                alive.clear()

    def make() -> np.ndarray:
        assert not alive
        alive.append(1)
        return np.ndarray.__new__(Counted, (1000,), np.float32)

    write_file(tmp_path / "a", [(name, "F32", (1000,), make) for name in "abcd"], {})
    assert not alive


def test_order_is_kept(tmp_path: Path) -> None:
    """Tensors lie in the order given: that of a forward pass reads the file from front to back."""
    names = ["z", "a", "m"]
    write_file(tmp_path / "x", [(name, "U8", (1,), b"1") for name in names], {})
    raw = (tmp_path / "x").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert list(header) == names and list(read_file(tmp_path / "x")) == names
