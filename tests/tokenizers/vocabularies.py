"""Small vocabularies for the tests, and the files that hold them."""

import base64
import functools
import io
import json
import struct
from pathlib import Path
from typing import Any

import sentencepiece

from tests.tokenizers.strings import strings

FIXTURE = Path(__file__).parents[1] / "data" / "tokenizers" / "llamacpp_ids.json"


@functools.cache
def llamacpp() -> dict[str, Any]:
    """llama.cpp's ids; see tests/data/make_llamacpp_ids.py."""
    return json.loads(FIXTURE.read_text())


def byte_letters() -> list[str]:
    """GPT-2's letter of each byte: chr(byte) where that is visible, else the next from Ā on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)]


def merges() -> list[str]:
    """700 merges, learnt without cutting the text into words."""
    return llamacpp()["small"]["merges"]


def bpe_tokens() -> list[str]:
    """Two control tokens, the bytes, the merges."""
    return ["<|begin|>", "<|end|>", *byte_letters(), *(pair.replace(" ", "") for pair in merges())]


def bpe_metadata(pre: str = "llama-bpe", **changes: Any) -> dict[str, Any]:
    """The metadata of a GGUF file with the small BPE vocabulary; None removes a key."""
    tokens = bpe_tokens()
    keys = {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": [3, 3] + [1] * (len(tokens) - 2),
        "merges": merges(),
        "bos_token_id": 0,
        "eos_token_id": 1,
    } | changes
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}


def gguf_string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def gguf_value(value: Any) -> bytes:
    """A type and a value: bool, u32, f32, string, or an array of strings, of i32 or of f32."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<Ii", 5, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + gguf_string(value)
        case [str(), *_]:
            head = struct.pack("<IIQ", 9, 8, len(value))
            return head + b"".join(map(gguf_string, value))
        case [float(), *_]:
            return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)
        case _:
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def write_gguf(path: Path, metadata: dict[str, Any]) -> Path:
    """A GGUF file without tensors."""
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata))
    data += b"".join(gguf_string(key) + gguf_value(value) for key, value in metadata.items())
    path.write_bytes(data)
    return path


@functools.cache
def train_sentencepiece(**options: Any) -> bytes:
    """A SentencePiece BPE model with byte pieces, trained on the strings as Llama's was."""
    out = io.BytesIO()
    corpus = [text for text in strings()[:400] for text in text.splitlines() if text.strip()]
    defaults = {
        "model_type": "bpe",
        "vocab_size": 3000,
        "byte_fallback": True,
        "split_digits": True,
        "character_coverage": 0.98,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=out, **(defaults | options)
    )
    return out.getvalue()


def processor(proto: bytes) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's own tokenizer of a model file."""
    return sentencepiece.SentencePieceProcessor(model_proto=proto)


def spm_metadata(proto: bytes, **changes: Any) -> dict[str, Any]:
    """The metadata of a GGUF file with the vocabulary of a SentencePiece model."""
    sp = processor(proto)
    size = range(sp.piece_size())
    kinds = [
        2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
        for i in size
    ]
    keys = {
        "model": "llama",
        "tokens": [sp.id_to_piece(i) for i in size],
        "scores": [float(sp.get_score(i)) for i in size],
        "token_type": kinds,
    } | changes
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}


def tiktoken_lines() -> list[bytes]:
    """The small vocabulary as Llama 3's tokenizer.model has it, a line a token."""
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    tokens = [bytes(byte_of[letter] for letter in token) for token in bpe_tokens()[2:]]
    return [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]


def llama2c_bytes(proto: bytes) -> bytes:
    """A SentencePiece vocabulary as llama2.c exports it."""
    sp = processor(proto)
    names = {sp.bos_id(): "\n<s>\n", sp.eos_id(): "\n</s>\n"}
    entries = []
    for i in range(sp.piece_size()):
        text = names.get(i, sp.id_to_piece(i)).replace("\u2581", " ").encode("utf-8")
        entries.append(struct.pack("<fi", sp.get_score(i), len(text)) + text)
    return struct.pack("<i", max(map(len, entries)) - 8) + b"".join(entries)
