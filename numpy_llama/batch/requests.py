"""One line of a batch: what is asked for, checked before any model is opened."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..chat.messages import Message, check_messages
from ..choices import TASKS
from ..completion import Options
from ..errors import InputError
from ..formats.storage.strict_json import parse_json, shown
from ..wording import listed

PROMPTS = ("prompt", "tokens", "messages")
OPTIONS = tuple(field.name for field in dataclasses.fields(Options))
OTHERS = ("id", "logprobs", "top")
WHOLE = ("max_tokens", "context", "seed", "top_k")
DEFAULTS = Options()


@dataclass(frozen=True)
class Request:
    """What is asked for of one prompt.

    prompt: a text, ids, or the messages of a conversation. task: "generate" a continuation, the
    "logits" of the next token, or "score" the tokens that are there. logprobs: of each generated
    token too. top: of how many tokens "logits" tells.
    """

    prompt: str | tuple[int, ...] | tuple[Message, ...]
    task: str = "generate"
    options: Options = DEFAULTS
    logprobs: bool = False
    top: int = 10
    id: str | int = 0  # as it stands in the answer

    def key(self, model: str) -> str:
        """What tells this request from every other: an answer to it is known again by this."""
        asked = json.dumps([model, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


def prompt_of(fields: Mapping[str, Any]) -> str | tuple[int, ...] | tuple[Message, ...]:
    """The one prompt that a request has."""
    given = [name for name in PROMPTS if name in fields]
    if len(given) != 1:
        raise InputError(f"needs one of {', '.join(PROMPTS)}, and has {listed(given, 3) or 'none'}")
    value = fields[given[0]]
    if given == ["messages"]:
        return tuple(check_messages(value))
    if given == ["prompt"] and isinstance(value, str):
        return value
    if given == ["tokens"] and isinstance(value, list) and all(type(i) is int for i in value):
        return tuple(value)
    wanted = "a text" if given == ["prompt"] else "a list of whole numbers"
    raise InputError(f"{given[0]} must be {wanted}, not {shown(value)}")


def fits(name: str, value: Any) -> bool:
    """Whether an option may have such a value at all; its bounds are checked where it is made."""
    if name == "ignore_eos":
        return isinstance(value, bool)
    if name == "stop":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if isinstance(value, bool):  # an int for Python, and none for people
        return False
    whole = isinstance(value, int) or (value is None and name in ("max_tokens", "context", "seed"))
    return whole or (isinstance(value, float) and name not in WHOLE)


def options_of(fields: Mapping[str, Any], defaults: Options, number: int) -> Options:
    """A request's own options over those of the whole batch; its seed, if none is given, too.

    Each request has another seed, and the same one each time: its number.
    """
    own = {name: fields[name] for name in OPTIONS if name in fields}
    for name, value in own.items():
        if not fits(name, value):
            raise InputError(f"{name} cannot be {shown(value)}")
    if "stop" in own:
        own["stop"] = tuple(own["stop"])
    options = dataclasses.replace(defaults, **own)
    return dataclasses.replace(options, seed=number) if options.seed is None else options


def parse_request(
    fields: Any, number: int, task: str = "generate", defaults: Options = DEFAULTS
) -> Request:
    """A request from what a line of JSON holds. Raises InputError, which names the field.

    number: of the request, from 0 on: its id and its seed, where it has none. defaults: of what
    it does not say itself.
    """
    if task not in TASKS:
        raise InputError(f"task {task!r} is not one of {', '.join(TASKS)}")
    if not isinstance(fields, dict):
        raise InputError(f"a request must be an object, not {shown(fields)}")
    known = (*PROMPTS, *OPTIONS, *OTHERS)
    strange = [name for name in fields if name not in known]
    if strange:
        raise InputError(f"there is no field {shown(strange[0])}: there are {', '.join(known)}")
    name, top, logprobs = fields.get("id", number), fields.get("top", 10), fields.get("logprobs")
    if not isinstance(name, (str, int)):
        raise InputError(f"id must be a text or a whole number, not {shown(name)}")
    if type(top) is not int or top < 1:
        raise InputError(f"top must be a whole number from 1 on, not {shown(top)}")
    if logprobs not in (None, True, False):
        raise InputError(f"logprobs must be true or false, not {shown(logprobs)}")
    return Request(
        prompt_of(fields), task, options_of(fields, defaults, number), bool(logprobs), top, name
    )


def parse_line(
    line: bytes,
    number: int,
    task: str = "generate",
    defaults: Options = DEFAULTS,
    place: int | None = None,
) -> Request | str:
    """The request of one line of JSONL, or a sentence on what is wrong with it.

    place: of the line in its file, from 1 on, where empty lines make another than `number` + 1.
    """
    where = f"line {place or number + 1}"
    try:
        fields = parse_json(line, where, InputError)
    except InputError as error:
        return str(error)
    try:
        return parse_request(fields, number, task, defaults)
    except InputError as error:
        return f"{where}: {error}"
