"""Runs of differently changed models side by side, which share the products with its matrices.

Each run goes in a thread of its own, by the same code as if it were alone, but only one of them
moves at a time. It moves until it comes to a product with a large matrix of the model, or ends.
When all wait, the matrix that comes first in the model is multiplied by the rows of all who wait
for it. So which rows meet depends on the runs alone, never on the speed of threads: the values
repeat to the bit. A run that ends, raises, or uses no matrix of the model keeps nobody waiting.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ....model import Llama
from ....parameters import LayerWeights
from .meeting import Place, Shared, here, place_of

ROWS = 256  # of one product: with more it is hardly faster a row, and takes memory
MOST = 8  # runs at once

T = TypeVar("T")
Item = TypeVar("Item")


class Asked(NamedTuple):
    """A product that a run waits for."""

    number: int  # of the matrix, in the order of the model
    place: Place
    rows: np.ndarray  # (L, in)
    matrix: np.ndarray  # (in, out)


def locked() -> threading.Lock:
    """A lock that the next to ask for waits for."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class Member(Generic[T]):
    """One of the runs: what it waits for, and what came of it."""

    work: Callable[[], T]
    group: "Group"
    asked: Asked | None = None
    answer: np.ndarray | BaseException | None = None
    result: list[T] = field(default_factory=list)  # one, when it has ended
    error: BaseException | None = None
    may_move: threading.Lock = field(default_factory=locked)

    def drive(self) -> None:
        """The whole run, in its thread."""
        self.may_move.acquire()
        here.member = self
        try:
            self.result.append(self.work())
        except BaseException as error:  # whatever it is, the others go on
            self.error = error
        self.asked = None
        self.group.let_another_move()

    def product(self, rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """rows · matrix; made together with others, if the matrix is the model's."""
        place = place_of(matrix)
        number = self.group.shared.numbers.get(place)
        fits = type(rows) is np.ndarray and rows.ndim == 2 and rows.shape[-1] == len(matrix)
        if number is None or not fits or rows.dtype != matrix.dtype:
            return np.matmul(rows, matrix)
        self.asked = Asked(number, place, rows, matrix)
        self.group.let_another_move()
        self.may_move.acquire()
        answer, self.answer = self.answer, None
        if isinstance(answer, np.ndarray):
            return answer
        raise answer or RuntimeError("a product without an outcome")


class Group:
    """Runs of which one moves at a time."""

    def __init__(
        self, shared: Shared, works: Sequence[Callable[[], Any]], given_up: threading.Event
    ):
        self.shared, self.given_up = shared, given_up
        self.members = [Member(work, self) for work in works]
        self.next = deque(self.members)
        self.have_ended = locked()

    def let_another_move(self) -> None:
        """By a run that waits or has ended. The last of all that may move makes a product."""
        if not self.next:
            self.serve()
        if self.next:
            self.next.popleft().may_move.release()
        else:
            self.have_ended.release()

    def serve(self) -> None:
        """Make the product that comes first in the model, for all who wait for it."""
        asked = [(member, member.asked) for member in self.members if member.asked]
        if not asked:
            return
        _, first = min(asked, key=lambda one: one[1].number)
        those = [(member, of.rows) for member, of in asked if of.place == first.place]
        answers: Sequence[np.ndarray | BaseException] = [CancelledError()] * len(those)
        if not self.given_up.is_set():
            answers = multiplied(first, [rows for _, rows in those])
        for (member, _), answer in zip(those, answers, strict=True):
            member.asked, member.answer = None, answer
            self.next.append(member)


def multiplied(asked: Asked, rows: Sequence[np.ndarray]) -> Sequence[np.ndarray | BaseException]:
    """All these rows times the matrix that was asked for; or why not, told to each."""
    try:
        with np.errstate(all="ignore"):  # a faulty model may overflow; the judge will see it
            product = np.concatenate(rows) @ asked.matrix
        return np.split(product, list(accumulate(map(len, rows)))[:-1])
    except BaseException as error:  # nobody may wait for ever
        return [error] * len(rows)


def this_member() -> Member[Any] | None:
    """The run whose thread this is; None where there are no others beside it."""
    return getattr(here, "member", None)


def met_by_all(model: Llama) -> Llama:
    """The model as this thread's run sees it; the model itself, where there is no other run."""
    member = this_member()
    return member.group.shared.as_met if member and member.group.shared.model is model else model


def changed_once(
    how: Callable[[LayerWeights, int], LayerWeights], layer: LayerWeights, i: int
) -> LayerWeights:
    """`how(layer, i)`, a change of layer i, that runs side by side make once for all of them."""
    member = this_member()
    return member.group.shared.change(how, layer, i) if member else how(layer, i)


def side_by_side(
    model: Llama, works: Sequence[Callable[[], T]], given_up: threading.Event | None = None
) -> list[T]:
    """What each of `works` returns; in them, `met_by_all(model)` is the model to change and run.

    given_up: when it is set, each ends at its next product. Raises what the first of them raised
    that did, when all have ended: CancelledError where they were given up.
    """
    if len(works) == 1:
        return [works[0]()]
    group = Group(Shared(model), works, given_up or threading.Event())
    for member in group.members:
        threading.Thread(target=member.drive, daemon=True).start()
    group.let_another_move()
    group.have_ended.acquire()
    for member in group.members:
        if member.error:
            raise member.error
    return [member.result[0] for member in group.members]


def in_groups(items: Sequence[Item], rows: int) -> list[Sequence[Item]]:
    """Runs of so many rows each, divided in groups to be made side by side.

    By their number and rows alone, and not by that of processors, which may not change a bit. At
    least two, for two processors; each has as many as the others, give or take one.
    """
    n, most = len(items), min(max(ROWS // rows, 1), MOST)
    groups = max(-(-n // most), min(n, 2))
    return [items[n * i // groups : n * (i + 1) // groups] for i in range(groups)]
