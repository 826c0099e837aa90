"""What is told of a learner's project: in plain words for them, as JSON for a teacher."""

import textwrap
from collections.abc import Sequence
from typing import Any

from ..golden.faults import KNOWN
from ..wording import listed
from .course.examples import Example
from .judge import Outcome

VERSION = 1  # of the JSON
MARKS = {"right": "✓", "wrong": "✗", "error": "!", "stopped": "!"}  # of others a dot
PRINTED = 8  # lines of what a learner's code printed
LONGEST = 200  # characters of each
WIDTH = 79


def mark(outcome: Outcome) -> str:
    """One character."""
    return MARKS.get(outcome.status, "·")


def right(outcomes: Sequence[Outcome]) -> int:
    """How many are right."""
    return sum(outcome.status == "right" for outcome in outcomes)


def progress_line(name: str, width: int, outcomes: Sequence[Outcome]) -> str:
    """Example: anna   ✓ ✓ ✗ · · · ·   2 of 7 right, next attention"""
    marks = " ".join(map(mark, outcomes))
    following = next((o.stage.name for o in outcomes if o.status != "right"), "")
    rest = f", next {following}" if following else ""
    return f"{name:<{width}}  {marks}   {right(outcomes)} of {len(outcomes)} right{rest}"


def stage_line(outcome: Outcome) -> str:
    """One stage in one line."""
    function = outcome.function if outcome.status != "right" else ""
    line = f"{mark(outcome)} {outcome.stage.name:<13} {outcome.status:<12} {function}".rstrip()
    used = f"  (with our {listed(outcome.ours, most=2)})" if outcome.ours else ""
    return line + (used if outcome.status != "not started" else "")


def place(outcome: Outcome) -> str:
    """Where to look: the file, the line, the function."""
    line = f", line {outcome.line}" if outcome.line else ""
    function = f", in {outcome.function}" if outcome.function else ""
    return f"{outcome.stage.file}{line}{function}"


def wrapped(label: str, text: str) -> list[str]:
    """A label, and a text beside it."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {label:<10}", subsequent_indent=" " * 12)


def about_example(example: Example, outcome: Outcome) -> list[str]:
    """A call that can be made again by hand, and what it gave."""
    lines = [f"    {line}" for line in (*example.setup, example.call)]
    if outcome.got:
        lines += labelled("got", outcome.got)
    if outcome.expected:
        lines += labelled("expected", outcome.expected)
    return [*lines, *wrapped("because", example.why)] if outcome.got else lines


def labelled(label: str, text: str) -> list[str]:
    """A label, and lines beside it, as they are."""
    first, *rest = text.splitlines() or [""]
    return [f"  {label:<10}{first}", *(" " * 12 + line.strip() for line in rest)]


def named(outcome: Outcome) -> str:
    """The mistake as the judge names it."""
    said = [KNOWN[fault].sentence for fault in outcome.faults]
    if " ".join(said) == outcome.idea:
        return ", ".join(outcome.faults)
    return "; ".join(f"{fault}: {s}" for fault, s in zip(outcome.faults, said, strict=True))


def hints(outcome: Outcome, hint: int) -> list[str]:
    """The second and the third hint, as far as asked for; and how more is to be had."""
    lines = []
    if hint >= 2 and outcome.idea:
        lines += wrapped("idea", outcome.idea)
    if hint >= 2 and outcome.faults:
        lines += wrapped("named", named(outcome))
    if hint >= 3 and outcome.mend:
        lines += wrapped("mend", outcome.mend)
    if hint < 3 and (outcome.mend if hint == 2 else outcome.idea):
        lines.append(f"  more: --hint {hint + 1}")
    return lines


def printed_lines(outcome: Outcome) -> list[str]:
    """The end of what a learner's code printed, safe to show."""
    lines = ["".join(c if c.isprintable() else "?" for c in s) for s in outcome.printed.split("\n")]
    lines = [line[:LONGEST] for line in lines if line.strip()]
    more = ["    …"] if len(lines) > PRINTED else []
    return ["  it printed", *more, *(f"    {s}" for s in lines[-PRINTED:])] if lines else []


def notes(outcome: Outcome) -> list[str]:
    """What is to be said of a stage that is right."""
    unusual = [line for note in outcome.notes for line in wrapped("note", note)]
    return [*unusual, *printed_lines(outcome)]


def about(outcome: Outcome, hint: int) -> list[str]:
    """What is wrong with one stage, and the hints that were asked for."""
    lines = ["", place(outcome)]
    if outcome.source:
        lines.append(f"    {outcome.source}")
    if outcome.sentence:
        lines += textwrap.wrap(outcome.sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if outcome.example is not None:
        lines += about_example(outcome.example, outcome)
    elif outcome.got:
        lines += [*labelled("got", outcome.got), *labelled("expected", outcome.expected)]
    return [*lines, *hints(outcome, hint), *printed_lines(outcome)]


def as_text(outcomes: Sequence[Outcome], hint: int = 1) -> str:
    """All stages in a line each; then what is wrong with those that are."""
    lines = [stage_line(outcome) for outcome in outcomes]
    for outcome in outcomes:
        if outcome.status in ("wrong", "error", "stopped"):
            lines += about(outcome, hint)
        elif notes(outcome):
            lines += ["", outcome.stage.file, *notes(outcome)]
    return "\n".join([*lines, "", closing(outcomes)])


def closing(outcomes: Sequence[Outcome]) -> str:
    """The last line: how far, and what is next."""
    done = f"{right(outcomes)} of {len(outcomes)} right"
    following = next((o for o in outcomes if o.status != "right"), None)
    if following is None:
        return f"{done}: well done" if len(outcomes) > 1 else done
    if following.status == "not started":
        return f"{done}; next: {following.function} in {following.stage.file}"
    return f"{done}; next: {following.stage.file}"


def stage_json(outcome: Outcome) -> dict[str, Any]:
    """Everything that is known of one stage."""
    example = outcome.example
    return {
        "stage": outcome.stage.name,
        "status": outcome.status,
        "function": outcome.function,
        "line": outcome.line,
        "source": outcome.source,
        "sentence": outcome.sentence,
        "example": None if example is None else [*example.setup, example.call],
        "got": outcome.got,
        "expected": outcome.expected,
        "tap": outcome.tap,
        "notes": list(outcome.notes),
        "mistakes": list(outcome.faults),
        "idea": outcome.idea,
        "mend": outcome.mend,
        "ours": list(outcome.ours),
        "printed": printed_lines(outcome)[1:],
    }


def as_json(projects: Sequence[tuple[str, Sequence[Outcome]]]) -> dict[str, Any]:
    """All projects, for machines."""
    return {
        "version": VERSION,
        "projects": [
            {
                "directory": name,
                "right": right(outcomes),
                "of": len(outcomes),
                "stages": [stage_json(outcome) for outcome in outcomes],
            }
            for name, outcomes in projects
        ],
    }
