"""Two dumps against each other, for people and as JSON."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from ...taps import TAPS
from ...wording import listed
from ..replay.metrics import floors as shortly
from ..report.json import plain
from ..report.table import kind_of
from .limit import ROUNDOFF
from .verdict import Diff, Side, TapDiff

VERSION = 1


def columns(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Rows of text as aligned lines; the columns `right` have numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def place(tap: TapDiff) -> str:
    """Where a tap differs: its layer and the first such row."""
    parts = [f"layer {tap.tap.split('.')[1]}"] if tap.tap.startswith("layers.") else []
    if tap.first_row is not None:
        parts.append(f"from row {tap.first_row}")
    return ", ".join(parts + ([f"{tap.verdict}: {tap.detail}"] if tap.detail else []))


def table(taps: Iterable[TapDiff]) -> list[str]:
    """One line for each kind of tap: all its layers folded into the worst of them."""
    kinds: dict[str, list[TapDiff]] = {kind_of(tap): [] for tap in TAPS}
    for tap in taps:
        kinds[kind_of(tap.tap)].append(tap)
    rows = [("tap", "both", "differ", "worst", "limit", "first that differs")]
    for kind, layers in kinds.items():
        if not layers:
            continue
        different = [tap for tap in layers if tap.verdict != "alike"]
        worst = max(layers, key=lambda tap: tap.most or 0.0)
        unit = (worst.most or 0.0) / worst.error if worst.error else 0.0
        rows.append(
            (
                kind,
                str(len(layers)),
                str(len(different) or ""),
                shortly(worst.most),
                shortly((worst.limit or 0.0) * unit) if unit else "",
                place(different[0]) if different else "",
            )
        )
    return columns(rows, (1, 2, 3, 4))


def headline(diff: Diff) -> str:
    """The verdict, and where the difference begins."""
    many, first = len(diff.taps), diff.first_difference
    worst = max((tap.most or 0.0 for tap in diff.taps), default=0.0)
    if first is None:
        return f"ALIKE in {many} taps, {shortly(worst)} roundoffs of {diff.unit} at most"
    different = sum(tap.verdict != "alike" for tap in diff.taps)
    row = "" if first.first_row is None else f" from row {first.first_row}"
    most = first.verdict if first.most is None else f"{shortly(first.most)} roundoffs"
    return (
        f"DIFFERENT in {different} of {many} taps, the first is {first.tap}{row}: {most}"
        f"{f' of {diff.unit}' if first.most is not None else ''}"
    )


def values(diff: Diff) -> list[str]:
    """Three values of both, where the first tap that differs does so most."""
    tap = diff.first_difference
    if tap is None or tap.worst is None:
        return []
    width = max(len(diff.first.name), len(diff.second.name))
    return [f"  most at [{', '.join(map(str, tap.worst))}]:"] + [
        f"    {side.name:<{width}}  {'  '.join(f'{value: .8g}' for value in three)}"
        for side, three in ((diff.first, tap.first), (diff.second, tap.second))
    ]


def in_limits(tap: TapDiff) -> str:
    """How far a tap is from its limit; nothing where no number says so."""
    if tap.error is None or not tap.limit:
        return tap.verdict
    return f"{shortly(tap.error / tap.limit)} times the limit"


def against_truth(side: Side) -> str:
    """How one of the two stands to the truth."""
    taps, wrong = side.truth or (), side.first_wrong
    if wrong is None:
        worst = max(taps, key=lambda tap: (tap.error or 0.0) / (tap.limit or 1.0))
        return f"{side.name}: right at {side.dtype}, {in_limits(worst)} at most"
    row = "" if wrong.first_row is None else f" from row {wrong.first_row}"
    return f"{side.name}: wrong at {side.dtype}, first in {wrong.tap}{row}: {in_limits(wrong)}"


def about_truth(diff: Diff) -> list[str]:
    """How both stand to the truth, and which of them is nearer."""
    if diff.nearer is None:
        return []
    at = diff.first_difference
    nearer = {"first": diff.first.name, "second": diff.second.name, "neither": "neither"}
    lines = ["", "against the model in float64:"]
    lines += [f"  {against_truth(side)}" for side in (diff.first, diff.second)]
    return [*lines, *([f"  nearer at {at.tap}: {nearer[diff.nearer]}"] if at else [])]


def footnotes(diff: Diff) -> list[str]:
    """What the numbers mean, what was recognised, and what only one of the two has."""
    rule = "ten floors of this model" if diff.nearer is not None else "a rule: see docs/golden.md"
    lines = [
        f"(worst: the relative RMS difference of the worst row, in unit roundoffs of {diff.unit}, "
        f"{ROUNDOFF[diff.unit]:.2g} each; limit: up to there it may be rounding, by {rule})"
    ]
    notes = list(diff.notes)
    for side in (diff.first, diff.second):
        if side.only:
            notes.append(f"only in {side.name}: {listed(side.only, 8)}")
    return [*lines, *([""] if notes else []), *(f"note: {note}" for note in notes)]


def as_text(diff: Diff) -> str:
    """Verdict, first difference, the truth if it is known, then the table."""
    parts = [headline(diff), *values(diff), *about_truth(diff), "", *table(diff.taps)]
    return "\n".join([*parts, *footnotes(diff)])


def tap_json(tap: TapDiff) -> dict[str, Any]:
    return dataclasses.asdict(tap) | {"most": tap.most}


def side_json(side: Side) -> dict[str, Any]:
    truth = None if side.truth is None else [tap_json(tap) for tap in side.truth]
    return {
        "name": side.name,
        "dtype": side.dtype,
        "only": list(side.only),
        "right": None if side.truth is None else side.first_wrong is None,
        "truth": truth,
    }


def as_json(diff: Diff) -> dict[str, Any]:
    """The same for machines. The keys are documented in docs/golden.md."""
    first = diff.first_difference
    found: dict[str, Any] = plain(
        {
            "version": VERSION,
            "summary": diff.summary,
            "exit_code": diff.exit_code,
            "unit": diff.unit,
            "roundoff": ROUNDOFF[diff.unit],
            "first_difference": tap_json(first) if first else None,
            "nearer": diff.nearer,
            "first": side_json(diff.first),
            "second": side_json(diff.second),
            "taps": [tap_json(tap) for tap in diff.taps],
            "notes": list(diff.notes),
        }
    )
    return found
