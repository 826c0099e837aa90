"""The ways in which a PyTorch file can be wrong or hostile, P1 to P14; each gets one sentence."""

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.formats.storage.zip_archive import MAX_MEMBERS
from numpy_llama.formats.torch import meta
from numpy_llama.formats.torch.pickle import MAX_OPS
from numpy_llama.formats.torch.read import read_tensors
from tests.formats.test_meta import write_meta
from tests.hostile import EXAMPLES, frugal, load_or_refuse, mutations, swift
from tests.malformed.limits import refused
from tests.models import random_tensors, tiny_config
from tests.torch_files import (
    ORDERED_DICT,
    call,
    meta_part,
    name_of,
    number,
    program,
    storage,
    tensor,
    text,
    torch_members,
    tuple_of,
    write_torch,
    write_zip,
)

FLOATS = storage("FloatStorage", "0", 6)
GOOD = tensor(FLOATS, 0, (2, 3))
DATA = np.arange(6, dtype=np.float32).tobytes()


def write_program(tmp_path: Path, pickled: bytes) -> Path:
    """A torch file with this data.pkl and one storage of six floats."""
    return write_zip(tmp_path / "x.pth", {"archive/data.pkl": pickled, "archive/data/0": DATA})


def refuse_program(tmp_path: Path, pickled: bytes, *mentions: str) -> None:
    """Assert that a torch file with this data.pkl is refused."""
    path = write_program(tmp_path, pickled)
    refused(lambda: read_tensors(path), str(path), "data.pkl", *mentions)


def test_the_pieces_of_these_tests_make_a_file_that_is_read(tmp_path: Path) -> None:
    tensors = read_tensors(write_program(tmp_path, program({"w": GOOD})))
    np.testing.assert_array_equal(tensors["w"].load(), np.arange(6, dtype="f4").reshape(2, 3))


def test_strided_views_metadata_and_parameters_are_read(tmp_path: Path) -> None:
    parameter = call("torch._utils", "_rebuild_parameter", GOOD, b"\x88", ORDERED_DICT)
    transposed = tensor(FLOATS, 0, (3, 2), (1, 3))
    column = tensor(FLOATS, 1, (2,), (3,))
    empty = tensor(FLOATS, 6, (0, 3))
    scalar = tensor(FLOATS, 5, ())
    items = {"p": parameter, "t": transposed, "c": column, "e": empty, "s": scalar}
    attributes = b"}" + text("_metadata") + ORDERED_DICT + b"sb"
    path = write_program(tmp_path, program(items)[:-1] + attributes + b".")
    found = {name: tensor.load() for name, tensor in read_tensors(path).items()}
    whole = np.arange(6, dtype="f4").reshape(2, 3)
    np.testing.assert_array_equal(found["p"], whole)
    np.testing.assert_array_equal(found["t"], whole.T)
    np.testing.assert_array_equal(found["c"], whole[:, 1])
    assert found["e"].shape == (0, 3) and found["s"] == 5 and not found["t"].flags.writeable


FORBIDDEN = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("importlib", "import_module"),
    ("operator", "attrgetter"),
    ("pip", "main"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("collections", "OrderedDict.__init__"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("torch", "LongStorage"),
]


@pytest.mark.parametrize("module, name", FORBIDDEN)
def test_p1_a_name_outside_the_list_is_refused_and_not_run(
    tmp_path: Path, module: str, name: str
) -> None:
    marker = tmp_path / "run"
    attack = call(module, name, text(f"touch {marker}"))
    refuse_program(tmp_path, program({"w": attack}), f"{module}.{name}", "not run")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_p2_other_protocols_are_refused(tmp_path: Path, protocol: int) -> None:
    refuse_program(tmp_path, pickle.dumps({"w": 1.0}, protocol))


def test_p2_p4_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps({"w": 1.0}, 0))
    refused(lambda: read_tensors(path), str(path))


def test_p3_two_pickles_in_a_row_are_refused(tmp_path: Path) -> None:
    refuse_program(tmp_path, program({"w": GOOD}) * 2, "does not end where")


def test_p4_the_form_before_pytorch_1_6_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    magic = 0x1950A86A20F9469CFC6C
    path.write_bytes(pickle.dumps(magic, 2) + pickle.dumps(1001, 2) + program({"w": GOOD}))
    refused(lambda: read_tensors(path), str(path), "before 1.6", "torch.save(")


