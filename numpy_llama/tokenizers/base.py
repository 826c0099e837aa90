"""Tokenizer: what every vocabulary can do, whatever file it came from."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

from ..errors import InputError
from .streaming import TextStream


@dataclass(frozen=True)
class Settings:
    """What the model's files say about the use of its vocabulary."""

    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()  # any of them ends a generation
    adds_bos: bool = False  # whether a prompt begins with bos_id
    chat_template: str | None = None  # Jinja


def checked_text(text: str) -> str:
    """`text`, or InputError where it holds half of a surrogate pair, which UTF-8 cannot carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character "
            f"{error.start}; it is not valid Unicode"
        ) from None
    return text


def readable(data: bytes) -> str:
    """Bytes as text, or as <0xE2><0x82> where they are no whole characters."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


class Tokenizer(ABC):
    """Text to ids and back.

    A kind of vocabulary gives three things: `encode_text`, the bytes of an id, and the name of an
    id that has no bytes (a control token). All else follows from them, here.
    """

    kind: str  # for people: "SentencePiece", "byte-level BPE (smollm)"
    vocab_size: int  # ids are 0 … vocab_size - 1
    strips: int = 0  # leading spaces that decoding drops; see TextStream

    def __init__(self, settings: Settings):
        self.settings = settings

    @property
    def bos_id(self) -> int | None:
        """The token that a sequence begins with, if the vocabulary has one."""
        return self.settings.bos_id

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a generation."""
        return self.settings.eos_ids

    @property
    def adds_bos(self) -> bool:
        """Whether the model's files ask for `bos_id` before a prompt."""
        return self.settings.adds_bos and self.settings.bos_id is not None

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja template of a conversation."""
        return self.settings.chat_template

    @abstractmethod
    def encode_text(self, text: str, special: bool) -> list[int]:
        """The ids of valid Unicode, without BOS."""

    @abstractmethod
    def id_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes that an id of the vocabulary stands for; b"" for a control token."""

    @abstractmethod
    def id_name(self, token: int) -> str:
        """How the vocabulary's file writes an id of the vocabulary."""

    @abstractmethod
    def control_ids(self) -> dict[str, int]:
        """The control tokens by name: what `special` reads as tokens, and nobody may forge."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write Hugging Face tokenizer files, which `load_tokenizer` reads back to an equal one."""

    def encode(self, text: str, *, add_bos: bool | None = None, special: bool = False) -> list[int]:
        """The ids of `text`.

        add_bos: None does as the model's files say. special: whether "<|eot_id|>" in the text is
        that token; by default it is ten characters of text, so that no user can forge one.
        Raises InputError for a lone surrogate, and for a BOS that the vocabulary does not have.
        """
        if add_bos and self.bos_id is None:
            raise InputError(f"this {self.kind} vocabulary has no BOS token to add")
        ids = self.encode_text(checked_text(text), special)
        wants_bos = self.adds_bos if add_bos is None else add_bos
        return [self.bos_id, *ids] if wants_bos and self.bos_id is not None else ids

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of `ids`, control tokens left out. Raises InputError for an unknown id."""
        stream = TextStream(self.token_bytes, self.strips)
        return "".join([stream.push(token) for token in ids]) + stream.finish()

    def stream(self, prompt_ids: Iterable[SupportsIndex] = ()) -> TextStream:
        """A decoder that continues `prompt_ids`: their text, then its output, is the whole text.

        A prompt that stops inside a character is the exception: the first push completes it.
        What is pushed is a model's output: an id past the vocabulary, of a row that only pads the
        model's matrices, is no text. In `prompt_ids` it raises InputError.
        """
        stream = TextStream(self.output_bytes, self.strips)
        for token in prompt_ids:
            stream.push(self.checked_id(token))
        return stream

    def pieces(self, ids: Iterable[SupportsIndex]) -> list[str]:
        """One readable piece for each id: its text, its bytes as <0xE2>, or its name."""
        tokens = [self.checked_id(token) for token in ids]
        return [readable(self.id_bytes(token)) or self.id_name(token) for token in tokens]

    def output_bytes(self, token: SupportsIndex) -> bytes:
        """`token_bytes` of what a model gave, which may have more rows than there are pieces."""
        return b"" if operator.index(token) >= self.vocab_size else self.token_bytes(token)

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """`id_bytes` of anything that is an integer."""
        return self.id_bytes(self.checked_id(token))

    def checked_id(self, token: SupportsIndex) -> int:
        """`token` as an int, or InputError unless it is an id of the vocabulary."""
        try:
            index = -1 if isinstance(token, bool) else operator.index(token)
        except TypeError:
            index = -1
        if not 0 <= index < self.vocab_size:
            raise InputError(
                f"token id {token!r} is outside of the vocabulary 0 … {self.vocab_size - 1}"
            )
        return index
