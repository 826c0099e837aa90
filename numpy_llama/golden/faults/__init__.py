"""The catalogue of known faults, and of the choices that are none, by id."""

from . import assembly, attention, feed_forward, norm, position, rope
from .choices import CHOICES, Choice
from .fault import Change, Fault

FAMILIES = (norm, rope, position, attention, feed_forward, assembly)

CATALOGUE: dict[str, Fault] = {fault.id: fault for family in FAMILIES for fault in family.FAULTS}
# Whatever a diagnosis may name.
KNOWN: dict[str, Fault] = {**CATALOGUE, **CHOICES}

__all__ = ["CATALOGUE", "CHOICES", "KNOWN", "Change", "Choice", "Fault"]
