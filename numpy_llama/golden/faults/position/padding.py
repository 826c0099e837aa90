"""Mistakes in the padding of a batch whose sequences differ in length."""

from ....model import Llama
from ...replay.schedule import Schedule
from ..fault import Change, Fault
from .decode import decode_position

PAD = 0  # the token that pads a batch; many tokenizers have it there

PADS = 3  # how many are tried


def padded(n: int) -> Change:
    """The fault of a batch whose shorter sequences begin with n pads, which all rows see."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        first, *rest = schedule.steps
        return model, Schedule((*[PAD] * n, *schedule.tokens), (first + n, *rest))

    return apply


FAULTS = (
    Fault(
        "left-padding-seen",
        "position",
        "The pads to the left of a shorter sequence are neither masked nor left out of positions.",
        f"the run is over {PADS} tokens of id {PAD}, then the tokens; the last T rows are given",
        "transformers#33095, unsloth#3795, alpaca-lora#315",
        "Mask the pads, and count positions from the first real token.",
        padded(PADS),
    ),
    Fault(
        "left-padding-decode-positions",
        "position",
        "Decode steps count the pads to the left of the prompt as positions; the prompt does not.",
        f"a decode step at position p is rotated as if at p + {PADS}",
        "transformers#33095, unsloth#3795, alpaca-lora#315",
        "Take the number of pads off the positions, when decoding too.",
        decode_position(lambda p, prompt: p + PADS),
    ),
)
