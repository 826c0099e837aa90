"""A tokenizer's files: read with limits and strictly, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..formats.storage.files import foreign_content, read_small, write_json, writing
from ..formats.storage.strict_json import no_constant, unique

MAX_VOCABULARY = 64 << 20  # bytes; the largest real tokenizer.json (256,000 tokens) has 33 million
MAX_SETTINGS = 16 << 20  # bytes; a tokenizer_config.json with 1,000 added tokens has 200,000
MAX_TOKENS = 1 << 24  # as LlamaConfig's vocab_size


def read_limited(path: Path, most: int) -> bytes:
    """A whole file of at most `most` bytes. Memory is asked for what it has, not for `most`."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # `read_small` says what is wrong with it
    if size > most:
        raise TokenizerError(f"{path}: is larger than {most:,} bytes, as no tokenizer's file is")
    return read_small(path, size, TokenizerError)


def read_bytes(path: Path) -> bytes:
    """A whole vocabulary, or TokenizerError when it is missing, not a file, or absurdly large."""
    data = read_limited(path, MAX_VOCABULARY)
    if not data:
        raise TokenizerError(f"{path}: is empty")
    return data


def parse_json(text: bytes, source: Path) -> Any:
    """The value of a JSON text, or TokenizerError.

    The strict parser of `formats` is not used: a tokenizer.json has more values than it lets
    through, and tokenizer_config.json often a model_max_length of 31 digits (10³⁰ as a float).
    """
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as error:
        what = foreign_content(text) or f"not valid JSON: {error}"
        raise TokenizerError(f"{source}: {what}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of settings, {} when there is no such file."""
    if not path.exists():
        return {}
    value = parse_json(read_limited(path, MAX_SETTINGS), path)
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: holds a {type(value).__name__}, not a JSON object")
    return value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one and no other."""
    with writing(path) as file:
        file.write(data)


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object for people and programs to read."""
    write_json(path, value)
