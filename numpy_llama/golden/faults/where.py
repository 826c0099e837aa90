"""Where alone a fault could be made: found from what it changes of a model."""

import dataclasses

from ...model import Llama
from ..replay.override import ChangedLayers
from ..replay.schedule import Schedule
from .attention.parts import Attention
from .fault import Fault
from .place import HEADS, NORMS, PARTS, ROTATED, Place

# The stages that a fault may override; one that overrides a whole forward call has no place.
STAGES = (
    "block",
    "norm",
    "multi_head",
    "project",
    "turn",
    "feed_forward",
    "rotations",
    "new_cache",
)


def overrides(wrong: Llama, right: Llama, stage: str) -> bool:
    """Whether a model has another method of this name than the other has."""
    return getattr(type(wrong), stage) is not getattr(type(right), stage)


def changed_tensors(wrong: Llama, right: Llama) -> set[str]:
    """The names of those weights of a layer that a fault changes."""
    layers = wrong.weights.layers
    if layers is right.weights.layers or not isinstance(layers, ChangedLayers):
        return set()
    before = layers.layers[0]
    after, names = layers.change(before, 0), [f.name for f in dataclasses.fields(before)]
    return {name for name in names if getattr(before, name) is not getattr(after, name)}


def changed_heads(wrong: Llama) -> list[str]:
    """Of keys and values, those that are matched with other query heads."""
    now, then = wrong.attention, Attention()
    if not isinstance(now, Attention):
        return []
    return [part for part, of in HEADS.items() if getattr(now, of) is not getattr(then, of)]


def parts(wrong: Llama, right: Llama, stages: set[str]) -> list[str]:
    """The parts of a block in each of which alone the fault can be made."""
    now, then = wrong.config, right.config
    found: list[str] = []
    if "norm" in stages or now.norm_eps != then.norm_eps:
        found += NORMS
    rope = (now.rope_theta, now.rope_scaling) != (then.rope_theta, then.rope_scaling)
    if {"turn", "rotations"} & stages or rope:
        found += ROTATED
    tensors = changed_tensors(wrong, right)
    of_weights = [part for part, (_, names) in PARTS.items() if tensors.intersection(names)]
    for some in (of_weights, changed_heads(wrong)):
        found += some if len(some) > 1 else []  # in its only part it is the fault itself
    return found


def places(fault: Fault, model: Llama, schedule: Schedule) -> list[Place]:
    """Where alone this fault could be made: parts first, then layers.

    Nowhere, if it is one of the tokens, the embeddings, the head or the number of layers.
    """
    wrong, other = fault.apply(model, schedule)
    N = model.config.n_layers
    if other != schedule or overrides(wrong, model, "forward") or wrong.config.n_layers != N:
        return []
    stages = {stage for stage in STAGES if overrides(wrong, model, stage)}
    found = [Place(part=part) for part in parts(wrong, model, stages)]
    same = wrong.attention is model.attention and wrong.weights.layers is model.weights.layers
    if N == 1 or fault.harmless or (same and not stages and not found):
        return found
    return [*found, *(Place(layer=i) for i in range(N))]
