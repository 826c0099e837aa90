"""Valid Hugging Face files and tokenizers, mutated: each is refused in our words, or read.

The other formats are mutated beside their own malformed cases.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.errors import InputError, TokenizerError
from numpy_llama.formats.huggingface import read as huggingface
from numpy_llama.formats.huggingface.config import config_to_hf
from numpy_llama.formats.huggingface.read import CONFIG, INDEX, SINGLE, hf_name
from numpy_llama.formats.huggingface.safetensors import make_header
from numpy_llama.tokenizers import load_tokenizer
from tests.hostile import EXAMPLES, frugal, load_or_refuse, mutations, swift
from tests.malformed.test_tokenizers import added, spec
from tests.models import random_tensors, tiny_config
from tests.tiny import train_sentencepiece
from tests.tokenizers.vocabularies import llama2c_bytes, tiktoken_lines

SMALL = tiny_config(
    n_layers=1, dim=8, hidden_dim=2, head_dim=2, n_heads=2, n_kv_heads=1, vocab_size=3
)
TENSORS = [
    (hf_name(name), "F32", array.shape, array)
    for name, array in random_tensors(SMALL, dtype="f4").items()
]
SHARD = make_header(TENSORS, {"format": "pt"}) + b"".join(a.tobytes() for *_, a in TENSORS)

# What a field of JSON may hold that nobody expects.
ODD = [None, True, -1, 0, 1.5, 1e308, 2**63, 10**30, "", "..", "\ud800", [], [[]], {}, {"a": []}]


@st.composite
def json_mutations(draw: st.DrawFn, original: Any) -> bytes:
    """JSON with a value replaced or left out somewhere in its tree, or mutated as bytes."""
    text = json.dumps(original)
    if draw(st.booleans()):
        return draw(mutations(text.encode()))
    value = at = json.loads(text)
    while True:
        keys = sorted(at) if isinstance(at, dict) else range(len(at))
        key = draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
            break
        at = at[key]
    if draw(st.integers(0, 4)):
        at[key] = draw(st.sampled_from(ODD))
    else:
        del at[key]
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one file of weights; tests replace a file and put it back."""
    folder = tmp_path_factory.mktemp("single")
    (folder / CONFIG).write_text(json.dumps(config_to_hf(SMALL)))
    (folder / SINGLE).write_bytes(SHARD)
    assert load_or_refuse(huggingface.read, folder)
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an index."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / CONFIG).write_text(json.dumps(config_to_hf(SMALL)))
    (folder / "a.safetensors").write_bytes(SHARD)
    (folder / INDEX).write_text(json.dumps(index_of()))
    assert load_or_refuse(huggingface.read, folder)
    return folder


def index_of() -> dict[str, Any]:
    return {"metadata": {"total_size": 0}, "weight_map": {n: "a.safetensors" for n, *_ in TENSORS}}


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_mutated_safetensors(single: Path, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from([len(SHARD) - 900, len(SHARD)]))  # more often in the header
    (single / SINGLE).write_bytes(data.draw(mutations(SHARD[:split])) + SHARD[split:])
    with frugal(), swift(seconds=5):
        load_or_refuse(huggingface.read, single)


@settings(max_examples=EXAMPLES)
@given(content=json_mutations(config_to_hf(SMALL)))
def test_mutated_config(single: Path, content: bytes) -> None:
    (single / SINGLE).write_bytes(SHARD)
    (single / CONFIG).write_bytes(content)
    try:
        with frugal(), swift(seconds=5):
            load_or_refuse(huggingface.read, single)
    finally:
        (single / CONFIG).write_text(json.dumps(config_to_hf(SMALL)))


@settings(max_examples=EXAMPLES)
@given(content=json_mutations(index_of()))
def test_mutated_index(sharded: Path, content: bytes) -> None:
    (sharded / INDEX).write_bytes(content)
    with frugal(), swift(seconds=5):
        load_or_refuse(huggingface.read, sharded)


def use_or_refuse(path: Path) -> None:
    """A tokenizer loads, encodes and decodes every id of its own, or says why it does not."""
    try:
        with frugal():
            tokenizer = load_tokenizer(path)
        ids = tokenizer.encode("Once a llama 🦙\n  12", special=True)
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
        tokenizer.decode(list(range(min(tokenizer.vocab_size, 300))))
        stream = tokenizer.stream([])
        assert isinstance("".join(map(stream.push, ids)) + stream.finish(), str)
    except (TokenizerError, InputError):
        pass


SPM = train_sentencepiece()
TOKENIZERS: dict[str, tuple[str, Callable[[], st.SearchStrategy[bytes]]]] = {
    "SentencePiece": ("tokenizer.model", lambda: mutations(SPM)),
    "tiktoken": ("tokenizer.model", lambda: mutations(b"".join(tiktoken_lines()[:300]))),
    "JSON": ("tokenizer.json", lambda: json_mutations(spec(added_tokens=added(3)))),
    "llama2.c": ("tokenizer.bin", lambda: mutations(llama2c_bytes(SPM))),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_mutated_tokenizers(tmp_path: Path, kind: str) -> None:
    if kind in ("tiktoken", "JSON"):
        pytest.importorskip("tokenizers")
    name, contents = TOKENIZERS[kind]

    @settings(max_examples=EXAMPLES)
    @given(content=contents())
    def mutate(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with swift(seconds=5):
            use_or_refuse(tmp_path)

    mutate()
