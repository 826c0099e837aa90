"""The vocabulary inside a GGUF file: `gpt2` is byte-level BPE, `llama` is SentencePiece.

Keys and their defaults are those of llama.cpp, src/llama-vocab.cpp.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TokenizerError
from ..formats.gguf.header import read_header
from ..formats.storage.strict_json import shown
from .base import Settings, Tokenizer
from .bpe import BytePairTokenizer
from .bpe_spec import added_token, bpe_spec
from .files import MAX_TOKENS
from .pre_tokenizers import pre_tokenizer
from .spm.proto import CONTROL, NORMAL, USER_DEFINED, Piece, model_proto
from .spm.tokenizer import SentencePieceTokenizer

KEY = "tokenizer.ggml."
# Files from before tokenizer.ggml.eot_token_id name only the end of a text; a chat ends with these.
END_OF_TURN = ("<|eot_id|>", "<|im_end|>", "<|end|>")


class Vocabulary:
    """The checked keys of one file."""

    def __init__(self, metadata: dict[str, Any], source: Path):
        self.metadata, self.source = metadata, source
        self.tokens = self.strings("tokens")
        if not 1 <= len(self.tokens) <= MAX_TOKENS:
            raise TokenizerError(f"{source}: {KEY}tokens has {len(self.tokens)} tokens")
        # Padding is sometimes written as empty tokens, which no vocabulary can hold twice.
        self.tokens = [text or f"[EMPTY_{i}]" for i, text in enumerate(self.tokens)]
        if len(set(self.tokens)) != len(self.tokens):
            twice = next(text for text in self.tokens if self.tokens.count(text) > 1)
            raise TokenizerError(f"{source}: {KEY}tokens has {shown(twice)} twice")
        self.types = self.numbers("token_type", NORMAL)

    def strings(self, key: str) -> list[str]:
        """An array of strings, or TokenizerError when it is missing or something else."""
        value = self.metadata.get(KEY + key)
        if not isinstance(value, list):
            raise TokenizerError(f"{self.source}: the metadata {KEY}{key} must be a list of texts")
        return value

    def numbers(self, key: str, default: float) -> list[Any]:
        """An array with one number a token; `default` for each where the file has none."""
        value = self.metadata.get(KEY + key)
        if value is None:
            return [default] * len(self.tokens)
        if not isinstance(value, np.ndarray) or len(value) != len(self.tokens):
            raise TokenizerError(
                f"{self.source}: the metadata {KEY}{key} must have a number for each of the "
                f"{len(self.tokens)} tokens"
            )
        return list(value.tolist())

    def token(self, key: str, default: int | None = None) -> int | None:
        """A token id, or TokenizerError when it is no id of this vocabulary."""
        value = self.metadata.get(KEY + key, default)
        if value is None:
            return None
        if not isinstance(value, int) or not 0 <= value < len(self.tokens):
            raise TokenizerError(
                f"{self.source}: the metadata {KEY}{key} is {shown(value)}, "
                f"which is no id in 0 … {len(self.tokens) - 1}"
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        value = self.metadata.get(KEY + key, default)
        if not isinstance(value, bool):
            raise TokenizerError(
                f"{self.source}: the metadata {KEY}{key} is {shown(value)}, not a bool"
            )
        return value

    def of_type(self, kind: int) -> list[int]:
        """The ids of one type."""
        return [token for token, each in enumerate(self.types) if each == kind]

    def settings(self, bos: int | None, eos: int | None, adds_bos: bool) -> Settings:
        """BOS, EOS and chat template; `bos` … are what files without the keys mean."""
        ends = [self.token("eos_token_id", eos), self.token("eot_token_id", self.end_of_turn())]
        ends.append(self.token("eom_token_id"))
        template = self.metadata.get("tokenizer.chat_template")
        if template is not None and not isinstance(template, str):
            raise TokenizerError(f"{self.source}: tokenizer.chat_template is not a text")
        return Settings(
            bos_id=self.token("bos_token_id", bos),
            eos_ids=tuple(dict.fromkeys(token for token in ends if token is not None)),
            adds_bos=self.flag("add_bos_token", adds_bos),
            chat_template=template,
        )

    def end_of_turn(self) -> int | None:
        """The control token that ends a turn by its name."""
        control = {self.tokens[token]: token for token in self.of_type(CONTROL)}
        return next((control[name] for name in END_OF_TURN if name in control), None)


def byte_pair(vocab: Vocabulary) -> BytePairTokenizer:
    """The tokenizer of a `gpt2` vocabulary."""
    name = vocab.metadata.get(KEY + "pre")
    rule = pre_tokenizer(name, vocab.source)
    merges = vocab.strings("merges")
    if wrong := next((merge for merge in merges if merge.count(" ") != 1), None):
        raise TokenizerError(f"{vocab.source}: {KEY}merges has {shown(wrong)}, which is no pair")
    control, user = vocab.of_type(CONTROL), vocab.of_type(USER_DEFINED)
    added = [added_token(token, vocab.tokens[token], special=True) for token in control]
    added += [added_token(token, vocab.tokens[token], special=False) for token in user]
    added.sort(key=lambda entry: entry["id"])
    ids = {text: token for token, text in enumerate(vocab.tokens)}
    spec = bpe_spec(ids, merges, added, rule)
    settings = vocab.settings(None, None, rule.adds_bos)
    return BytePairTokenizer(json.dumps(spec), settings, vocab.source, str(name))


def sentence_piece(vocab: Vocabulary) -> SentencePieceTokenizer:
    """The tokenizer of a `llama` vocabulary: the pieces of a SentencePiece BPE model."""
    scores = vocab.numbers("scores", 0.0)
    pieces = [Piece(*each) for each in zip(vocab.tokens, scores, vocab.types, strict=True)]
    settings = vocab.settings(1, 2, adds_bos=True)
    proto = model_proto(
        pieces,
        add_dummy_prefix=vocab.flag("add_space_prefix", True),
        remove_extra_whitespaces=vocab.flag("remove_extra_whitespaces", False),
    )
    return SentencePieceTokenizer(proto, settings, vocab.source)


def read_gguf_vocab(path: Path) -> Tokenizer:
    """The tokenizer in a GGUF file. Raises TokenizerError, CheckpointError for a broken file."""
    metadata = read_header(path).metadata
    match metadata.get(KEY + "model"):
        case "gpt2":
            return byte_pair(Vocabulary(metadata, path))
        case "llama":
            return sentence_piece(Vocabulary(metadata, path))
        case None:
            raise TokenizerError(f"{path}: has no tokenizer ({KEY}model is missing)")
        case other:
            raise TokenizerError(
                f"{path}: the tokenizer {KEY}model {shown(other)} is not supported; "
                "gpt2 and llama are"
            )
