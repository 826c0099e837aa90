"""The score of an implementation over a kit: for people, for machines, and for CI (JUnit)."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from ..compare.verdict import EXIT_CODES, Suspect
from ..faults import CHOICES
from ..report.diagnosis import about_suspect, is_choice
from ..report.json import as_json
from .run import Result, Status

VERSION = 2  # of the JSON
STATUSES: tuple[Status, ...] = get_args(Status)


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many cases there are of each status."""
    return {status: sum(r.status == status for r in results) for status in STATUSES}


def exit_code(results: Sequence[Result]) -> int:
    """The gravest: 1 diverged, 2 could not be judged, 4 a choice, 3 incomplete or nothing, 0."""
    number = counts(results)
    if number["diverged"]:
        return EXIT_CODES["diverged"]
    if number["failed"]:
        return 2
    if number["choice"]:
        return EXIT_CODES["choice"]
    whole = number["passed"] and not number["incomplete"]
    return EXIT_CODES["passed" if whole else "incomplete"]


def score_line(results: Sequence[Result]) -> str:
    """Example: 14 of 15 passed, 1 diverged."""
    number = counts(results)
    run = len(results) - number["skipped"]
    rest = [f"{n} {status}" for status, n in number.items() if n and status != "passed"]
    return ", ".join([f"{number['passed']} of {run} passed", *rest])


def suspects_of(result: Result) -> dict[tuple[str, ...], Suspect]:
    """What may explain a case, by the faults."""
    found = result.report.diagnosis if result.report else None
    return {suspect.faults: suspect for suspect in found.suspects} if found else {}


def looked_into(result: Result) -> bool:
    """Whether a mistake was looked for: not in what passed, nor where others had told enough."""
    found = result.report.diagnosis if result.report else None
    return found is not None and found.outcome != "correct"


def worst_of(suspects: Iterable[Suspect]) -> Suspect:
    """Of one explanation of several cases, where it explains least."""
    return max(suspects, key=lambda suspect: suspect.residual)


def mistakes(results: Sequence[Result]) -> list[tuple[list[Suspect], list[str]]]:
    """The fewest explanations, each with its cases: what one case leaves open, another decides.

    The explanation that fits most cases comes first, then that which fits most of the rest.
    Several that fit the same cases are one entry: nothing here tells them apart.
    """
    left = {r.name: suspects_of(r) for r in results if suspects_of(r)}
    found = []
    while left:
        fits: dict[tuple[str, ...], list[str]] = {}
        for name, suspects in left.items():
            for faults in suspects:
                fits.setdefault(faults, []).append(name)
        best = max(fits.values(), key=len)
        alike = [faults for faults, names in fits.items() if names == best]
        found.append(([worst_of(left[name][faults] for name in best) for faults in alike], best))
        left = {name: suspects for name, suspects in left.items() if name not in best}
    return found


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def about_mistakes(results: Sequence[Result]) -> list[str]:
    """Each mistake that was found, in which cases, and what to do about it."""
    lines = []
    for suspects, names in mistakes(results):
        what = "CHOICE" if all(map(is_choice, suspects)) else "MISTAKE"
        which = what if len(suspects) == 1 else f"ONE OF {len(suspects)} {what}S"
        lines += ["", f"{which} in {listed(names)}"]
        for suspect in suspects:
            lines += about_suspect(suspect)
    open_ = [r.name for r in results if looked_into(r) and not suspects_of(r)]
    return [*lines, *(["", f"NOT EXPLAINED: {listed(open_)}"] if open_ else [])]


def case_line(result: Result, width: int) -> str:
    """One case in one line."""
    took = "" if result.status == "skipped" else f"{result.seconds:.1f} s"
    return f"{result.name:<{width}}  {result.status:<10}  {took:>7}  {result.detail}".rstrip()


def score_json(results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for machines."""
    found: list[dict[str, Any]] = [
        {"one_of": [list(suspect.faults) for suspect in suspects], "cases": names}
        for suspects, names in mistakes(results)
    ]
    return {
        "version": VERSION,
        "score": counts(results),
        "exit_code": exit_code(results),
        "mistakes": [
            entry for entry in found if not all(CHOICES.keys() >= set(f) for f in entry["one_of"])
        ],
        "choices": [
            entry for entry in found if all(CHOICES.keys() >= set(f) for f in entry["one_of"])
        ],
        "cases": [
            {
                "name": r.name,
                "status": r.status,
                "seconds": round(r.seconds, 3),
                "detail": r.detail,
                "report": as_json(r.report) if r.report else None,
            }
            for r in results
        ],
    }
