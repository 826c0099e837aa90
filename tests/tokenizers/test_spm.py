"""SentencePiece vocabularies, judged by `sentencepiece` itself on the original model file."""

from dataclasses import replace
from pathlib import Path

import pytest

from numpy_llama.errors import InputError
from numpy_llama.tokenizers import Settings, load_tokenizer
from numpy_llama.tokenizers.spm.tokenizer import AddedToken, SentencePieceTokenizer
from tests.tokenizers.strings import strings
from tests.tokenizers.vocabularies import (
    processor,
    spm_metadata,
    train_sentencepiece,
    write_gguf,
)

SETTINGS = Settings(bos_id=1, eos_ids=(2,), adds_bos=True)


def small(**options) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(train_sentencepiece(**options), SETTINGS, Path("small"))


@pytest.mark.parametrize("prefix", [True, False])
def test_a_gguf_vocabulary_gives_the_ids_of_the_model_that_it_came_from(prefix, tmp_path):
    proto = train_sentencepiece(add_dummy_prefix=prefix)
    metadata = spm_metadata(proto, add_space_prefix=prefix)
    rebuilt, original = load_tokenizer(write_gguf(tmp_path / "a.gguf", metadata)), processor(proto)
    assert (rebuilt.bos_id, rebuilt.eos_ids, rebuilt.adds_bos) == (1, (2,), True)
    for text in strings():
        ids = original.encode(text)
        assert rebuilt.encode(text, add_bos=False) == ids
        assert rebuilt.decode(ids) == original.decode(ids) == text.replace("\u2581", " ")


def test_a_tokenizer_model_gives_its_own_ids(tmp_path):
    proto = train_sentencepiece()
    (tmp_path / "tokenizer.model").write_bytes(proto)
    tokenizer, original = load_tokenizer(tmp_path), processor(proto)
    for text in strings()[:300]:
        assert tokenizer.encode(text) == [1, *original.encode(text)]


def test_extra_spaces_that_the_model_removes_are_not_stripped_twice():
    proto = train_sentencepiece(remove_extra_whitespaces=True, allow_whitespace_only_pieces=False)
    tokenizer, original = SentencePieceTokenizer(proto, SETTINGS, Path("small")), processor(proto)
    for text in strings()[:300]:
        ids = original.encode(text)
        assert tokenizer.encode(text, add_bos=False) == ids
        assert tokenizer.decode(ids) == original.decode(ids)
    space = original.piece_to_id("\u2581")
    ids = [space, space, *original.encode("word")]
    assert tokenizer.decode(ids) == original.decode(ids) == "word"


def test_bos_is_added_as_told():
    tokenizer = small()
    plain = tokenizer.encode("text", add_bos=False)
    assert tokenizer.encode("text") == tokenizer.encode("text", add_bos=True) == [1, *plain]
    silent = SentencePieceTokenizer(
        train_sentencepiece(), replace(SETTINGS, adds_bos=False), Path("small")
    )
    assert silent.encode("text") == plain
    without = SentencePieceTokenizer(train_sentencepiece(), Settings(), Path("small"))
    assert without.encode("text") == plain
    with pytest.raises(InputError, match="no BOS"):
        without.encode("text", add_bos=True)


def test_control_tokens_are_text_unless_asked_for():
    tokenizer = small()
    ids = tokenizer.encode("a</s>b", add_bos=False)
    assert 2 not in ids
    assert tokenizer.decode(ids) == "a</s>b"
    ids = tokenizer.encode("a</s>b", add_bos=False, special=True)
    sp = processor(train_sentencepiece())
    assert ids == [*sp.encode("a"), 2, *sp.encode("b")]
    assert tokenizer.pieces([1, 2]) == ["<s>", "</s>"]
    assert tokenizer.decode([1, *ids, 2]) == "a b"  # the prefix of "b" is a space inside the text


def test_added_tokens_stand_for_themselves():
    size = processor(train_sentencepiece()).piece_size()
    added = {size: AddedToken("<|im_end|>", special=True), size + 2: AddedToken("<t>", False)}
    tokenizer = SentencePieceTokenizer(train_sentencepiece(), SETTINGS, Path("small"), added)
    assert tokenizer.vocab_size == size + 3
    assert size not in tokenizer.encode("a<|im_end|>")
    assert size in tokenizer.encode("a<|im_end|>", special=True)
    assert size + 2 in tokenizer.encode("a<t>")
    assert tokenizer.decode([size, size + 1, size + 2]) == "<t>"
    assert tokenizer.pieces([size, size + 1]) == ["<|im_end|>", f"<unassigned {size + 1}>"]


def test_pieces_are_readable():
    tokenizer = small()
    ids = tokenizer.encode("the 🦒", add_bos=False)
    assert "".join(tokenizer.pieces(ids)) == " the <0xF0><0x9F><0xA6><0x92>"


def test_saving_and_loading_changes_nothing(tmp_path):
    size = processor(train_sentencepiece()).piece_size()
    added = {size: AddedToken("<|im_end|>", special=True), size + 1: AddedToken("<t>", False)}
    for settings in (
        Settings(1, (size, 2), adds_bos=True, chat_template="{{ 'ü' }}"),
        Settings(1, (2,), adds_bos=False),
        Settings(None, (), adds_bos=False),
    ):
        before = SentencePieceTokenizer(train_sentencepiece(), settings, Path("small"), added)
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        before.save(directory)
        after = load_tokenizer(directory)
        expected = replace(settings, eos_ids=settings.eos_ids or (2,))  # the model file names it
        assert after.settings == expected
        assert (after.kind, after.vocab_size) == (before.kind, before.vocab_size)
        for text in [*strings()[:100], "a<|im_end|>b<t> c"]:
            for special in (False, True):
                ids = before.encode(text, special=special)
                assert after.encode(text, special=special) == ids
                assert after.decode(ids) == before.decode(ids)
        assert sorted(path.suffix for path in directory.iterdir()) == [".json", ".json", ".model"]


@pytest.mark.oracle
def test_transformers_reads_what_was_saved(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    small().save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    ours, theirs = small(), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    # transformers adds no prefix to a text that begins with a space, where SentencePiece does;
    # and it takes "<s>" in any text for the token.
    plain = [text for text in strings()[:250] if "<s>" not in text]
    texts = [text for text in plain if not text.startswith((" ", "\u2581"))]
    assert len(texts) > 200
    assert [text for text in texts if theirs(text)["input_ids"] != ours.encode(text)] == []
