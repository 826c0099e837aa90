"""The files in which other implementations leave their numbers, whatever they call them.

Everything is checked before it is mapped, nothing is copied that can be mapped, no pickle is read.
"""

import math
import mmap
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...errors import InputError
from ...formats.huggingface.safetensors import read_file, read_header
from ...formats.npz import KINDS, MAX_HEADER, parse_array, read_tensors
from ...formats.storage.files import map_file, read_small
from ...formats.storage.floats import bf16_to_f32
from ...formats.storage.strict_json import parse_json, shown
from ...formats.storage.zip_archive import STORED, Member
from .candidate import SCALARS

# What may be stored besides floats: ids, and what will be judged to be of the wrong dtype.
INTEGERS = {
    **{f"{kind}{size}": f"{kind.upper()}{8 * size}" for kind in "iu" for size in (1, 2, 4, 8)},
    "b1": "BOOL",
}
WHOLE: dict[str, np.dtype[Any]] = {
    ours: np.dtype(f"<{numpys}" if numpys[1] != "1" else numpys)
    for numpys, ours in INTEGERS.items()
}

IDS = ("greedy", "tokens")  # names under which lists of token ids are understood
MAX_TEXT = 256 << 20  # bytes of a JSON or a text file
MAX_NUMBERS = 8_000_000  # in a JSON file; each costs about 40 bytes while it is read
MAX_FILES = 100_000
TEXT_LINE = re.compile(r"\s*(\d{1,9})\s*:\s*(\S{1,40})\s*")  # as llama.cpp saves logits


