"""A golden a line: the prompts of a file recorded by the workers of an Executor."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import InputError, LlamaError
from ..formats.storage.strict_json import parse_json, shown
from ..loading.open import open_reference
from ..text import TextModel
from .answers import Answer
from .dispatch import processes, submitted

FIELDS = ("id", "prompt", "tokens")


@dataclass(frozen=True)
class Recording:
    """How each golden of a batch is recorded: the arguments of `golden.record`."""

    path: str  # of the model
    source: str  # how the model is found again
    out: str  # the directory of the goldens
    decode: int = 4
    chunk: int | None = None
    taps: tuple[str, ...] = ("all",)
    detect: bool = True
    stream: bool = False  # whether the model is too large for the memory


@dataclass(frozen=True)
class Prompt:
    """What one golden is of."""

    id: str  # the name of its directory
    prompt: str | tuple[int, ...]


@lru_cache(maxsize=1)
def opened(path: str, stream: bool) -> TextModel:
    """The model of this process."""
    return TextModel(open_reference(path, stream), Path(path))


def record_one(how: Recording, one: Prompt) -> Answer:
    """Record one golden, or say why it cannot be."""
    from ..golden import record

    m = opened(how.path, how.stream)
    text = one.prompt if isinstance(one.prompt, str) else None
    try:
        ids = m.ids_of(one.prompt)
        bundle = record(
            m.llama, ids, how.decode, how.chunk, how.taps, text, how.source, detect=how.detect
        )
        bundle.save(Path(how.out) / one.id)
    except (LlamaError, OSError, MemoryError) as error:
        return {"id": one.id, "error": str(error) or "out of memory"}
    return {"id": one.id, "rows": len(bundle.schedule.tokens)}


def parse_prompt(line: bytes, number: int) -> Prompt:
    """The prompt of one line of JSONL. Raises InputError, which names the line."""
    where = f"line {number + 1}"
    fields = parse_json(line, where, InputError)
    if not isinstance(fields, dict) or not fields.keys() <= set(FIELDS):
        raise InputError(f"{where}: must be an object with no fields but {', '.join(FIELDS)}")
    name, prompt = fields.get("id", f"{number:04}"), fields.get("prompt", fields.get("tokens"))
    # It names a directory: nothing that leads out of the one it is in.
    if not isinstance(name, str) or not name or name != Path(name).name or name.startswith("."):
        raise InputError(f"{where}: id names a directory, which {shown(name)} does not")
    if ("prompt" in fields) == ("tokens" in fields):
        raise InputError(f"{where}: needs prompt or tokens, one of them")
    if isinstance(prompt, list) and all(type(i) is int for i in prompt) and "tokens" in fields:
        return Prompt(name, tuple(prompt))
    if isinstance(prompt, str) and "prompt" in fields:
        return Prompt(name, prompt)
    raise InputError(f"{where}: {shown(prompt)} is no prompt")


def parse_prompts(lines: Iterable[bytes]) -> list[Prompt]:
    """The prompts of a file. Raises InputError for a wrong line, and for one id given twice."""
    prompts = [parse_prompt(line, i) for i, line in enumerate(lines) if line.strip()]
    for name, times in Counter(prompt.id for prompt in prompts).items():
        if times > 1:
            raise InputError(f"the id {name!r} is given twice: each golden needs a directory")
    return prompts


def record_all(
    how: Recording, prompts: Sequence[Prompt], executor: Executor | None = None, jobs: int = 1
) -> Iterator[Answer]:
    """What became of each golden, as they come; each is bit for bit what `record` gives alone.

    The workers compute with as many threads as this process would: another number would change
    the last digits of what noise is measured to be.
    """
    numbered = list(enumerate(prompts))
    if executor is not None:
        yield from (done for _, done in submitted(executor, record_one, how, numbered))
    elif jobs == 1 or len(prompts) == 1:
        yield from (record_one(how, prompt) for prompt in prompts)
    elif prompts:
        with processes(min(jobs, len(prompts)), threads=None) as pool:
            yield from (done for _, done in submitted(pool, record_one, how, numbered))
