"""Llama 3's `tokenizer.model`: lines of a token in base64 and its rank, as OpenAI's tiktoken reads.

The special tokens and their numbers are not in the file; Meta's code has them
(llama-models, llama3/tokenizer.py): they follow the ranks, 256 in all.
"""

import base64
import json
import re
from pathlib import Path

from ..errors import TokenizerError
from .base import Settings
from .bpe import BytePairTokenizer
from .bpe_spec import LETTER_OF, added_token, bpe_spec
from .files import read_bytes
from .hf_settings import read_settings
from .pre_tokenizers import PRE_TOKENIZERS

LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,8})")

N_SPECIAL = 256
NAMED = (  # by their place after the ranks; every other is a reserved one
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
)
ENDS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")  # Meta's stop_tokens


def looks_like_tiktoken(head: bytes) -> bool:
    """Whether a file that begins so is this format (a SentencePiece file begins with 0x0A)."""
    return LINE.fullmatch(head.split(b"\n", 1)[0].rstrip(b"\r")) is not None


def special_tokens() -> list[str]:
    """The texts of the special tokens, in the order of their ids."""
    reserved = range(2, N_SPECIAL - len(NAMED) + 2)
    return [*NAMED, *(f"<|reserved_special_token_{i}|>" for i in reserved)]


def parse_ranks(data: bytes, source: Path) -> list[bytes]:
    """The tokens in the order of their ranks, which must be 0, 1, 2, …"""
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        parts = LINE.fullmatch(line)
        if not parts:
            raise TokenizerError(f"{source}: line {number} is not a token in base64 and its rank")
        try:
            token, rank = base64.b64decode(parts[1], validate=True), int(parts[2])
        except ValueError as error:
            raise TokenizerError(f"{source}: line {number} is not base64: {error}") from None
        if tokens.setdefault(rank, token) is not token:
            raise TokenizerError(f"{source}: line {number} has the rank {rank} of another token")
    if sorted(tokens) != list(range(len(tokens))):
        gap = next(rank for rank in range(len(tokens)) if rank not in tokens)
        raise TokenizerError(f"{source}: no token has the rank {gap}, so later ids are in doubt")
    return [tokens[rank] for rank in range(len(tokens))]


def check_tokens(tokens: list[bytes], source: Path) -> None:
    """Raise TokenizerError unless the tokens differ and can spell every byte."""
    if len(set(tokens)) != len(tokens):
        raise TokenizerError(f"{source}: a token is there twice")
    missing = set(range(256)) - {token[0] for token in tokens if len(token) == 1}
    if missing:
        raise TokenizerError(f"{source}: no token for the byte 0x{min(missing):02X}")


def letters(token: bytes) -> str:
    """Bytes in BPE's letters, one for each."""
    return token.decode("latin-1").translate(LETTER_OF)


def merges_of(ranks: dict[str, int]) -> list[str]:
    """The merges that give tiktoken's ids.

    tiktoken joins the two neighbours whose union has the lowest rank; BPE takes merges in the
    order of a list. So every way to halve a token into two tokens is a merge, in its rank's order.
    """
    merges = []
    for token in ranks:
        halves = ((token[:i], token[i:]) for i in range(1, len(token)))
        known = [(ranks[a], ranks[b], f"{a} {b}") for a, b in halves if a in ranks and b in ranks]
        merges += [merge for *_, merge in sorted(known)]
    return merges


def read_tiktoken_model(path: Path) -> BytePairTokenizer:
    """The tokenizer of Llama 3's `tokenizer.model` and of the settings beside it, if any."""
    tokens = parse_ranks(read_bytes(path), path)
    check_tokens(tokens, path)
    vocab = {letters(token): rank for rank, token in enumerate(tokens)}
    ids = {text: len(tokens) + i for i, text in enumerate(special_tokens())}
    added = [added_token(token, text, special=True) for text, token in ids.items()]
    spec = bpe_spec(vocab | ids, merges_of(vocab), added, PRE_TOKENIZERS["llama-bpe"])
    ends = tuple(ids[text] for text in ENDS)
    default = Settings(bos_id=ids[NAMED[0]], eos_ids=ends, adds_bos=True)
    tokenizer = BytePairTokenizer(json.dumps(spec), default, path, "tiktoken")
    tokenizer.settings = read_settings(path.parent, tokenizer.token_id, default)
    return tokenizer
