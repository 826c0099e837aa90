"""What a choice is: what a right program may do to be small or fast."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ....model import Llama
from ..fault import Change, Fault


def always(model: Llama) -> bool:
    """Most choices change every model."""
    return True


@dataclass(frozen=True)
class Choice(Fault):
    """What a right program may do, though it changes the values."""

    ways: tuple[Change, ...] = ()  # how else it is done
    changes: Callable[[Llama], bool] = always  # whether it shows in a model of these weights
    far: bool = False  # its ways are too far apart for one to show that it may be another

    @property
    def each_way(self) -> list["Choice"]:
        """This choice, made in each of its ways."""
        return [dataclasses.replace(self, apply=way, ways=()) for way in (self.apply, *self.ways)]


def choice(id: str, does: str, mathematics: str, seen_in: str, *ways: Change, **how: Any) -> Choice:
    """A choice of the list."""
    mend = f"Nothing, if it is meant: declare it with --allow {id}."
    return Choice(id, "choices", does, mathematics, seen_in, mend, ways[0], ways=ways[1:], **how)