def test_p4_a_tar_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    refused(lambda: read_tensors(path), str(path), "before 1.6", "torch.save(")


FORBIDDEN_OPCODES = {
    "EXT1": b"\x82\x01",
    "EXT4": b"\x84\x01\0\0\0",
    "INST": b"(ios\nsystem\n",
    "OBJ": b"(" + name_of("collections", "OrderedDict") + b"o",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93",
    "NEWOBJ": name_of("collections", "OrderedDict") + b")\x81",
    "NEWOBJ_EX": name_of("collections", "OrderedDict") + b")}\x92",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 3 << 30),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 1 << 62),
    "FRAME": b"\x95" + struct.pack("<Q", 1 << 62),
    "LONG": b"L" + b"9" * 5000 + b"L\n",
    "LONG4": b"\x8b" + struct.pack("<i", 1 << 30),
    "DUP": b"2",
    "PERSID": b"Px\n",
    "EMPTY_LIST": b"]",
}


@pytest.mark.parametrize("opcode", FORBIDDEN_OPCODES)
def test_p5_p8_opcodes_that_tensors_do_not_need_are_refused(tmp_path: Path, opcode: str) -> None:
    refuse_program(tmp_path, b"\x80\x02" + FORBIDDEN_OPCODES[opcode] + b".", "opcode")


BROKEN = {
    "BUILD of a tensor": GOOD + b"}b.",
    "BUILD with a tuple": ORDERED_DICT + b")b.",
    "BUILD of nothing": b"}b.",
    "stack underflow": b"R.",
    "underflow below a MARK": b"}(s.",
    "TUPLE without MARK": b"}t.",
    "two values left": b"}}.",
    "a MARK left": b"}(.",
    "no STOP": b"}",
    "nothing": b"",
    "cut in a number": b"J\0",
    "cut in text": b"X" + struct.pack("<I", 1 << 31) + b"abc",
    "text that is not UTF-8": b"X" + struct.pack("<I", 2) + b"\xff\xfe.",
    "a name without an end": b"cos" * 200 + b".",
    "a name outside ASCII": "cö\nsystem\n.".encode(),
    "LONG1 of 255 bytes": b"\x8a\xff" + b"\1" * 255 + b".",
    "recall of what was not remembered": b"h\0.",
    "memo bomb": b"}r\xff\xff\xff\x7f.",
    "a call of a storage": name_of("torch", "FloatStorage") + b")R.",
    "a call of text": text("eval") + b")R.",
    "a call without a tuple": name_of("collections", "OrderedDict") + b"NR.",
    "OrderedDict with arguments": call("collections", "OrderedDict", b"}") + b".",
    "an odd number of items": b"}(" + text("w") + b"u.",
    "a key that is a number": b"}" + number(1) + GOOD + b"s.",
    "a key that is a tuple": b"}" + tuple_of(text("w")) + GOOD + b"s.",
    "a name twice": b"}(" + (text("w") + GOOD) * 2 + b"u.",
    "an empty table": b"}.",
    "not a table": GOOD + b".",
    "a table of text": b"}" + text("w") + text("x") + b"s.",
    "a table in a table": b"}" + text("w") + b"}s.",
    "a table in itself": b"}q\0" + text("w") + b"h\0s.",
    "SETITEM onto a tensor": GOOD + text("w") + text("x") + b"s.",
    "a parameter of text": call("torch._utils", "_rebuild_parameter", text("w"), b"\x88", b"}")
    + b".",
    "a size of text": call("torch", "Size", text("w")) + b".",
}


@pytest.mark.parametrize("case", BROKEN)
def test_p5_p6_p7_p14_programs_that_make_no_table_are_refused(tmp_path: Path, case: str) -> None:
    refuse_program(tmp_path, b"\x80\x02" + BROKEN[case])


ALMOST = {  # programs that would leave a good table but for one thing, and what is said of it
    "a MARK left": (program({"w": GOOD})[2:-1] + b"(.", "does not end"),
    "items from below a MARK": (b"}(" + text("w") + GOOD + b"su.", "empty stack"),
    "a number to remember by": (b"}r\xff\xff\xff\x7f" + text("w") + GOOD + b"s.", "2147483647"),
    "tuples in tuples in tuples": (b")\x85\x850" + b"}" + text("w") + GOOD + b"s.", "tuples in"),
}


@pytest.mark.parametrize("case", ALMOST)
def test_p6_p7_p9_programs_that_almost_make_a_table_are_refused(tmp_path: Path, case: str) -> None:
    pickled, mention = ALMOST[case]
    refuse_program(tmp_path, b"\x80\x02" + pickled, mention)