@dataclass
class Given:
    """What was found, under the names that it had."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    raw: set[str] = field(default_factory=set)  # those whose file does not say their shape
    scalars: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: dict[str, list[int]] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)  # of floats, as stored
    ignored: list[str] = field(default_factory=list)  # files that are none of ours

    def add(self, name: str, array: np.ndarray, stored: str, where: str) -> None:
        """One array, which may be a list of ids. Raises InputError for a name given twice."""
        if name in self.arrays or name in self.ids:
            raise InputError(f"{where}: {shown(name)} is given twice")
        if stored == "BF16":
            array = bf16_to_f32(array)
        if array.size == 0:
            raise InputError(f"{where}: {shown(name)} holds no values: did the program end early?")
        if name in IDS and array.dtype.kind in "iu":
            self.ids[name] = array.reshape(-1).tolist()
            return
        self.arrays[name] = array
        if array.dtype.kind == "f":
            self.dtypes.add(stored)


def read_npy(path: Path, given: Given, name: str) -> None:
    """One array of NumPy, mapped."""
    data = map_file(path)
    member = Member(path.name, 0, len(data), len(data), STORED, 0)
    array = parse_array(data[:MAX_HEADER], member, str(path), KINDS | INTEGERS)
    order: Literal["F", "C"] = "F" if array.fortran_order else "C"
    if array.nbytes:
        values = np.ndarray(array.shape, array.dtype, data, array.start, order=order)
    else:
        values = np.empty(array.shape, array.dtype)
    given.add(name, values.astype(array.dtype.newbyteorder("="), copy=False), array.kind, str(path))


def read_npz(path: Path, given: Given) -> None:
    """An archive of arrays."""
    for name, tensor in read_tensors(path, KINDS | INTEGERS).items():
        given.add(name, tensor.load(), tensor.dtype, str(path))


def read_safetensors(path: Path, given: Given) -> None:
    """A safetensors file; integers in it are ids, or will be judged."""
    entries, _ = read_header(path)
    tensors = read_file(path)
    data: mmap.mmap | None = None
    for name, tensor in tensors.items():
        if tensor.dtype not in WHOLE:
            given.add(name, tensor.load(), tensor.dtype, str(path))
            continue
        data = data or map_file(path)
        count = math.prod(tensor.shape)
        start = entries[name].start if count else 0
        values = np.frombuffer(data, WHOLE[tensor.dtype], count, start)
        given.add(name, values.reshape(tensor.shape), tensor.dtype, str(path))


def read_raw(path: Path, given: Given, name: str) -> None:
    """Raw little-endian float32: a line of numbers whose shape the name must tell."""
    data = map_file(path)
    if len(data) % 4:
        raise InputError(f"{path}: has {len(data)} bytes, which are no float32 values")
    given.add(name, np.frombuffer(data, "<f4"), "F32", str(path))
    given.raw.add(name)


def read_text(path: Path, given: Given, name: str) -> None:
    """Lines of "index: value", as llama.cpp saves the logits of the last row."""
    values = []
    lines = read_small(path, MAX_TEXT, InputError).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(filter(str.strip, lines)):
        found = TEXT_LINE.fullmatch(line)
        try:
            value = float(found[2]) if found else None
        except ValueError:
            value = None
        if found is None or value is None or int(found[1]) != number:
            raise InputError(f"{path}: expected the line '{number}: VALUE', found {shown(line)}")
        values.append(value)
    with np.errstate(over="ignore"):  # past float32 is infinite: it will be judged as such
        given.add(name, np.array(values, np.float32), "F32", str(path))
    given.raw.add(name)


def id_list(value: object, where: str) -> list[int]:
    """Token ids out of a JSON file."""
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise InputError(f"{where}: must be a list of token ids, not {shown(value)}")
    return value


def nested(value: object, where: str) -> np.ndarray:
    """An array out of nested lists of numbers."""
    try:
        array = np.array(value)
    except ValueError:
        raise InputError(f"{where}: its lists are not of the same length") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: must be numbers in nested lists, not {shown(value)}")
    return array.astype(np.float64)


def parts_of(value: dict[str, Any], where: str) -> dict[str, Any]:
    """Scalars of one tap: {"sum": 1.5, "first": [0.1, 0.2]}."""
    unknown = [part for part in value if part not in SCALARS]
    if unknown or not value:
        raise InputError(f"{where}: has {shown(unknown)}; the parts are {', '.join(SCALARS)}")
    for part, number in value.items():
        if nested(number, f"{where} {part}").size == 0:
            raise InputError(f"{where} {part}: holds no values: did the program end early?")
    return value


def read_json(path: Path, given: Given) -> None:
    """An object of taps: nested lists, or scalars of them; "greedy" and "tokens" are ids.

    A list by itself is the logits. Of an export's index or a golden's JSON, only the ids are read.
    """
    raw = read_small(path, MAX_TEXT, InputError)
    content = parse_json(raw, str(path), InputError, MAX_NUMBERS)
    if isinstance(content, list):
        content = {"logits": content}
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an object of taps, not {shown(content)}")
    if isinstance(content.get("taps"), dict):  # an index describes files
        content = {name: content[name] for name in IDS if name in content}
    for name, value in content.items():
        where = f"{path}: {shown(name)}"
        if name in IDS:
            given.ids[name] = id_list(value, where)
        elif isinstance(value, dict):
            given.scalars[name] = parts_of(value, where)
        else:
            given.add(name, nested(value, where), "JSON", str(path))


ARRAY_FILES: Mapping[str, Callable[[Path, Given, str], None]] = {
    ".npy": read_npy,
    ".f32": read_raw,
    ".bin": read_raw,
    ".txt": read_text,
}
COLLECTIONS: Mapping[str, Callable[[Path, Given], None]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".json": read_json,
}
ALWAYS_LOGITS = (".bin", ".txt")


def read_directory(directory: Path, given: Given, is_tap: Callable[[str], bool]) -> None:
    """Every file that is an array named by its tap, or a collection of taps.

    A text is only taken for an array if its name is a tap's: a dump may hold notes too.
    """
    files = sorted(directory.iterdir())
    if len(files) > MAX_FILES:
        raise InputError(f"{directory}: has {len(files):,} files, which is no dump of a model")
    for path in files:
        if path.name.startswith(".") or path.name == "golden.json":
            continue
        if path.suffix in COLLECTIONS:
            COLLECTIONS[path.suffix](path, given)
        elif path.suffix in (".npy", ".f32") or (path.suffix == ".txt" and is_tap(path.stem)):
            ARRAY_FILES[path.suffix](path, given, path.stem)
        else:
            given.ignored.append(path.name)


def read_given(path: Path, is_tap: Callable[[str], bool]) -> Given:
    """What a file or a directory holds. A single array is the logits, unless its name is a tap's.

    Raises InputError or CheckpointError for what is missing, broken, or of no known kind.
    """
    given = Given()
    suffix = path.suffix.lower()
    if path.is_dir():
        read_directory(path, given, is_tap)
    elif suffix in COLLECTIONS:
        COLLECTIONS[suffix](path, given)
    elif suffix in ARRAY_FILES:
        named = suffix not in ALWAYS_LOGITS and is_tap(path.stem)
        ARRAY_FILES[suffix](path, given, path.stem if named else "logits")
    elif not path.exists():
        raise InputError(f"{path}: no such file or directory")
    else:
        known = ", ".join((*ARRAY_FILES, *COLLECTIONS))
        raise InputError(f"{path}: is not a directory, nor one of {known}")
    if not (given.arrays or given.scalars or given.ids):
        raise InputError(f"{path}: holds no array, scalar or id to be judged")
    return given
