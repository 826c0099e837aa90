"""SentencePiece vocabularies (Llama 1 and 2, Mistral, TinyLlama), through `sentencepiece`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import TokenizerError
from ...formats.storage.strict_json import shown
from ..base import Settings, Tokenizer
from ..files import MAX_TOKENS, read_bytes, read_object, write_bytes
from ..hf_settings import read_settings, write_settings
from ..streaming import ALL_SPACES
from .proto import read_proto

SPACE = "\u2581"  # ▁
ID = re.compile("[0-9]{1,10}")  # int() refuses more than 4,300 digits with a ValueError


@dataclass(frozen=True)
class AddedToken:
    """A token that was given to a vocabulary after its training, beside the model file."""

    text: str
    special: bool  # a control token: not shown, and text in a prompt unless it was asked for


def build_processor(proto: bytes, source: Path) -> Any:
    """The SentencePieceProcessor of a model file."""
    import sentencepiece  # here, because it takes longer to import than `llama-np --help` may

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(proto)
    except RuntimeError as error:
        raise TokenizerError(
            f"{source}: not a usable SentencePiece model: {str(error)[:200]}"
        ) from None
    return processor


class SentencePieceTokenizer(Tokenizer):
    """A tokenizer.model, and the tokens that were added to it."""

    kind = "SentencePiece"

    def __init__(
        self,
        proto: bytes,
        settings: Settings,
        source: Path,
        added: dict[int, AddedToken] | None = None,
    ):
        super().__init__(settings)
        normalizer = read_proto(proto, source)
        # Decoding takes back what encoding put before the text.
        self.strips = int(normalizer.add_dummy_prefix)
        if normalizer.remove_extra_whitespaces:
            self.strips = ALL_SPACES
        self._proto = proto
        self._processor = build_processor(proto, source)
        # Lists of added tokens repeat <unk>, <s> and </s>; the model file knows them better.
        size = self._processor.piece_size()
        self._added = {token: each for token, each in (added or {}).items() if token >= size}
        self.vocab_size = max([self._processor.piece_size() - 1, *self._added]) + 1
        self._ids = {each.text: token for token, each in self._added.items()}

    def control_ids(self) -> dict[str, int]:
        """The control tokens by name, those of the model file and those added."""
        sp = self._processor
        own = {sp.id_to_piece(i): i for i in range(sp.piece_size()) if sp.is_control(i)}
        return own | {text: i for text, i in self._ids.items() if self._added[i].special}

    def own_bos_and_eos(self) -> tuple[int | None, int | None]:
        """The ids that the model file itself gives to the begin and the end of a text."""
        bos, eos = self._processor.bos_id(), self._processor.eos_id()  # -1: has none
        return (bos if bos >= 0 else None), (eos if eos >= 0 else None)

    def token_id(self, text: str) -> int | None:
        """The id of a token by its text, None where there is no such token."""
        if text in self._ids:
            return self._ids[text]
        token = self._processor.piece_to_id(text)
        return token if self._processor.id_to_piece(token) == text else None

    def cut(self, text: str, special: bool) -> Iterator[str | int]:
        """`text` as stretches of plain text, and ids where a token stands as itself."""
        names = {text: i for text, i in self._ids.items() if special or not self._added[i].special}
        if special:
            names |= self.control_ids()
        if not names:
            yield text
            return
        longest_first = sorted(names, key=len, reverse=True)
        for part in re.split(f"({'|'.join(map(re.escape, longest_first))})", text):
            yield names.get(part, part)

    def encode_text(self, text: str, special: bool) -> list[int]:
        ids: list[int] = []
        for part in self.cut(text, special):
            ids.extend([part] if isinstance(part, int) else self._processor.encode(part))
        return ids

    def id_bytes(self, token: int) -> bytes:
        if added := self._added.get(token):
            return b"" if added.special else added.text.encode("utf-8")
        sp = self._processor
        if token >= sp.piece_size() or sp.is_control(token):
            return b""
        if sp.is_unknown(token):
            return str(sp.decode([token])).encode("utf-8")  # " ⁇ ", or what the model file says
        text: str = sp.id_to_piece(token)
        if sp.is_byte(token):
            return bytes([int(text[3:5], 16)])
        return text.replace(SPACE, " ").encode("utf-8")

    def id_name(self, token: int) -> str:
        if added := self._added.get(token):
            return added.text
        known = token < self._processor.piece_size()
        return self._processor.id_to_piece(token) if known else f"<unassigned {token}>"

    def save(self, directory: Path) -> None:
        write_bytes(directory / "tokenizer.model", self._proto)
        added = {
            str(token): {"content": each.text, "special": each.special, "normalized": False}
            for token, each in sorted(self._added.items())
        }
        extra = {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": added}
        write_settings(directory, self.settings, self.id_name, extra)


def added_tokens(directory: Path) -> dict[int, AddedToken]:
    """The tokens that added_tokens.json and tokenizer_config.json list beside a vocabulary."""
    source = directory / "added_tokens.json"
    found: dict[int, AddedToken] = {}
    for text, token in read_object(source).items():
        if type(token) is not int:
            raise TokenizerError(f"{source}: {shown(text)} has the id {shown(token)}")
        found[token] = AddedToken(text, special=True)
    config = directory / "tokenizer_config.json"
    listed = read_object(config).get("added_tokens_decoder") or {}
    if not isinstance(listed, dict):
        raise TokenizerError(f"{config}: added_tokens_decoder must be an object")
    for key, entry in listed.items():
        content = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(content, str) or not ID.fullmatch(key):
            raise TokenizerError(f"{config}: added_tokens_decoder has {shown(key)}: {shown(entry)}")
        found[int(key)] = AddedToken(content, bool(entry.get("special")))
    for token, each in found.items():
        if not 0 <= token < MAX_TOKENS or not each.text:
            raise TokenizerError(
                f"{directory}: the added token {shown(each.text)} has the id {shown(token)}"
            )
    return found


def read_tokenizer_model(path: Path) -> SentencePieceTokenizer:
    """The tokenizer of a SentencePiece file and of the settings beside it."""
    tokenizer = SentencePieceTokenizer(
        read_bytes(path), Settings(), path, added_tokens(path.parent)
    )
    bos, eos = tokenizer.own_bos_and_eos()
    default = Settings(bos_id=bos, eos_ids=() if eos is None else (eos,), adds_bos=True)
    tokenizer.settings = read_settings(path.parent, tokenizer.token_id, default)
    return tokenizer