def test_p6_protocol_9_is_refused(tmp_path: Path) -> None:
    refuse_program(tmp_path, b"\x80\x09}.", "protocol 9")


BOMBS = {
    "a million tuples within each other": b")" + b"\x85" * 1_000_000 + b".",
    "tuples that double 60 times": b")" + b"q\0h\0\x86" * 60 + b".",
    "a million remembered values": b"".join(b"Nr" + struct.pack("<I", i) for i in range(MAX_OPS)),
    "a million marks": b"(" * 1_000_000,
    "six million bytes of text": text("x" * 6_000_000) * 2,
}


@pytest.mark.parametrize("case", BOMBS)
def test_p9_bombs_are_refused(tmp_path: Path, case: str) -> None:
    path = write_program(tmp_path, b"\x80\x02" + BOMBS[case])
    refused(lambda: read_tensors(path), str(path), "data.pkl")


def rebuilt(*args: bytes) -> bytes:
    """A call of _rebuild_tensor_v2 with any arguments."""
    return call("torch._utils", "_rebuild_tensor_v2", *args)


def sizes(*values: int) -> bytes:
    return tuple_of(*map(number, values))


REST = (b"\x89", ORDERED_DICT)
VIEWS = {
    "offset beyond": tensor(FLOATS, 1, (2, 3)),
    "offset negative": tensor(FLOATS, -1, (2, 3)),
    "offset huge": tensor(FLOATS, (1 << 63) - 1, (1,)),
    "empty, offset beyond": tensor(FLOATS, 7, (0,)),
    "size negative": tensor(FLOATS, 0, (-2, -3)),
    "size huge": tensor(FLOATS, 0, (1 << 62, 4)),
    "sizes whose product overflows to 4": tensor(FLOATS, 0, (4194305, 4194305, 211106198978564)),
    "a terabyte from one element": tensor(FLOATS, 0, (1 << 20, 1 << 20), (0, 0)),
    "more elements than there are": tensor(FLOATS, 0, (2, 4), (1, 1)),
    "stride negative": tensor(FLOATS, 5, (2, 3), (-3, -1)),
    "stride beyond": tensor(FLOATS, 0, (2, 3), (4, 1)),
    "stride huge": tensor(FLOATS, 0, (2,), (1 << 62,)),
    "fewer strides": rebuilt(FLOATS, number(0), sizes(2, 3), sizes(1), *REST),
    "nine axes": tensor(FLOATS, 0, (1,) * 9),
    "size true": rebuilt(FLOATS, number(0), tuple_of(b"\x88"), sizes(1), *REST),
    "size not a tuple": rebuilt(FLOATS, number(0), number(6), sizes(1), *REST),
    "offset text": rebuilt(FLOATS, text("0"), sizes(6), sizes(1), *REST),
    "storage text": rebuilt(text("0"), number(0), sizes(6), sizes(1), *REST),
    "storage kind": rebuilt(name_of("torch", "FloatStorage"), number(0), sizes(6), sizes(1), *REST),
    "too few arguments": rebuilt(FLOATS, number(0)),
    "too many arguments": rebuilt(FLOATS, number(0), sizes(6), sizes(1), *REST, b"}", b"}"),
    "hooks": rebuilt(
        FLOATS, number(0), sizes(6), sizes(1), b"\x89", b"}" + text("h") + text("x") + b"s"
    ),
}


@pytest.mark.parametrize("case", VIEWS)
def test_p10_views_that_do_not_lie_in_their_storage_are_refused(tmp_path: Path, case: str) -> None:
    refuse_program(tmp_path, program({"w": VIEWS[case]}))


@pytest.mark.parametrize("kind, length", [("BFloat16Storage", 12), ("HalfStorage", 11)])
def test_p10_one_storage_described_twice_is_refused(tmp_path: Path, kind: str, length: int) -> None:
    first = tensor(storage("HalfStorage", "0", 12), 0, (2,))
    other = tensor(storage(kind, "0", length), 0, (2,))
    refuse_program(tmp_path, program({"v": first, "w": other}), "in two ways")


@pytest.mark.parametrize("kind, length", [("DoubleStorage", 6), ("HalfStorage", 6)])
def test_p10_a_storage_of_another_size_is_refused(tmp_path: Path, kind: str, length: int) -> None:
    path = write_program(tmp_path, program({"w": tensor(storage(kind, "0", length), 0, (6,))}))
    refused(lambda: read_tensors(path), str(path), "archive/data/0", "24 bytes")


