"""The catalogue of known faults, by id."""

from . import assembly, attention, feed_forward, norm, position, rope
from .fault import Change, Fault

FAMILIES = (norm, rope, position, attention, feed_forward, assembly)

CATALOGUE: dict[str, Fault] = {fault.id: fault for family in FAMILIES for fault in family.FAULTS}

__all__ = ["CATALOGUE", "Change", "Fault"]
