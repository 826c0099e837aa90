"""Messages: what a conversation is made of, checked before a template sees them."""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError

ROLES = ("system", "user", "assistant")
MAX_CHARACTERS = 1_000_000  # of a whole conversation: more than any Llama's context holds

Message = dict[str, str]  # {"role": …, "content": …}


def message(role: str, content: str) -> Message:
    """One message, as templates take it."""
    return {"role": role, "content": content}


def check_message(value: Any, place: int) -> Message:
    """`value` reduced to its two fields; InputError unless both are there and are texts."""
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise InputError(f"message {place} must be an object with the fields role and content")
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise InputError(f"message {place} has the role {role!r:.60}; there are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise InputError(
            f"message {place}: content must be a text, not {type(content).__name__}; "
            "images, files and tools are not supported"
        )
    return message(role, content)


def check_messages(values: Any) -> list[Message]:
    """A conversation that a template can be given, or InputError, which names the message."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError("a conversation must be a list of at least one message")
    messages = [check_message(value, place) for place, value in enumerate(values)]
    total = sum(len(each["content"]) for each in messages)
    if total > MAX_CHARACTERS:
        raise InputError(f"the conversation has {total:,} characters; {MAX_CHARACTERS:,} at most")
    return messages
