"""Tokenizers and the settings beside them: of each a small valid file, and what uses it."""

import json
from collections.abc import Callable
from pathlib import Path

from numpy_llama.tokenizers import load_tokenizer
from numpy_llama.tokenizers.spm.proto import field
from tests.fuzz.format import Build, Format
from tests.fuzz.mutate import Mutate, mutated_bytes, mutated_json
from tests.malformed.test_charsmap import table_of
from tests.malformed.test_tokenizers import added, spec
from tests.tiny import train_sentencepiece
from tests.tokenizers.vocabularies import llama2c_bytes, tiktoken_lines

SETTINGS = {
    "tokenizer_config.json": {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "add_bos_token": True,
        "chat_template": [{"name": "default", "template": "{{ messages }}"}],
        "added_tokens_decoder": {"400": {"content": "<x>", "special": True}},
    },
    "generation_config.json": {"bos_token_id": 1, "eos_token_id": [2, 3]},
    "added_tokens.json": {"<x>": 400, "<y>": 401},
}


def use_tokenizer(folder: Path) -> None:
    """It encodes, decodes every id of its own, and streams."""
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("Once a llama 🦙\n  12", special=True)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    tokenizer.decode(list(range(min(tokenizer.vocab_size, 300))))
    stream = tokenizer.stream([])
    assert isinstance("".join(map(stream.push, ids)) + stream.finish(), str)


def file_of(
    name: str, seed: Callable[[], bytes], mutate: Mutate = mutated_bytes, beside: bool = False
) -> Build:
    """A format that is one file; `beside`: of a SentencePiece model."""

    def use(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        use_tokenizer(folder)

    def build(folder: Path) -> Format:
        if beside:
            (folder / "tokenizer.model").write_bytes(train_sentencepiece())
        return Format(seed(), use, mutate)

    return build


def charsmap(folder: Path) -> Format:
    """The table alone is damaged: of a model that makes one character of several."""
    rules = folder / "rules.tsv"
    rules.write_text("0041\t0061\n00BD\t0031 002F 0032\n0065 0301\t00E9\n")
    trained = train_sentencepiece(normalization_rule_tsv=str(rules))

    def use(folder: Path, content: bytes) -> None:
        model = train_sentencepiece() + field(3, field(2, content))
        (folder / "tokenizer.model").write_bytes(model)
        use_tokenizer(folder)

    return Format(table_of(trained), use)


FORMATS: dict[str, Build] = {
    "SentencePiece": file_of("tokenizer.model", train_sentencepiece),
    "SentencePiece's charsmap": charsmap,
    "tiktoken": file_of("tokenizer.model", lambda: b"".join(tiktoken_lines()[:300])),
    "tokenizer.json": file_of(
        "tokenizer.json", lambda: json.dumps(spec(added_tokens=added(3))).encode(), mutated_json
    ),
    "llama2c's tokenizer.bin": file_of(
        "tokenizer.bin", lambda: llama2c_bytes(train_sentencepiece())
    ),
    **{
        name: file_of(name, lambda value=value: json.dumps(value).encode(), mutated_json, True)  # type: ignore[misc]
        for name, value in SETTINGS.items()
    },
}
