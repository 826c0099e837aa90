"""The table of a judgement: all layers of a tap folded into a line, with the worst of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from ...taps import TAPS
from ..compare.verdict import TapVerdict, Verdict
from ..replay.metrics import floors

# The worst first: what a line that stands for several taps says.
SEVERITY: tuple[Verdict, ...] = (
    "not finite", "wrong dtype", "wrong shape", "divergent", "suspicious", "ok", "missing",
)  # fmt: skip
FINE = ("ok", "suspicious")


@dataclass(frozen=True)
class Line:
    """All layers of one tap, folded into the worst of them."""

    kind: str  # "q_rot", "embed", …
    given: int  # how many layers of it, of …
    of: int
    wrong: int  # how many of those are neither ok nor suspicious
    worst: TapVerdict
    first: TapVerdict  # that is wrong; failing that, the worst


def kind_of(tap: str) -> str:
    """The name of a tap without its layer."""
    return tap.split(".", 2)[2] if tap.startswith("layers.") else tap


def badness(tap: TapVerdict) -> tuple[int, float]:
    """To find the worst."""
    return -SEVERITY.index(tap.verdict), tap.ratio or 0.0


def folded(taps: Iterable[TapVerdict]) -> list[Line]:
    """One line for each kind of tap, in causal order."""
    kinds: dict[str, list[TapVerdict]] = {kind_of(tap): [] for tap in TAPS}
    for tap in taps:
        kinds[kind_of(tap.tap)].append(tap)
    return [fold(kind, same) for kind, same in kinds.items() if same]


def fold(kind: str, layers: list[TapVerdict]) -> Line:
    """The line for all layers of one tap."""
    given = [tap for tap in layers if tap.verdict != "missing"]
    wrong = [tap for tap in given if tap.verdict not in FINE]
    worst = max(layers, key=badness)
    return Line(kind, len(given), len(layers), len(wrong), worst, wrong[0] if wrong else worst)


def place(tap: TapVerdict) -> str:
    """Where a tap is wrong: its layer, its first bad row and that row's phase."""
    parts = [f"layer {tap.tap.split('.')[1]}"] if tap.tap.startswith("layers.") else []
    if tap.first_bad_row is not None:
        parts.append(f"from row {tap.first_bad_row} ({tap.phase})")
    return ", ".join(parts + ([tap.detail] if tap.detail else []))


def table(lines: Iterable[Line]) -> list[str]:
    """The lines as aligned text; what is missing altogether is left to another sentence."""
    rows = [("tap", "given", "wrong", "worst", "verdict", "first wrong")]
    for line in lines:
        if line.given:
            rows.append(
                (
                    line.kind,
                    f"{line.given}/{line.of}",
                    str(line.wrong or ""),
                    floors(line.worst.ratio),
                    line.worst.verdict,
                    place(line.first) if line.first.verdict != "ok" else "",
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in (1, 2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
