"""Llama 3's text vocabulary, judged by tiktoken's rule written out, and by tiktoken itself."""

import base64
import importlib.util
from pathlib import Path

import pytest

from numpy_llama.tokenizers import load_tokenizer
from numpy_llama.tokenizers.pre_tokenizers import TEKKEN
from tests.tokenizers.strings import strings
from tests.tokenizers.vocabularies import tiktoken_lines

pytest.importorskip("tokenizers")


def small(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"".join(tiktoken_lines()))
    return load_tokenizer(tmp_path)


def lowest_rank_first(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's rule: a whole word if it is a token, else join the neighbours of lowest rank."""
    if word in ranks:
        return [ranks[word]]
    parts = [bytes([byte]) for byte in word]
    while True:
        joined = [ranks.get(a + b, 1 << 30) for a, b in zip(parts, parts[1:], strict=False)]
        if not joined or min(joined) == 1 << 30:
            return [ranks[part] for part in parts]
        i = joined.index(min(joined))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def test_words_are_joined_by_the_lowest_rank(tmp_path):
    lines = [line.split() for line in tiktoken_lines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    tokenizer = small(tmp_path)
    words = {word for text in strings() for word in text.split() if word.isalpha()}
    assert len(words) > 3000
    for word in words:
        expected = lowest_rank_first(word.encode(), ranks)
        assert tokenizer.encode(word, add_bos=False) == expected, word


def test_special_tokens_follow_the_ranks_as_meta_numbers_them(tmp_path):
    tokenizer = small(tmp_path)
    first = len(tiktoken_lines())
    assert tokenizer.vocab_size == first + 256
    names = {
        "<|begin_of_text|>": 0,
        "<|end_of_text|>": 1,
        "<|finetune_right_pad_id|>": 4,
        "<|start_header_id|>": 6,
        "<|end_header_id|>": 7,
        "<|eom_id|>": 8,
        "<|eot_id|>": 9,
        "<|python_tag|>": 10,
        "<|reserved_special_token_2|>": 12,
        "<|reserved_special_token_245|>": 255,
    }
    for name, place in names.items():
        assert tokenizer.encode(name, add_bos=False, special=True) == [first + place]
        assert len(tokenizer.encode(name, add_bos=False)) > 1
    assert tokenizer.encode("")[0] == tokenizer.bos_id == first
    assert tokenizer.eos_ids == (first + 1, first + 8, first + 9)


def test_saving_and_loading_changes_nothing(tmp_path):
    before = small(tmp_path)
    (tmp_path / "out").mkdir()
    before.save(tmp_path / "out")
    after = load_tokenizer(tmp_path / "out")
    assert after.settings == before.settings
    for text in strings()[:200]:
        assert after.encode(text) == before.encode(text)


def test_the_tokenizer_of_llama_1_and_2_lies_above_the_model(tmp_path):
    (tmp_path / "8B").mkdir()
    (tmp_path / "8B" / "params.json").write_text("{}")
    small(tmp_path)
    assert load_tokenizer(tmp_path / "8B").kind == "byte-level BPE (tiktoken)"


def packaged(package: str, name: str) -> Path:
    """A file inside an installed package, which need not be importable; skip without it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the package {package} (pip install --no-deps)")
    return Path(spec.submodule_search_locations[0]) / name


@pytest.mark.oracle
def test_llama_3_gives_metas_ids():
    """The published file and pattern, run by tiktoken (llama-models, llama3/tokenizer.py)."""
    tiktoken = pytest.importorskip("tiktoken")
    path = packaged("llama_models", "llama3/tokenizer.model")
    lines = [line.split() for line in path.read_bytes().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    named = {"<|begin_of_text|>": 128000, "<|start_header_id|>": 128006, "<|eot_id|>": 128009}
    source = path.with_name("tokenizer.py").read_text()
    pattern = source.split('pat_str = r"')[1].split('"  # noqa')[0]
    theirs = tiktoken.Encoding(
        "llama3", pat_str=pattern, mergeable_ranks=ranks, special_tokens=named
    )
    ours = load_tokenizer(path)
    assert (ours.vocab_size, ours.bos_id) == (128256, 128000)
    assert ours.eos_ids == (128001, 128008, 128009)
    for text in strings():
        ids = theirs.encode(text, disallowed_special=())
        assert ours.encode(text) == [128000, *ids]
        assert ours.decode(ids) == text
    chat = "<|start_header_id|>user<|eot_id|>"
    assert ours.encode(chat, add_bos=False, special=True) == theirs.encode(
        chat, allowed_special="all"
    )


@pytest.mark.oracle
def test_tekkens_pattern_is_mistrals():
    path = packaged("mistral_common", "data/tekken_240911.json")
    head = path.read_text(encoding="utf-8")[:600]
    pattern = head.split('"pattern": ')[1].split('",\n')[0].strip('"').replace("\\\\", "\\")
    assert pattern == TEKKEN


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"]
)
def test_mistrals_sentencepiece_models_through_gguf(name, tmp_path):
    """A GGUF file with the vocabulary of a real model gives the ids of that model's own file."""
    from tests.tokenizers.vocabularies import processor, spm_metadata, write_gguf

    proto = packaged("mistral_common", f"data/{name}").read_bytes()
    original = processor(proto)
    rebuilt = load_tokenizer(write_gguf(tmp_path / "a.gguf", spm_metadata(proto)))
    (tmp_path / "tokenizer.model").write_bytes(proto)
    direct = load_tokenizer(tmp_path)
    for text in strings():
        ids = [1, *original.encode(text)]
        assert rebuilt.encode(text) == direct.encode(text) == ids
        assert rebuilt.decode(ids) == direct.decode(ids) == original.decode(ids)
