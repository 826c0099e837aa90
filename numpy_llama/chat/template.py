"""Template: what turns a conversation into the text that a model was trained on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from .messages import Message


class Template(ABC):
    """A way to write conversations down. Some hold a process: use it in `with`, or close it."""

    name: str  # for people
    ends: tuple[str, ...] = ()  # what it writes after an answer, besides EOS

    @abstractmethod
    def render(self, messages: Sequence[Message]) -> str:
        """The text of `messages`, up to where the model's answer begins."""

    def close(self) -> None:
        """Release what it holds."""
        return  # most hold nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
