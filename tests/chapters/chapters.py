"""The chapters of docs/learn as tests read them: prose, numbers, programs, marks of claims."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEARN = Path(__file__).resolve().parent.parent.parent / "docs" / "learn"
CHAPTERS = sorted(LEARN.glob("[01][0-9]-*.md"))
NUMBER = r"(-?\d+(?:,\d{3})*(?:\.\d+)?)"
MARK = re.compile(r"<!-- claims ([\d, ]+): ([a-z ]+) -->\n(.*?)\n(?:\n|$)", re.DOTALL)


def chapter(number: int) -> str:
    """The Markdown of a chapter."""
    return next(p for p in CHAPTERS if p.name.startswith(f"{number:02}-")).read_text()


def prose(text: str) -> str:
    """What is read as sentences, on one line: without code, tables, comments and links."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->|^\|[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def value(shown: str) -> float:
    return float(shown.replace(",", ""))


def unit(shown: str) -> float:
    """The value of the last digit: 0.1 for "3.5"."""
    return 10.0 ** -len(shown.partition(".")[2])


@dataclass(frozen=True)
class Stated:
    """A sentence of a chapter, each of its numbers as {}, and what running code gives for them."""

    chapter: int
    template: str
    measure: Callable[..., Any]  # one number or several; of a Run, where the model is needed

    def shown(self) -> tuple[str, ...]:
        """The numbers that the chapter has in this sentence."""
        pattern = NUMBER.join(re.escape(part) for part in self.template.split("{}"))
        found = re.search(pattern, prose(chapter(self.chapter)))
        assert found, f"chapter {self.chapter} does not say: {self.template}"
        return found.groups()

    def check(self, *run: Any) -> None:
        """Each number is the measured one, to the digits shown; a whole number that was counted is
        that number."""
        measured = self.measure(*run)
        values = measured if isinstance(measured, list | tuple) else [measured]
        for shown, got in zip(self.shown(), values, strict=True):
            room = 0.0 if isinstance(got, int) else 0.55 * unit(shown)
            assert abs(value(shown) - got) <= room, f"{self.template}: {shown} is {got}"

    def __str__(self) -> str:
        return f"{self.chapter:02}: {self.template[:50]}"


def claims() -> dict[tuple[int, str], list[tuple[Path, str]]]:
    """For each claim and kind of mark, the files and the blocks of text that are so marked."""
    found: dict[tuple[int, str], list[tuple[Path, str]]] = {}
    for path in CHAPTERS:
        for numbers, kinds, block in MARK.findall(path.read_text()):
            for number in numbers.split(","):
                for kind in kinds.split():
                    found.setdefault((int(number), kind), []).append((path, block))
    return found
