"""Where the members of a zip archive lie in its file. Nothing is extracted.

torch.save and np.savez write zip archives whose members are mostly stored as they are, so a tensor
can be mapped where it lies. This reader is stricter than zipfile: the directory at the end and the
header in front of each member must agree, and no two members may share a byte.
Source: PKWARE, APPNOTE.TXT, sections 4.3 and 4.5.3.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .files import map_file, open_regular
from .strict_json import shown

ZIP = b"PK\3\4"  # in front of each member, and so at the start of the file
MAX_MEMBERS = 10_000
MAX_DIRECTORY = 4 << 20  # bytes; a torch file of 1,100 tensors has about 100 kB
STORED, DEFLATED = 0, 8  # compression methods
ENCRYPTED_OR_PATCHED = 0x0061  # flag bits 0, 5 and 6
SIZES_FOLLOW = 0x0008  # flag bit 3: the header in front of the member has no sizes
UTF8_NAME = 0x0800
IN_EXTRA_32, SYMLINK = 0xFFFFFFFF, 0o120000


@dataclass(frozen=True)
class Member:
    """One file of an archive: `packed` bytes at `offset`, `size` once they are unpacked."""

    name: str
    offset: int
    packed: int
    size: int
    method: int
    start: int  # of its header; the data end at offset + packed


@dataclass(frozen=True)
class Archive:
    """A mapped zip file and the members it lists."""

    path: Path
    mapped: mmap.mmap  # the whole file
    members: dict[str, Member]

    def read(self, member: Member, count: int | None = None) -> bytes:
        """A copy of the first `count` packed bytes of a member."""
        count = member.packed if count is None else min(count, member.packed)
        return self.mapped[member.offset : member.offset + count]


def starts_as_zip(path: Path) -> bool:
    """Whether a path is a regular file that begins as a zip archive does: for detection."""
    try:
        with open_regular(path) as file:
            return file.read(4) == ZIP
    except (CheckpointError, OSError):
        return False


class Directory:
    """The listing at the end of a zip file, and how to be sure of each entry."""

    def __init__(self, path: Path, mapped: mmap.mmap):
        self.path, self.mapped = path, mapped
        self.count, self.length, self.start = self.find()

    def refuse(self, why: str) -> CheckpointError:
        """The error for this file."""
        return CheckpointError(f"{self.path}: the zip archive {why}; copy or download it again")

    def piece(self, start: int, count: int) -> bytes:
        """`count` bytes at `start`, all of which the file must have."""
        if start < 0 or start + count > len(self.mapped):
            raise self.refuse("is cut off")
        return self.mapped[start : start + count]

    def unpack(self, layout: str, start: int, signature: bytes) -> tuple[Any, ...]:
        """The numbers of a header that must begin with `signature`."""
        piece = self.piece(start, struct.calcsize(layout))
        if not piece.startswith(signature):
            raise self.refuse(f"has no header at byte {start}, where one is listed")
        return struct.unpack(layout, piece)[1:]

    def find(self) -> tuple[int, int, int]:
        """How many entries the directory has, its length in bytes, and where it starts."""
        tail_start = max(0, len(self.mapped) - 22 - 0xFFFF)
        tail = self.mapped[tail_start:]
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + 22 > len(tail):
            raise self.refuse("has no directory at its end")
        end = tail_start + at
        *_, count, length, start, comment = self.unpack("<4s4H2IH", end, b"PK\5\6")
        if end + 22 + comment != len(self.mapped):
            raise self.refuse("is followed by other bytes")
        if tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
            _, end, _ = self.unpack("<4sIQI", end - 20, b"PK\6\7")
            *_, count, length, start = self.unpack("<4sQ2H2I4Q", end, b"PK\6\6")
        if count > MAX_MEMBERS or length > MAX_DIRECTORY:
            raise self.refuse(f"lists {count} members in {length} bytes, more than any weights")
        if start + length > end:
            raise self.refuse("has a directory that reaches beyond its end")
        return count, length, start

    def sizes(self, fields: list[int], extra: bytes) -> list[int]:
        """`fields` with those that do not fit 32 bits taken from the extra field of zip64."""
        while len(extra) >= 4:
            kind, length = struct.unpack_from("<2H", extra)
            if kind == 1:
                data = extra[4 : 4 + length]
                wide = struct.iter_unpack("<Q", data[: len(data) // 8 * 8])
                return [next(wide, (f,))[0] if f == IN_EXTRA_32 else f for f in fields]
            extra = extra[4 + length :]
        return fields

    def entries(self) -> Iterator[Member]:
        """Every member that the directory lists, folders aside."""
        at = self.start
        for _ in range(self.count):
            header = self.unpack("<4s6H3I5H2I", at, b"PK\1\2")
            _, _, flags, method, _, _, _, packed, size, name_length, extra_length = header[:11]
            comment_length, attributes, start = header[11], header[14], header[15]
            name = self.piece(at + 46, name_length)
            extra = self.piece(at + 46 + name_length, extra_length)
            size, packed, start = self.sizes([size, packed, start], extra)
            at += 46 + name_length + extra_length + comment_length
            if attributes >> 16 & 0o170000 == SYMLINK:
                raise self.refuse("has a member that is a link")
            if not name.endswith(b"/"):
                yield self.member(name, flags, method, packed, size, start)
        if at != self.start + self.length:
            raise self.refuse("has a directory of another length than it says")

    def member(
        self, raw: bytes, flags: int, method: int, packed: int, size: int, start: int
    ) -> Member:
        """The member at `start`, if the header there says what the directory says."""
        name = self.name(raw, flags)
        header = self.unpack("<4s5H3I2H", start, ZIP)
        _, its_flags, its_method, _, _, _, its_packed, its_size, name_length, extra_length = header
        if (its_flags | flags) & ENCRYPTED_OR_PATCHED:
            raise self.refuse(f"has an encrypted member {shown(name)}")
        if self.piece(start + 30, name_length) != raw or its_method != method:
            raise self.refuse(f"describes its member {shown(name)} in two ways")
        extra = self.piece(start + 30 + name_length, extra_length)
        if not its_flags & SIZES_FOLLOW and self.sizes([its_size, its_packed], extra) != [
            size,
            packed,
        ]:
            raise self.refuse(f"gives two sizes for its member {shown(name)}")
        if method not in (STORED, DEFLATED) or (method == STORED and size != packed):
            raise self.refuse(f"packs its member {shown(name)} in a way that is not known")
        return Member(name, start + 30 + name_length + extra_length, packed, size, method, start)

    def name(self, raw: bytes, flags: int) -> str:
        """The name of a member, which must not lead out of the archive."""
        try:
            name = raw.decode("utf-8" if flags & UTF8_NAME else "cp437")
        except UnicodeDecodeError:
            raise self.refuse("has a member whose name is not UTF-8") from None
        if "\\" in name or "\0" in name or {"", ".", ".."} & set(name.split("/")):
            raise self.refuse(f"has a member with the unsafe name {shown(name)}")
        return name


def open_archive(path: Path) -> Archive:
    """Map a zip file and list its members. Raises CheckpointError unless all of it is in order."""
    mapped = map_file(path)
    directory = Directory(path, mapped)
    members: dict[str, Member] = {}
    for member in directory.entries():
        if member.name in members:
            raise directory.refuse(f"has the member {shown(member.name)} twice")
        members[member.name] = member
    end = 0
    for member in sorted(members.values(), key=lambda member: member.start):
        if member.start < end:
            raise directory.refuse(f"has a member {shown(member.name)} that overlaps another")
        end = member.offset + member.packed
    if end > directory.start:
        raise directory.refuse("has a member that reaches into its directory")
    return Archive(path, mapped, members)