KIND = name_of("torch", "FloatStorage")
PLACES = {
    "text": text("0") + b"Q",
    "too few": tuple_of(text("storage"), KIND) + b"Q",
    "too many": tuple_of(text("storage"), KIND, text("0"), text("cpu"), number(6), b"N") + b"Q",
    "not a storage": tuple_of(text("module"), KIND, text("0"), text("cpu"), number(6)) + b"Q",
    "kind is text": tuple_of(text("storage"), text("F"), text("0"), text("c"), number(6)) + b"Q",
    "kind is a function": tuple_of(
        text("storage"), name_of("torch", "Size"), text("0"), text("cpu"), number(6)
    )
    + b"Q",
    "key is a number": tuple_of(text("storage"), KIND, number(0), text("cpu"), number(6)) + b"Q",
    "length negative": tuple_of(text("storage"), KIND, text("0"), text("cpu"), number(-6)) + b"Q",
    "length true": tuple_of(text("storage"), KIND, text("0"), text("cpu"), b"\x88") + b"Q",
    "kind within a table": b"}Q",
}


@pytest.mark.parametrize("case", PLACES)
def test_p11_a_persistent_id_that_is_no_storage_is_refused(tmp_path: Path, case: str) -> None:
    refuse_program(tmp_path, program({"w": tensor(PLACES[case], 0, (6,))}))


def test_p11_a_key_that_leads_out_of_the_archive_finds_nothing(tmp_path: Path) -> None:
    place = storage("FloatStorage", "../../etc/passwd", 6)
    path = write_program(tmp_path, program({"w": tensor(place, 0, (6,))}))
    refused(lambda: read_tensors(path), str(path), "missing")


MEMBERS = {"archive/data.pkl": program({"w": GOOD}), "archive/data/0": DATA}
ARCHIVES: dict[str, tuple[dict[str, bytes], str]] = {
    "storage missing": ({"archive/data.pkl": MEMBERS["archive/data.pkl"]}, "data/0' is missing"),
    "big-endian": (MEMBERS | {"archive/byteorder": b"big"}, "big-endian"),
    "no data.pkl": ({"archive/data/0": DATA}, "0 members are called data.pkl"),
    "two data.pkl": (MEMBERS | {"other/data.pkl": b""}, "2 members are called data.pkl"),
    "a name with ..": (MEMBERS | {"archive/../x": b""}, "unsafe name"),
    "an absolute name": (MEMBERS | {"/etc/passwd": b""}, "unsafe name"),
    "a name with a backslash": (MEMBERS | {"..\\x": b""}, "unsafe name"),
    "TorchScript": (
        MEMBERS | {"archive/data.pkl": call("__torch__.model", "Net") + b"."},
        "__torch__.model.Net",
    ),
    "more than 10,000 members": (
        MEMBERS | {f"archive/x{i}": b"" for i in range(MAX_MEMBERS)},
        "lists 10002 members",
    ),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_p12_archives_that_torch_does_not_write_are_refused(tmp_path: Path, case: str) -> None:
    members, mention = ARCHIVES[case]
    path = write_zip(tmp_path / "x.pth", members)
    refused(lambda: read_tensors(path), str(path), mention)


def test_p12_a_compressed_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS, zipfile.ZIP_DEFLATED)
    refused(lambda: read_tensors(path), str(path), "is compressed")


def test_p12_a_link_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("archive/data/1")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    refused(lambda: read_tensors(path), str(path), "a link")


def test_p12_duplicate_members_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", DATA)
    refused(lambda: read_tensors(path), str(path), "twice")


def edit(path: Path, edits: Callable[[bytearray, int, int], None]) -> None:
    """Change the bytes of an archive, given where the headers of its last member are.

    edits(bytes, start of the header in front of the member, start of its entry in the directory).
    """
    data = bytearray(path.read_bytes())
    edits(data, data.rindex(b"PK\3\4"), data.rindex(b"PK\1\2"))
    path.write_bytes(data)


def put(at: int, layout: str, value: int) -> Callable[[bytearray, int], None]:
    """An edit that packs one number at an offset from a header."""
    return lambda data, start: struct.pack_into(layout, data, start + at, value)


