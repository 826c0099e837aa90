"""tokenizer.json: written from a vocabulary and merges, and checked before Rust code sees it."""

import re
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..formats.storage.strict_json import shown
from .files import MAX_TOKENS
from .pre_tokenizers import BYTE_LEVEL, PreTokenizer, as_json

SPACE = "\u2581"  # ▁, SentencePiece's visible space
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_letters() -> dict[int, str]:
    """GPT-2's 256 letters for bytes: printable ones stand for themselves, others from Ā on.

    So that a vocabulary is a list of visible words: a space is Ġ, a newline is Ċ.
    Radford et al. 2019, encoder.py.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


LETTER_OF = byte_letters()
BYTE_OF = {letter: byte for byte, letter in LETTER_OF.items()}


def added_token(token: int, text: str, special: bool) -> dict[str, Any]:
    """One entry of "added_tokens": matched in the text before anything is cut."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, **plain, "special": special}


def bos_template(bos: int, name: str) -> dict[str, Any]:
    """The post-processor that puts BOS before a text."""

    def special(sequence: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": sequence}}

    def text(letter: str, sequence: int) -> dict[str, Any]:
        return {"Sequence": {"id": letter, "type_id": sequence}}

    return {
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}},
    }


def bpe_spec(
    vocab: dict[str, int],
    merges: list[str],
    added: list[dict[str, Any]],
    rule: PreTokenizer,
) -> dict[str, Any]:
    """The tokenizer.json of a byte-level BPE vocabulary."""
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": rule.whole_words,
        "vocab": vocab,
        "merges": merges,  # "a b": letters for bytes leave the space free
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": as_json(rule),
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": model,
    }


def is_id(value: object) -> bool:
    """Whether a JSON value can be a token id."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def check_vocab(vocab: object, source: Path) -> dict[str, int]:
    """The vocabulary of a tokenizer.json; TokenizerError when empty, or an id is none or twice."""
    if not isinstance(vocab, dict) or not vocab:
        raise TokenizerError(f"{source}: model.vocab must be an object of tokens, and not empty")
    seen: dict[int, str] = {}
    for text, token in vocab.items():
        if not is_id(token):
            raise TokenizerError(f"{source}: model.vocab gives {shown(text)} the id {shown(token)}")
        if token in seen:
            raise TokenizerError(
                f"{source}: model.vocab gives {shown(text)} and {shown(seen[token])} "
                f"the same id {token}"
            )
        seen[token] = text
    return vocab


def check_merges(model: dict[str, Any], vocab: dict[str, int], source: Path) -> None:
    """TokenizerError for a merge that gives no token: the package would panic, on stderr.

    Wrong types are left to it; so are merges of tokens with a prefix, which no Llama has.
    """
    merges = model.get("merges")
    if not isinstance(merges, list) or model.get("continuing_subword_prefix"):
        return
    for merge in merges:
        text = merge.replace(" ", "") if isinstance(merge, str) else merge
        if isinstance(merge, list) and all(isinstance(part, str) for part in merge):
            text = "".join(merge)
        if isinstance(text, str) and text not in vocab:
            raise TokenizerError(
                f"{source}: the merge {shown(merge)} gives {shown(text)}, which is no token"
            )


def check_added(added: Any, vocab: dict[str, int], source: Path) -> list[dict[str, Any]]:
    """The added tokens of a tokenizer.json; TokenizerError where one contradicts the vocabulary."""
    if not isinstance(added, list):
        raise TokenizerError(f"{source}: added_tokens must be a list, not {type(added).__name__}")
    taken = {token: text for text, token in vocab.items()}
    for entry in added:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise TokenizerError(f"{source}: added_tokens holds {shown(entry)}, which is no token")
        token, text = entry.get("id", -1), entry["content"]
        if not text or not is_id(token):
            raise TokenizerError(f"{source}: added token {shown(text)} has the id {shown(token)}")
        if taken.setdefault(token, text) != text:
            raise TokenizerError(
                f"{source}: added token {shown(text)} has the id {token} of {shown(taken[token])}"
            )
    return added


def check_spec(spec: object, source: Path) -> dict[str, Any]:
    """A parsed tokenizer.json, or TokenizerError naming what is wrong or not understood."""
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise TokenizerError(f"{source}: has no model, so it is not a tokenizer.json")
    model = spec["model"]
    if (kind := model.get("type", "BPE")) != "BPE":
        raise TokenizerError(f"{source}: model.type {shown(kind)} is not supported; BPE is")
    if model.get("dropout"):
        raise TokenizerError(f"{source}: model.dropout {model['dropout']} makes ids random")
    vocab = check_vocab(model.get("vocab"), source)
    check_merges(model, vocab, source)
    check_added(spec.get("added_tokens") or [], vocab, source)
    return spec


def decoder_steps(decoder: object) -> list[dict[str, Any]]:
    """The steps of a decoder: those of a Sequence, or the one."""
    if not isinstance(decoder, dict):
        return []
    steps = decoder.get("decoders") if decoder.get("type") == "Sequence" else [decoder]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def decoding(spec: dict[str, Any], source: Path) -> tuple[bool, int]:
    """How ids become text: whether tokens are in byte letters, and how many leading spaces go.

    Llama's tokenizer.json files have one of three decoders: ByteLevel; SentencePiece's in steps
    (▁ to space, <0xE2> to its byte, fuse, strip one space); or Metaspace. Others are refused.
    """
    letters, strip, known = False, 0, False
    space = {"pattern": {"String": SPACE}, "content": " "}
    for step in decoder_steps(spec.get("decoder")):
        match step.get("type"):
            case "ByteLevel":
                letters = known = True
            case "Replace" if space.items() <= step.items():
                known = True
            case "Metaspace" if step.get("replacement") == SPACE:
                known, strip = True, 0 if step.get("prepend_scheme") == "never" else 1
            case "Strip" if step.get("content") == " " and step.get("stop") == 0:
                strip = int(step.get("start", 0))
            case "ByteFallback" | "Fuse":
                pass
            case other:
                raise TokenizerError(f"{source}: the decoder step {shown(other)} is not understood")
    if not known:
        raise TokenizerError(f"{source}: has no decoder that makes text of its tokens")
    return letters, strip


def token_bytes(text: str, letters: bool) -> bytes:
    """The UTF-8 bytes that a token of the vocabulary stands for."""
    if letters and all(letter in BYTE_OF for letter in text):
        return bytes([BYTE_OF[letter] for letter in text])
    if not letters and (byte := BYTE_PIECE.fullmatch(text)):
        return bytes([int(byte[1], 16)])
    return (text if letters else text.replace(SPACE, " ")).encode("utf-8")
