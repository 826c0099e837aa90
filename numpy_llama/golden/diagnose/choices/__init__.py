"""Which choices explain a candidate: one alone, several together, and what their noise hides."""

from .alone import decisive, quick, thorough
from .together import declared, hidden, with_another

__all__ = ["declared", "decisive", "hidden", "quick", "thorough", "with_another"]
