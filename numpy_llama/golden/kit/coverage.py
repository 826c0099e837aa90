"""The proof of the conformance kit: which of its cases shows which fault, by its logits alone."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ...model import Llama
from ..faults import CATALOGUE, Fault
from ..progress import Progress, no_progress
from ..record.bundle import Bundle
from ..record.detectability import MOST, fault_errors
from ..replay.metrics import DIVERGENT, floors
from ..replay.precision import in_dtype


@dataclass(frozen=True)
class Covered:
    """One fault, and how large it is in the logits of each case that can have it, in floors."""

    fault: Fault
    ratios: Mapping[str, float]

    @property
    def by(self) -> list[str]:
        """The cases that show it, the clearest first."""
        shown = [case for case, ratio in self.ratios.items() if ratio > DIVERGENT]
        return sorted(shown, key=lambda case: -self.ratios[case])

    @property
    def right(self) -> bool:
        """Whether some case shows it, unless it does no harm."""
        return bool(self.by) or self.fault.harmless


def logits_only(bundle: Bundle) -> Bundle:
    """The golden without its intermediates."""
    return dataclasses.replace(bundle, values={"logits": bundle.values["logits"]})


def ratio_in(bundle: Bundle, model: Llama, fault: Fault) -> float:
    """How many floors at float32 the logits are off with this fault."""
    errors = fault_errors(bundle, fault, model)["logits"]
    return min(bundle.in_floors("logits", errors, "float32"), MOST)


def coverage(
    cases: Mapping[str, tuple[Llama, Bundle, bool]],
    progress: Progress = no_progress,
    faults: Mapping[str, Fault] = CATALOGUE,
) -> list[Covered]:
    """Try every fault on every case that can have it.

    cases: of each name its model, its golden, and whether it is slow; slow cases are tried last,
    and only for what no other shows.
    """
    ready = [
        (name, in_dtype(model, "float32"), logits_only(bundle), slow)
        for name, (model, bundle, slow) in sorted(cases.items(), key=lambda item: item[1][2])
    ]
    found = []
    for done, fault in enumerate(faults.values()):
        progress(done, len(faults), fault.id)
        ratios: dict[str, float] = {}
        for name, model, bundle, slow in ready:
            seen = any(ratio > DIVERGENT for ratio in ratios.values()) or fault.harmless
            if fault.applies(model.config) and not (slow and seen):
                ratios[name] = ratio_in(bundle, model, fault)
        found.append(Covered(fault, ratios))
    progress(len(faults), len(faults), "")
    return found


def line(one: Covered) -> str:
    """Which cases show a fault."""
    tried = len(one.ratios)
    detail = "" if one.right else "NOT SHOWN"
    if one.by:
        shown = ", ".join(one.by[:3]) + (", …" if len(one.by) > 3 else "")
        detail = f"{shown} ({floors(one.ratios[one.by[0]])} floors in the first)"
    if one.fault.harmless:
        detail = f"harmless, but for {detail}" if one.by else "harmless"
    return f"{one.fault.id:<28} {len(one.by):>2}/{tried:<2}  {detail}"


def table(found: list[Covered]) -> str:
    """Every fault, in how many of the cases that can have it it shows, and where best."""
    shown = sum(bool(one.by) for one in found if not one.fault.harmless)
    of = sum(not one.fault.harmless for one in found)
    rows = [f"{'fault':<28} cases  shown best by", *map(line, found), ""]
    how = "by its logits alone, at float32"
    return "\n".join([*rows, f"{shown} of {of} faults are shown by at least one case, {how}"])
