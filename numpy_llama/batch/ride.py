"""Several texts at once, each as if alone, while all share each pass over the weights.

Every text is continued in a thread of its own by the same code as a single one. Only the model
that it is given differs: its `forward` waits until all who ride along have come to theirs, and one
pass computes the logits of all. Which passes there are, and who is in which, depends on the texts
alone and not on the speed of the threads; so a ride repeats to the bit.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from ..backend import Array
from ..kv_cache import KVCache
from ..model import Llama
from ..taps import Tap, no_tap
from ..tokens import Tokens, check_tokens
from .together import Part, forward_together

# Rows of one pass at most, but for one part that has more by itself. More would take memory for
# the hidden features of all: 4,096 rows of 11,008 are 180 MB, thrice.
ROWS = 4096

T = TypeVar("T")
R = TypeVar("R")


def within_rows(parts: Sequence[Part], most: int) -> Iterator[Sequence[Part]]:
    """The parts in their order, as many at a time as have `most` rows together."""
    first, rows = 0, 0
    for i, part in enumerate(parts):
        if rows and rows + len(part.tokens) > most:
            yield parts[first:i]
            first, rows = i, 0
        rows += len(part.tokens)
    yield parts[first:]


@dataclass
class Ride:
    """Who rides along, and who of them waits for the next pass."""

    model: Llama
    riders: int = 0
    waiting: dict[int, tuple[Part, Future[Array]]] = field(default_factory=dict)  # by number
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_for(self, number: int, part: Part) -> Array:
        """The logits of one rider's part, from the next pass."""
        answer: Future[Array] = Future()
        with self.lock:
            self.waiting[number] = (part, answer)
            self.go_if_all_wait()
        return answer.result()

    @contextmanager
    def seat(self) -> Iterator[None]:
        """A rider's place, taken before; when it is left, the others need not wait any more."""
        try:
            yield
        finally:
            with self.lock:
                self.riders -= 1
                self.go_if_all_wait()

    def go_if_all_wait(self) -> None:
        """Compute the pass, where the last one it waited for has come, or has left."""
        if not self.waiting or len(self.waiting) < self.riders:
            return
        asked = [self.waiting[number] for number in sorted(self.waiting)]
        self.waiting.clear()
        answers = iter(answer for _, answer in asked)
        for parts in within_rows([part for part, _ in asked], ROWS):
            try:
                for logits in forward_together(self.model, parts):
                    next(answers).set_result(logits)
            except BaseException as error:  # whatever it is, nobody may wait for ever
                for answer in answers:
                    answer.set_exception(error)
                return


@dataclass(frozen=True, repr=False)
class Rider(Llama):
    """The model as one of several who ride together: its forward is a part of the next pass."""

    ride: Ride | None = None
    number: int = 0  # the order of the rows in a pass

    def forward(
        self,
        tokens: Tokens,
        cache: KVCache | None = None,
        tap: Tap = no_tap,
        last_only: bool = False,
    ) -> Array:
        """As Llama's. What cannot be computed is refused here, and spoils nobody else's pass."""
        if tap is not no_tap or self.ride is None:  # a search for what is not finite: alone
            return super().forward(tokens, cache, tap, last_only)
        ids = check_tokens(tokens, self.config).tolist()
        cache = cache or self.new_cache(len(ids))
        cache.check_room(len(ids))
        return self.ride.wait_for(self.number, Part(ids, cache, last_only))


def ride_together(
    model: Llama, work: Callable[[Llama, T], R], items: Sequence[T], most: int
) -> Iterator[tuple[int, R]]:
    """`work(model, item)` of each item, at most `most` at a time, all in step.

    Yields (place in `items`, result) as they come. Raises what `work` raises.
    """
    ride = Ride(model)
    queue = iter(enumerate(items))
    results: list[Future[R]] = [Future() for _ in items]

    def take() -> tuple[int, T] | None:
        with ride.lock:
            return next(queue, None)

    def drive() -> None:
        with ride.seat():
            while (taken := take()) is not None:
                number, item = taken
                rider = Rider(model.config, model.weights, model.attention, ride, number)
                try:
                    results[number].set_result(work(rider, item))
                except BaseException as error:
                    results[number].set_exception(error)

    ride.riders = min(most, len(items))
    for _ in range(ride.riders):
        threading.Thread(target=drive, daemon=True).start()
    numbers = {future: number for number, future in enumerate(results)}
    yield from ((numbers[future], future.result()) for future in as_completed(results))
