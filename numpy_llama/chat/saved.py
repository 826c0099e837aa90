"""Conversations that `/save` wrote, read again."""

from pathlib import Path

from ..errors import InputError
from ..formats.storage.files import read_small
from ..formats.storage.strict_json import parse_json
from .messages import MAX_CHARACTERS, Message, check_messages

MOST = 16 * MAX_CHARACTERS  # bytes: each character may be escaped


def read_messages(path: Path) -> list[Message]:
    """The messages of a file with the field `messages`. Raises InputError, which names the file."""
    about = parse_json(read_small(path, MOST, InputError), str(path), InputError, MOST)
    try:
        return check_messages(about["messages"] if isinstance(about, dict) else None)
    except KeyError:
        raise InputError(f"{path}: has no field messages: /save writes one") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
