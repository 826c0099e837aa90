"""Choices: what a right program may do to be small or fast, and what then tells it from the truth.

No mistake is among them. A candidate that a choice explains is right, and computes so; only its
owner can say whether that is meant. Most can be made in several ways, which differ by more than
noise: `ways` are the others, as equally right as the first.
"""

from . import cache, rounding
from .activations import of_activations
from .choice import Choice
from .weights import FORMATS, WHICH, of_weights

# Those that are quick to try come first.
CHOICES: dict[str, Choice] = {
    c.id: c for c in (*cache.CHOICES, *rounding.CHOICES, *of_activations(), *of_weights())
}

# The activations that go with weights of a format, where what is multiplied is equally narrow.
OF_ONE_PROGRAM = {name: name for name in FORMATS} | {"int8-row": "int8", "q4-0": "q8-0"}


def go_together(*ids: str) -> bool:
    """Whether two of these choices are weights, and the activations that go with them."""
    return any(
        f"activations-{activations}" in ids
        for weights, activations in OF_ONE_PROGRAM.items()
        for which in WHICH
        if f"weights-{weights}{which}" in ids
    )


__all__ = ["CHOICES", "Choice", "go_together"]
