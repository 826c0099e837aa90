"""What is streamed is what a whole decode gives: no broken character, no space lost or added."""

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.tokenizers import Settings, Tokenizer
from numpy_llama.tokenizers.spm.tokenizer import SentencePieceTokenizer
from numpy_llama.tokenizers.streaming import ALL_SPACES, TextStream
from tests.tokenizers.strings import strings
from tests.tokenizers.vocabularies import bpe_metadata, train_sentencepiece, write_gguf

TEXTS = [
    "",
    " ",
    "  two spaces, then three   and a tail  ",
    "\n\nnewlines\n",
    "emoji 😀👩‍👩‍👧‍👦🏳️‍🌈 and 日本語 한국어",
    "this is his glass: s ss </s> <s>",
    "tab\tNUL\x00 bell\x07",
    *strings()[20:120],
]


@functools.cache
def tokenizer(kind: str) -> Tokenizer:
    """One small tokenizer of each kind."""
    if kind == "bpe":
        pytest.importorskip("tokenizers")
        import tempfile

        from numpy_llama.tokenizers import load_tokenizer

        with tempfile.TemporaryDirectory() as directory:
            return load_tokenizer(write_gguf(Path(directory) / "small.gguf", bpe_metadata()))
    proto = train_sentencepiece(add_dummy_prefix=kind == "spm")
    return SentencePieceTokenizer(proto, Settings(1, (2,), adds_bos=True), Path("small"))


KINDS = ["bpe", "spm", "spm without prefix"]


def streamed(t: Tokenizer, ids: list[int], prompt: list[int] | None = None) -> str:
    stream = t.stream(prompt or ())
    return "".join([stream.push(i) for i in ids]) + stream.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_text_survives_encoding_and_streaming(kind):
    t = tokenizer(kind)
    for text in TEXTS:
        ids = t.encode(text)
        assert t.decode(ids) == text
        assert streamed(t, ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_continues_the_prompt_exactly(kind):
    """Cut the ids anywhere but inside a character."""
    t = tokenizer(kind)
    for text in TEXTS:
        ids = t.encode(text)
        for cut in range(len(ids) + 1):
            start = t.decode(ids[:cut])
            if not start.endswith("\ufffd"):
                assert start + streamed(t, ids[cut:], ids[:cut]) == text


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_ids_stream_as_they_decode(kind, data):
    t = tokenizer(kind)
    ids = data.draw(st.lists(st.integers(0, t.vocab_size - 1), max_size=30))
    assert streamed(t, ids) == t.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfinished_character_shows_once(kind):
    t = tokenizer(kind)
    ids = t.encode("ok 🦒", add_bos=False)  # in no training text, so four bytes
    assert t.decode(ids[:-1]) == "ok \ufffd"
    stream = t.stream()
    assert [stream.push(i) for i in ids[:-1]][-1] == ""
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_a_prompt_that_stops_inside_a_character_is_completed():
    t = tokenizer("spm")
    ids = t.encode("ok 🦒", add_bos=False)
    assert streamed(t, ids[-1:], ids[:-1]) == "🦒"


def test_streaming_by_hand():
    words = [b"", b" ", b" a", b"\xf0\x9f", b"\x98\x80", b"\x98"]
    stream = TextStream(lambda token: words[token], strip=1)
    assert [stream.push(i) for i in (0, 2, 2, 3, 4, 1)] == ["", "a", " a", "", "😀", " "]
    stream = TextStream(lambda token: words[token], strip=1)
    assert [stream.push(i) for i in (1, 1, 2)] == ["", " ", " a"]
    stream = TextStream(lambda token: words[token], strip=ALL_SPACES)
    assert [stream.push(i) for i in (1, 1, 2, 2)] == ["", "", "a", " a"]
    stream = TextStream(lambda token: words[token])
    assert [stream.push(i) for i in (1, 3, 2)] == [" ", "", "\ufffd a"]
