"""What the rows say before any mistake is tried: which are right, and what that speaks against.

A right row acquits a mistake only where that mistake's own run shows it there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...wording import listed
from ..record.bundle import Bundle
from ..replay.metrics import DIVERGENT, SUSPICIOUS, row_errors
from ..replay.schedule import Schedule
from .evidence import Evidence
from .search.trial import Trial


@dataclass(frozen=True)
class Rows:
    """The rows of the logits that are right, and those that are wrong."""

    right: frozenset[int]
    wrong: frozenset[int]


def judge_rows(golden: Bundle, evidence: Evidence, dtype: str) -> Rows:
    """Each row by itself, in units of the floor of its group."""
    got, T = evidence.values.get("logits"), len(golden.schedule.tokens)
    if got is None or not (rows := evidence.rows.get("logits", range(T) if len(got) == T else [])):
        return Rows(frozenset(), frozenset())
    floors = golden.group_floors("logits", dtype)
    of_rows = np.array([floors[golden.schedule.group(row)] for row in rows])
    ratios = row_errors("logits", got, golden.values["logits"][list(rows)]) / of_rows
    pairs = list(zip(rows, ratios.tolist(), strict=True))
    right = frozenset(row for row, ratio in pairs if ratio <= SUSPICIOUS)
    return Rows(right, frozenset(row for row, ratio in pairs if ratio > DIVERGENT))


def accused(rows: Rows, schedule: Schedule) -> str:
    """What is wrong by where it begins; "" where that says nothing."""
    first, border = min(rows.wrong), schedule.groups[0].stop
    if rows.right.isdisjoint(range(first)):
        return ""
    if first >= schedule.prompt:
        return "only decode rows are wrong: look at the cache, and at positions in decoding"
    if first >= border:
        return f"only rows after a chunk's border ({border}) are wrong: look at mask and cache"
    return ""


def acquitted(singles: list[Trial], rows: Rows) -> frozenset[str]:
    """The mistakes that would show in a row that is right."""
    return frozenset(t.faults[0].id for t in singles if not t.shows.isdisjoint(rows.right))


def acquitted_families(singles: list[Trial], free: frozenset[str]) -> tuple[str, ...]:
    """The families of which every mistake that this model can have is acquitted."""
    families: Mapping[str, list[str]] = {trial.faults[0].family: [] for trial in singles}
    for fault in (trial.faults[0] for trial in singles):
        if not fault.harmless:
            families[fault.family].append(fault.id)
    return tuple(family for family, ids in families.items() if free.issuperset(ids))


def span(rows: frozenset[int]) -> str:
    """Rows in words: row 0, rows 0 to 8, 12 rows."""
    low, high = min(rows), max(rows)
    if len(rows) == 1:
        return f"row {low} is right"
    together = len(rows) == high - low + 1
    return (f"rows {low} to {high}" if together else f"{len(rows)} rows") + " are right"


def about_rows(rows: Rows, schedule: Schedule, singles: list[Trial]) -> str:
    """The sentence of the report; "" where no row is right, or none is wrong."""
    if not rows.right or not rows.wrong:
        return ""
    free = acquitted(singles, rows)
    families = [family.replace("_", "-") for family in acquitted_families(singles, free)]
    of = f", of which all of {listed(families, 6)}" if families else ""
    against = (
        f"{span(rows.right)}, which speaks against {len(free)} mistakes that would show there{of}"
    )
    where = accused(rows, schedule)
    return f"{against}; {where}" if where else against
