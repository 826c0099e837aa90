"""Which tokens a run sees, and in which forward calls."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ...errors import InputError

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Schedule:
    """Which tokens a run sees, and in which forward calls.

    The tokens are given (teacher-forced), never sampled, so that one wrong choice does not make
    all that follows incomparable. `steps` are the sizes of consecutive forward calls: the chunks of
    the prompt, then decode steps of one token. A one-token call after the first is a decode step.
    """

    tokens: tuple[int, ...]
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.tokens or min(self.steps, default=0) < 1 or sum(self.steps) != len(self.tokens):
            raise InputError(
                f"a schedule of the steps {list(self.steps)} does not cover "
                f"{len(self.tokens)} tokens: the steps must be positive and add up to the tokens"
            )

    @classmethod
    def of(
        cls, prompt: Collection[int], decode: Collection[int] = (), chunk: int | None = None
    ) -> "Schedule":
        """The prompt in chunks of at most `chunk` tokens (None: in one), then one token a step."""
        size = chunk or max(len(prompt), 1)
        chunks = [min(size, len(prompt) - at) for at in range(0, len(prompt), size)]
        return cls((*prompt, *decode), (*chunks, *[1] * len(decode)))

    def padded(self, pads: int, pad: int = 0) -> "Schedule":
        """The same, with so many pads before the first token, as part of the first call."""
        first, *rest = self.steps
        return Schedule((*[pad] * pads, *self.tokens), (pads + first, *rest))

    @functools.cached_property
    def prompt(self) -> int:
        """How many rows are the prompt's: all before the decode steps at the end."""
        steps = list(self.steps)
        while len(steps) > 1 and steps[-1] == 1:
            steps.pop()
        return sum(steps)

    def phase(self, row: int) -> Phase:
        """Whether a row was computed with the prompt, or as a decode step."""
        return "prefill" if row < self.prompt else "decode"

    def group(self, row: int) -> int:
        """The number of the group that a row is in."""
        return next(i for i, rows in enumerate(self.groups) if rows.start <= row < rows.stop)

    @functools.cached_property
    def groups(self) -> list[slice]:
        """The rows of each chunk of the prompt, then those of all decode steps together.

        Errors are measured in each group by itself: two wrong decode rows must not drown among
        five hundred right ones of the prompt.
        """
        rows, start = [], 0
        for size in self.steps:
            if start < self.prompt:
                rows.append(slice(start, start + size))
            start += size
        return rows if start == self.prompt else [*rows, slice(self.prompt, start)]

    @property
    def merged(self) -> "Schedule":
        """The same tokens, those of all decode steps in one call with the prompt's last chunk."""
        ends = [rows.stop for rows in self.groups if rows.start < self.prompt]
        ends[-1] = len(self.tokens)
        starts = [0, *ends[:-1]]
        return Schedule(self.tokens, tuple(b - a for a, b in zip(starts, ends, strict=True)))
