"""SentencePiece's model file: written from pieces, and looked at before C++ code sees it.

A protobuf message (sentencepiece_model.proto): fields, each a varint key (number · 8 + wire type)
and a value. Ours has the pieces (field 1), how it was trained (2) and how text is normalised (3).
"""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import TokenizerError
from .charsmap import check_charsmap

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # types of pieces
NORMALIZER, DENORMALIZER = 3, 5  # fields of the model, of one type: both may hold a table
MAX_PIECES = 1 << 20  # the largest real vocabularies have 262,144
BPE = 2  # trainer_spec.model_type
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 were given up
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


class Piece(NamedTuple):
    """One entry of a vocabulary; ▁ (U+2581) stands for a space. The highest score merges first."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class Normalizer:
    """What is done to text before it is cut; the defaults are protobuf's."""

    add_dummy_prefix: bool = True  # a space before the text, so that its first word is like others
    remove_extra_whitespaces: bool = True


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the high bit says that more follow. 300 is AC 02."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | bytes) -> bytes:
    """One field: a count or flag, a float32, or bytes."""
    if isinstance(value, bytes):
        return varint(number * 8 + LENGTH) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number * 8 + FIXED32) + struct.pack("<f", value)
    # Negative numbers are written as 64 bits of two's complement.
    return varint(number * 8 + VARINT) + varint(value & (1 << 64) - 1)


def model_proto(
    pieces: Sequence[Piece], *, add_dummy_prefix: bool, remove_extra_whitespaces: bool
) -> bytes:
    """The model file of a BPE vocabulary."""
    entries = [
        field(1, piece.text.encode("utf-8")) + field(2, float(piece.score)) + field(3, piece.type)
        for piece in pieces
    ]
    falls_back = any(piece.type == BYTE for piece in pieces)
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    unknown = next((i for i, piece in enumerate(pieces) if piece.type == UNKNOWN), 0)
    trainer = field(3, BPE) + field(35, int(falls_back)) + field(40, unknown)
    trainer += field(41, ids.get("<s>", -1)) + field(42, ids.get("</s>", -1)) + field(43, -1)
    normalizer = field(1, b"identity") + field(3, int(add_dummy_prefix))
    normalizer += field(4, int(remove_extra_whitespaces)) + field(5, 1)
    return b"".join(field(1, entry) for entry in entries) + field(2, trainer) + field(3, normalizer)


def read_varint(data: bytes, at: int, source: Path) -> tuple[int, int]:
    """The varint at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise TokenizerError(f"{source}: the SentencePiece model is cut off at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise TokenizerError(f"{source}: a number of more than 10 bytes at byte {at - 10}")


def fields(data: bytes, source: Path) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number, and value as a count or as bytes."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at, source)
        wire = key & 7
        if wire == VARINT:
            value, at = read_varint(data, at, source)
            yield key >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire)
        if wire == LENGTH:
            size, at = read_varint(data, at, source)
        if size is None or not key >> 3:
            raise TokenizerError(f"{source}: not a SentencePiece model (key {key} at byte {at})")
        if size > len(data) - at:
            raise TokenizerError(f"{source}: the SentencePiece model is cut off after byte {at}")
        yield key >> 3, data[at : at + size]
        at += size


def read_piece(data: bytes, source: Path) -> Piece:
    """One piece, or TokenizerError."""
    found = dict(fields(data, source))
    text, score, kind = found.get(1, b""), found.get(2, bytes(4)), found.get(3, NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4:
        raise TokenizerError(f"{source}: a piece of the SentencePiece model is malformed")
    try:
        piece = Piece(text.decode("utf-8"), *struct.unpack("<f", score), int(kind))  # type: ignore
    except (UnicodeDecodeError, ValueError, TypeError):
        raise TokenizerError(f"{source}: the piece {text[:40]!r} is not UTF-8 text") from None
    return piece


def check_pieces(pieces: Sequence[Piece], source: Path) -> None:
    """Raise TokenizerError for what SentencePiece lets through, or refuses without a reason."""
    for i, (text, score, kind) in enumerate(pieces):
        if not text or not NORMAL <= kind <= BYTE or not math.isfinite(score):
            raise TokenizerError(
                f"{source}: piece {i} of the vocabulary, {text[:40]!r}, "
                f"has the score {score} and the type {kind}"
            )
        if kind == BYTE and not BYTE_PIECE.fullmatch(text):
            raise TokenizerError(f"{source}: piece {i}, {text[:40]!r}, is no byte <0x00> … <0xFF>")
    unknown = sum(piece.type == UNKNOWN for piece in pieces)
    if unknown != 1:
        raise TokenizerError(
            f"{source}: the vocabulary has {unknown} pieces for the unknown; it must have one"
        )


def read_proto(data: bytes, source: Path) -> Normalizer:
    """Check a model file, and say how it normalises. Raises TokenizerError."""
    pieces, normalizer = [], Normalizer()
    for number, value in fields(data, source):
        if number == 1 and isinstance(value, bytes):
            pieces.append(read_piece(value, source))
            if len(pieces) > MAX_PIECES:
                raise TokenizerError(f"{source}: has more than {MAX_PIECES:,} pieces, as none has")
        elif number in (NORMALIZER, DENORMALIZER) and isinstance(value, bytes):
            flags = dict(fields(value, source))
            table = flags.get(2, b"")
            check_charsmap(table if isinstance(table, bytes) else b"", source)
            if number == NORMALIZER:
                normalizer = Normalizer(bool(flags.get(3, 1)), bool(flags.get(4, 1)))
    check_pieces(pieces, source)
    return normalizer
