"""Choices: what a right program may do to be small or fast, and what then tells it from the truth.

No mistake is among them. A candidate that a choice explains is right, and computes so; only its
owner can say whether that is meant. Most can be made in several ways, which differ by more than
noise: `ways` are the others, as equally right as the first.
"""

from . import cache, rounding
from .choice import Choice
from .matrices import of_activations, of_weights

# Those that are quick to try come first.
CHOICES: dict[str, Choice] = {
    c.id: c for c in (*cache.CHOICES, *rounding.CHOICES, *of_activations(), *of_weights())
}

__all__ = ["CHOICES", "Choice"]
