"""llama2.c's `tokenizer.bin`: SentencePiece's pieces and scores, without the rest.

    max_token_length i32    then for each token:  score f32   length i32   its bytes

The pieces have spaces where SentencePiece has ▁, and <s> and </s> stand on lines of their own.
llama2.c merges the neighbours with the best score, which is SentencePiece's BPE.
llama2.c, tokenizer.py (export) and run.c (build_tokenizer, encode).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import TokenizerError
from .base import Settings
from .files import read_bytes
from .spm.proto import BYTE, BYTE_PIECE, CONTROL, NORMAL, UNKNOWN, Piece, model_proto
from .spm.tokenizer import SPACE, SentencePieceTokenizer

HEADER, ENTRY = struct.Struct("<i"), struct.Struct("<fi")
UNK, BOS, EOS = 0, 1, 2  # run.c has these in its code
LONGEST = 1 << 16  # bytes of a token; Llama 2's longest has 48


def entries(data: bytes, source: Path) -> Iterator[tuple[float, bytes]]:
    """Score and bytes of each token."""
    if len(data) < HEADER.size:
        raise TokenizerError(f"{source}: {len(data)} bytes are no tokenizer.bin")
    (longest,) = HEADER.unpack_from(data)
    if not 1 <= longest <= LONGEST:
        raise TokenizerError(f"{source}: max_token_length {longest} is not in 1 … {LONGEST}")
    at = HEADER.size
    while at < len(data):
        if at + ENTRY.size > len(data):
            raise TokenizerError(f"{source}: cut off at byte {len(data)}")
        score, length = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        if not 0 <= length <= min(longest, len(data) - at):
            raise TokenizerError(f"{source}: the token at byte {at} has the length {length}")
        yield score, data[at : at + length]
        at += length


def piece(token: int, score: float, text: str) -> Piece:
    """One entry as SentencePiece has it."""
    if token in (UNK, BOS, EOS):
        return Piece(("<unk>", "<s>", "</s>")[token], 0.0, UNKNOWN if token == UNK else CONTROL)
    if BYTE_PIECE.fullmatch(text):
        return Piece(text, score, BYTE)
    return Piece(text.replace(" ", SPACE), score, NORMAL)


def read_tokenizer_bin(path: Path) -> SentencePieceTokenizer:
    """The tokenizer of a tokenizer.bin."""
    pieces = []
    for token, (score, raw) in enumerate(entries(read_bytes(path), path)):
        try:
            pieces.append(piece(token, score, raw.decode("utf-8")))
        except UnicodeDecodeError:
            raise TokenizerError(f"{path}: token {token} is not UTF-8: {raw[:40]!r}") from None
    if len(pieces) <= EOS:
        raise TokenizerError(f"{path}: has {len(pieces)} tokens; <unk>, <s> and </s> are the least")
    # run.c puts a space before every text, and keeps all others.
    proto = model_proto(pieces, add_dummy_prefix=True, remove_extra_whitespaces=False)
    return SentencePieceTokenizer(proto, Settings(BOS, (EOS,), adds_bos=True), path)