BOTH = {  # (what to do to the header in front, what to do to the entry in the directory)
    "size differs in front": (put(22, "<I", 4), None),
    "size differs in the directory": (None, put(24, "<I", 4)),
    "both sizes too large": (put(22, "<I", 1 << 30), put(24, "<I", 1 << 30)),
    "packed size too large": (put(18, "<I", 1 << 30), put(20, "<I", 1 << 30)),
    "name differs": (put(30, "<B", ord("b")), None),
    "method unknown": (put(8, "<H", 99), put(10, "<H", 99)),
    "method differs": (put(8, "<H", 8), None),
    "encrypted": (put(6, "<H", 1), put(8, "<H", 1)),
    "start beyond": (None, put(42, "<I", 1 << 30)),
    "start at another member": (None, put(42, "<I", 0)),
    "name length beyond": (None, put(28, "<H", 0xFFFF)),
    "extra length beyond": (put(28, "<H", 0xFFFF), None),
    "comment length": (None, put(32, "<H", 7)),
}


@pytest.mark.parametrize("case", BOTH)
def test_p12_headers_that_lie_are_refused(tmp_path: Path, case: str) -> None:
    front, entry = BOTH[case]
    path = write_zip(tmp_path / "x.pth", MEMBERS)

    def edits(data: bytearray, front_at: int, entry_at: int) -> None:
        for change, at in ((front, front_at), (entry, entry_at)):
            if change:
                change(data, at)

    edit(path, edits)
    refused(lambda: read_tensors(path), str(path), "zip archive")


@pytest.mark.parametrize(
    "extra", [b"\1\0\x10\0" + bytes(11), b"\1\0\0\0", b"\1\0\xff\xff" + bytes(24)]
)
def test_p12_a_zip64_field_that_is_too_short_is_refused(tmp_path: Path, extra: bytes) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in MEMBERS.items():
            entry = zipfile.ZipInfo(name)
            entry.extra = b"\x99\x99\0\0" + b"\x99" * (len(extra) - 4)
            archive.writestr(entry, data)
    data = bytearray(path.read_bytes())
    entry_at = data.rindex(b"PK\1\2")
    struct.pack_into("<3I", data, entry_at + 20, 0xFFFFFFFF, 0xFFFFFFFF, data[entry_at + 28])
    at = entry_at + 46 + len("archive/data/0")
    data[at : at + len(extra)] = extra
    path.write_bytes(data)
    refused(lambda: read_tensors(path), str(path), "zip archive")


def test_a_member_beyond_4_gigabytes_is_found(tmp_path: Path) -> None:
    """Offsets that do not fit 32 bits are in the extra field; the file is a sparse one."""
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    whole = path.read_bytes()
    front, directory = whole.rindex(b"PK\3\4"), whole.index(b"PK\1\2")
    last, end = whole.rindex(b"PK\1\2"), whole.index(b"PK\5\6")
    far = 5 << 30
    entry = bytearray(whole[last:end])
    struct.pack_into("<H", entry, 30, 12)
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    listing = whole[directory:last] + entry + struct.pack("<2HQ", 1, 8, far)
    start = far + directory - front
    end_64 = b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, 2, 2, len(listing), start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, start + len(listing), 1)
    end_32 = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 2, 2, len(listing), 0xFFFFFFFF, 0)
    with path.open("r+b") as file:
        file.truncate(front)
        file.seek(far)
        file.write(whole[front:directory] + listing + end_64 + locator + end_32)
    with frugal(megabytes=1), swift():
        tensor = read_tensors(path)["w"]
    np.testing.assert_array_equal(tensor.load().ravel(), np.arange(6))


def test_p12_quoted_overlap_is_refused(tmp_path: Path) -> None:
    """A member whose data are another member, header and all: 28 zip bombs in one file."""
    inner = write_zip(tmp_path / "inner.zip", {"archive/data/0": DATA}).read_bytes()
    inner = inner[: inner.index(b"PK\1\2")]  # a header and its data
    path = write_zip(tmp_path / "x.pth", MEMBERS | {"archive/data/1": inner})

    def edits(data: bytearray, _: int, __: int) -> None:
        entry = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)  # that of archive/data/0
        struct.pack_into("<I", data, entry + 42, data.rindex(b"PK\3\4"))  # … now the quoted one

    edit(path, edits)
    refused(lambda: read_tensors(path), str(path), "overlaps")


