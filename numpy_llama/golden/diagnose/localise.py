"""Mistakes in one place only: which places the evidence leaves, and which are tried first.

With taps, the first wrong operation says in which layer and in which part. With logits alone all
places are open; those are tried first where the mistake, made everywhere, moves the logits in the
direction in which the candidate's are off.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..compare.verdict import Isolated
from ..faults import CATALOGUE, Fault
from ..faults.place import PARTS, Place, localised
from ..faults.where import places
from .search.search import Search
from .search.trial import Trial, explains

# Multiplications that mistakes in one place may take with logits alone: a few seconds. Counted, not
# timed, so that the diagnosis is the same on every machine.
FEW = 1e11

# The first tap that a mistake in a part makes wrong; of keys and values also what attention makes.
FIRST = {
    "attn_norm": ("attn_norm.rms", "attn_norm"),
    "ffn_norm": ("ffn_norm.rms", "ffn_norm"),
    "final_norm": ("final_norm.rms", "final_norm"),
    "queries": ("q", "q_rot"),
    "keys": ("k", "k_rot", "scores"),
    "values": ("v", "heads"),
    "output": ("attn_out",),
    "gate": ("gate",),
    "up": ("up",),
    "down": ("ffn_out",),
}


def layer_of(tap: str, n_layers: int) -> int:
    """The layer of a tap; the number of layers, for what comes after them."""
    if tap.startswith("layers."):
        return int(tap.split(".")[1])
    return 0 if tap == "embed" else n_layers


@dataclass(frozen=True)
class Window:
    """Where the first wrong operation can be: in these layers, in these parts."""

    layers: range
    parts: frozenset[str]

    def has(self, place: Place) -> bool:
        inside = place.layer is None or place.layer in self.layers
        return inside and (not place.part or place.part in self.parts)


def window(search: Search, bad: Isolated | None) -> Window:
    """What the first wrong operation leaves open."""
    N = search.model.config.n_layers
    if bad is None:
        return Window(range(N), frozenset(PARTS))
    # A block that was recomputed from the stream into it: from the next layer on.
    after = [layer_of(tap, N) + tap.endswith("resid_post") for tap in bad.inputs]
    layers = range(max(after, default=0), min(layer_of(bad.tap, N), N - 1) + 1)
    if not search.complete:  # what is wrong may be before it
        return Window(layers, frozenset(PARTS))
    kind = bad.tap.split(".", 2)[2] if bad.tap.startswith("layers.") else bad.tap
    return Window(layers, frozenset(part for part, taps in FIRST.items() if kind in taps))


def possible(search: Search, open_: Window) -> tuple[list[Fault], list[Fault]]:
    """Every mistake in every place that is open: in a layer or a part; in a part of one layer."""
    model, schedule, config = search.model, search.schedule, search.model.config
    found, smaller = [], []
    for fault in CATALOGUE.values():
        if fault.applies(config):
            where = [place for place in places(fault, model, schedule) if open_.has(place)]
            found += [localised(fault, place) for place in where]
            parts = [place.part for place in where if place.part and place.part != "final_norm"]
            layers = open_.layers if config.n_layers > 1 else ()
            smaller += [localised(fault, Place(i, part)) for i in layers for part in parts]
    return found, smaller


def ranked(faults: Iterable[Fault], singles: list[Trial], free: frozenset[str]) -> list[Fault]:
    """First those that, made everywhere, move the logits as the candidate's are moved.

    Last those that a right row acquits: in one place they might not show there.
    """
    along = {trial.faults[0].id: trial.along for trial in singles}
    return sorted(faults, key=lambda fault: (fault.id in free, -along.get(fault.id, 0.0)))


def explaining_places(
    search: Search,
    base: Trial,
    singles: list[Trial],
    bad: Isolated | None,
    free: frozenset[str],
    most: int,
) -> tuple[list[Trial], list[Trial], str]:
    """Mistakes in one place: those that explain everything, all tried, and what was not tried."""
    larger, smaller = possible(search, window(search, bad))
    tried: list[Trial] = []
    for faults in (larger, smaller if bad else []):  # which are one part of one layer
        some = ranked(faults, singles, free)[: most - len(tried)]
        tried += search.extend(base, some)
        found = [trial for trial in tried if explains(trial, base)]
        if found or len(some) < len(faults):
            break
    left = ""
    if not found and len(some) < len(faults):
        left = f"of {len(larger)} mistakes in one layer or part only, {most} were tried"
        left += ": the taps of a layer tell where it is"
    return found, tried, left
