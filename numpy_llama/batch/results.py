"""A file of answers that a killed run leaves half done, and the next one goes on with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import InputError
from ..formats.storage.files import open_regular, writing
from ..formats.storage.strict_json import parse_json
from .answers import Answer


def partial_of(out: Path) -> Path:
    """Where the answers are kept until all are there."""
    return out.with_name(out.name + ".partial")


def line_of(value: Mapping[str, object]) -> bytes:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def kept_before(partial: Path, keys: Mapping[int, str]) -> dict[int, Answer]:
    """The answers of an earlier run to these very requests, by number.

    keys: of the requests, by number. A line that was cut by a kill, and an answer to what is not
    asked any more, are left out: they are asked again.
    """
    if not partial.exists():
        return {}
    found: dict[int, Answer] = {}
    with open_regular(partial, InputError) as file:
        for line in file:
            try:
                kept = parse_json(line, str(partial), InputError)
                number, key, answer = kept["number"], kept["key"], kept["answer"]
                if isinstance(answer, dict) and keys.get(number) == key:
                    found[number] = answer
            except (InputError, TypeError, KeyError):
                continue
    return found


class Kept(Protocol):
    """Where the answers go as they come: `answers` has all that are there, by number."""

    answers: dict[int, Answer]

    def add(self, number: int, answer: Answer) -> None: ...
    def close(self) -> None: ...
    def finish(self, ordered: bool) -> None: ...


class Printed:
    """Answers on standard output: each as soon as all before it are there, or as they come."""

    def __init__(self, ordered: bool):
        self.answers: dict[int, Answer] = {}
        self.ordered = ordered
        self.printed = 0  # those that had to wait for others count when they are printed

    def add(self, number: int, answer: Answer) -> None:
        """Print one answer, and those that waited for it."""
        self.answers[number] = answer
        if not self.ordered:
            self.print(answer)
        while self.ordered and self.printed in self.answers:
            self.print(self.answers[self.printed])

    def print(self, answer: Answer) -> None:
        print(line_of(answer).decode(), end="", flush=True)
        self.printed += 1

    def close(self) -> None:
        """Nothing is open."""

    def finish(self, ordered: bool) -> None:
        """All have been printed."""


class Partial:
    """The answers as they come, each on disk before the next: a line of number, key, answer."""

    def __init__(self, out: Path, keys: Mapping[int, str]):
        self.out, self.keys = out, keys
        self.path = partial_of(out)
        self.answers = kept_before(self.path, keys)
        with writing(self.path) as file:  # without what was cut or is not asked any more
            for number in self.answers:
                file.write(self.line(number))
        self.file: BinaryIO = open(self.path, "ab")
        self.order = list(self.answers)

    def line(self, number: int) -> bytes:
        return line_of({"number": number, "key": self.keys[number], "answer": self.answers[number]})

    def add(self, number: int, answer: Answer) -> None:
        """Keep one answer, unless an earlier run has kept it."""
        if number in self.answers:
            return
        self.answers[number] = answer
        self.order.append(number)
        self.file.write(self.line(number))
        self.file.flush()

    def close(self) -> None:
        """Leave what is there for the next run."""
        self.file.close()

    def finish(self, ordered: bool) -> None:
        """All are there: write the answers alone, in their order or as they came."""
        self.file.close()
        with writing(self.out) as file:
            for number in sorted(self.order) if ordered else self.order:
                file.write(line_of(self.answers[number]))
        self.path.unlink()