def test_p12_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS | {"archive/version": b"3"})

    def edits(data: bytearray, front: int, entry: int) -> None:
        for at, start in ((18, front), (22, front), (20, entry), (24, entry)):
            struct.pack_into("<I", data, start + at, 9)

    edit(path, edits)
    refused(lambda: read_tensors(path), str(path), "into its directory")


@pytest.mark.parametrize(
    "at, value", [(-12, 0xFFFF), (-12, 1), (-10, 1 << 31), (-6, 1 << 31), (-2, 5)]
)
def test_p12_a_directory_that_lies_is_refused(tmp_path: Path, at: int, value: int) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H" if at in (-12, -2) else "<I", data, len(data) + at, value)
    path.write_bytes(data)
    refused(lambda: read_tensors(path), str(path), "zip archive")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_p12_a_file_that_is_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    refused(lambda: read_tensors(path), str(path))


def test_p12_trailing_bytes_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    path.write_bytes(path.read_bytes() + b"\0")
    refused(lambda: read_tensors(path), str(path), "followed by other bytes")


def test_p12_a_wrong_checksum_is_accepted(tmp_path: Path) -> None:
    """torch can be told to write no checksums, and verifies none; the data are what they are."""
    path = write_zip(tmp_path / "x.pth", MEMBERS)
    edit(path, lambda data, front, entry: put(14, "<I", 1)(data, front))
    edit(path, lambda data, front, entry: put(16, "<I", 1)(data, entry))
    np.testing.assert_array_equal(read_tensors(path)["w"].load().ravel(), np.arange(6))


def test_p12_folders_of_a_repacked_archive_are_accepted(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pth", {"archive/": b"", "archive/data/": b""} | MEMBERS)
    assert list(read_tensors(path)) == ["w"]


IMPOSTORS = {
    "empty": (b"", "empty"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "HTML": (b"<!DOCTYPE html><html></html>", "HTML"),
    "gzip": (b"\x1f\x8b\x08\0\0\0", "gzip"),
    "an empty archive": (b"PK\5\6" + bytes(18), "0 members are called data.pkl"),
}


@pytest.mark.parametrize("case", IMPOSTORS)
def test_files_of_another_kind_are_named(tmp_path: Path, case: str) -> None:
    content, mention = IMPOSTORS[case]
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    refused(lambda: read_tensors(path), str(path), mention)


def test_a_file_that_shrank_is_refused_when_loaded(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "x.pth", {"w": np.zeros((64, 64), np.float32)})
    tensor = read_tensors(path)["w"]
    with path.open("r+b") as file:
        file.truncate(100)
    refused(tensor.load, str(path), "shrank")


SMALL = tiny_config(n_layers=1, n_heads=2, n_kv_heads=1, head_dim=2, dim=4, hidden_dim=12)
PART = meta_part(random_tensors(SMALL, dtype=np.float32), SMALL, 0, 1, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Meta directory whose only part the tests below replace."""
    folder = tmp_path_factory.mktemp("meta")
    write_meta(folder, SMALL, random_tensors(SMALL, dtype=np.float32), multiple_of=12)
    assert load_or_refuse(meta.read, folder)
    return folder


@settings(max_examples=EXAMPLES // 2)
@given(mutated=mutations(torch_members(PART)["archive/data.pkl"]))
def test_mutated_programs_are_refused_or_read(folder: Path, mutated: bytes) -> None:
    members = torch_members(PART) | {"archive/data.pkl": mutated}
    write_zip(folder / "consolidated.00.pth", members)
    with frugal(), swift(seconds=5):
        load_or_refuse(meta.read, folder)


@settings(max_examples=EXAMPLES // 4)
@given(data=st.data())
def test_mutated_archives_are_refused_or_read(folder: Path, data: st.DataObject) -> None:
    path = folder / "consolidated.00.pth"
    whole = write_torch(path, PART).read_bytes()
    path.write_bytes(data.draw(mutations(whole)))
    with frugal(), swift(seconds=5):
        load_or_refuse(meta.read, folder)


@settings(max_examples=EXAMPLES // 4)
@given(data=st.data())
def test_mutated_directories_of_archives_are_refused_or_read(
    folder: Path, data: st.DataObject
) -> None:
    """As above, but only the directory at the end is changed, on which everything rests."""
    path = folder / "consolidated.00.pth"
    whole = write_torch(path, PART).read_bytes()
    start = whole.index(b"PK\1\2")
    path.write_bytes(whole[:start] + data.draw(mutations(whole[start:])))
    with frugal(), swift(seconds=5):
        load_or_refuse(meta.read, folder)
