"""A conversation's token ids: the template's control tokens are tokens, the users' are text.

Whoever types "<|im_end|>" must not end their turn and speak as the system. So before rendering,
each control token's name in a content is replaced by one character that nobody uses; the rendered
text is cut at the names that are left, which are the template's; and the character is text again.
"""

import re
from collections.abc import Iterator, Sequence

from ..errors import InputError
from ..tokenizers import Tokenizer
from .messages import Message, check_messages, message
from .template import Template

# Unicode's private planes: the first one of which the conversation uses no character is taken.
PLANES = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


def private_characters(names: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
    """A character for each of `names` that occurs in none of `texts`."""
    used = {ord(letter) for text in texts for letter in set(text) if ord(letter) >= PLANES[0].start}
    for plane in PLANES:
        if used.isdisjoint(plane) and len(names) <= len(plane):
            return {name: chr(plane.start + i) for i, name in enumerate(names)}
    raise InputError("the conversation uses private characters of both planes 15 and 16 of Unicode")


def any_of(names: Sequence[str]) -> re.Pattern[str]:
    """Matches any of `names`, the longest that fits; as a group, so that `split` keeps it."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def cut(text: str, control: dict[str, int], restore: dict[int, str]) -> Iterator[int | str]:
    """Rendered text as control tokens, and stretches of plain text in which names are restored."""
    for part in any_of(list(control)).split(text):
        if part:
            yield control[part] if part in control else part.translate(restore)


def encode_chat(tokenizer: Tokenizer, template: Template, messages: Sequence[Message]) -> list[int]:
    """The ids of a conversation, up to where the answer begins.

    One BOS is at the start if the template writes it or the model's files ask for it, never two.
    Raises InputError for messages that are none or that the template refuses.
    """
    messages = check_messages(messages)
    contents = [each["content"] for each in messages]
    control = {name: token for name, token in tokenizer.control_ids().items() if name}
    forged = [name for name in control if any(name in content for content in contents)]
    if not forged:
        # The tokenizer's own reading of its special tokens, white space around them included.
        return one_bos(
            tokenizer, tokenizer.encode(template.render(messages), add_bos=False, special=True)
        )

    private = private_characters(forged, contents)
    names = any_of(forged)
    disarmed = [
        message(each["role"], names.sub(lambda found: private[found[0]], each["content"]))
        for each in messages
    ]
    restore = {ord(letter): name for name, letter in private.items()}
    ids: list[int] = []
    for part in cut(template.render(disarmed), control, restore):
        ids += [part] if isinstance(part, int) else tokenizer.encode(part, add_bos=False)
    return one_bos(tokenizer, ids)


def one_bos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """`ids` with BOS first, if the model's files ask for it and the template did not write it."""
    bos = tokenizer.bos_id
    if bos is None or not tokenizer.adds_bos or ids[:1] == [bos]:
        return ids
    return [bos, *ids]


def answer_ends(
    tokenizer: Tokenizer, template: Template
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """What ends an answer: token ids; and texts, where the template's end is no token here."""
    control = tokenizer.control_ids()
    ids = [*tokenizer.eos_ids, *(control[end] for end in template.ends if end in control)]
    texts = tuple(end for end in template.ends if end not in control)
    return tuple(dict.fromkeys(ids)), texts
