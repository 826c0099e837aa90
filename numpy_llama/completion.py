"""A text that a model goes on with: how it is asked for, its pieces as they come, why it ended."""

import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from .choices import MOST_POSITIONS
from .errors import InputError
from .generation import FinishReason, StreamDecoder, text_of
from .sampling import Sampling


@dataclass(frozen=True)
class Options(Sampling):
    """How a text is continued: how each token is picked (Sampling), and where the text ends."""

    max_tokens: int | None = 256  # at most; None: until the model ends, or the context does
    stop: Sequence[str] = ()  # the text ends before any of these
    ignore_eos: bool = False  # go on where the model would end
    context: int | None = None  # positions of the KV cache at most; None: the model's own
    seed: int | None = None  # of the draws, the same for the same text; None: a new one

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("max_tokens", 0), ("context", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise InputError(f"{name} must be a whole number from {least} on, not {value!r}")
        if self.context is not None and self.context > MOST_POSITIONS:
            raise InputError(
                f"a context of {self.context} is more than {MOST_POSITIONS:,} positions"
            )
        if isinstance(self.stop, str):
            raise InputError(f"stop must be a list of texts, as [{self.stop!r}]")
        if "" in self.stop:
            raise InputError("an empty stop text is found everywhere: leave it out")

    def new_seed(self) -> int:
        """The seed, or a new one where there is none."""
        return secrets.randbits(32) if self.seed is None else self.seed


class Completion:
    """The text that follows a prompt: iterate over it as it comes; afterwards it is all there.

    text: what has come so far; str() and print() give it. ids: the tokens of it, those that only
    led to a stop text included. prompt_ids: the prompt's. times: of each of `ids`, how many seconds
    after the beginning of the prefill it came. finish_reason: "stop" if the model or a stop text
    ended it, "length" for max_tokens, "context" if that is full; None until then, and for ever
    where nobody waited for the end.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        tokens: Generator[int, None, FinishReason],
        decoder: StreamDecoder,
        stops: Sequence[str] = (),
        seed: int = 0,
    ):
        self.prompt_ids = list(prompt_ids)
        self.ids: list[int] = []
        self.times: list[float] = []
        self.text = ""
        self.finish_reason: FinishReason | None = None
        self.seed = seed
        self._pieces = self._run(tokens, decoder, stops)

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompt has."""
        return len(self.prompt_ids)

    @property
    def generated_tokens(self) -> int:
        """How many tokens have come so far."""
        return len(self.ids)

    def _arriving(self, tokens: Generator[int, None, FinishReason]) -> Iterator[int]:
        """The same tokens, each remembered with its time; at their end, the reason."""
        start = time.perf_counter()
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                self.finish_reason = end.value
                return
            self.times.append(time.perf_counter() - start)
            self.ids.append(token)
            yield token

    def _run(
        self,
        tokens: Generator[int, None, FinishReason],
        decoder: StreamDecoder,
        stops: Sequence[str],
    ) -> Iterator[str]:
        if (yield from text_of(self._arriving(tokens), decoder, stops)):
            self.finish_reason = "stop"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def finish(self) -> Self:
        """Wait for the end; returns this."""
        for _ in self:
            pass
        return self

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"<Completion {self.text!r}, finish_reason {self.finish_reason}, "
            f"{self.prompt_tokens} prompt tokens, {self.generated_tokens} generated>"
        )
