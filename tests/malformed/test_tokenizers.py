"""Broken and hostile tokenizer files: each ends in one sentence, fast, and never in a panic."""

import json
import os
import re
import time

import pytest

from numpy_llama.errors import InputError, LlamaError, TokenizerError
from numpy_llama.tokenizers import load_tokenizer
from tests.malformed.limits import check_refused
from tests.tokenizers.vocabularies import (
    bpe_metadata,
    bpe_tokens,
    llama2c_bytes,
    spm_metadata,
    tiktoken_lines,
    train_sentencepiece,
    write_gguf,
)


def refused(path, message):
    """Loading ends in a TokenizerError that names the file and matches `message`."""
    sentence = check_refused(lambda: load_tokenizer(path), TokenizerError, str(path))
    assert re.search(message, sentence), sentence


def spec(**changes):
    """A valid little tokenizer.json, changed."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    model |= changes.pop("model", {})
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    return {"version": "1.0", "model": model, "added_tokens": [], "decoder": decoder} | changes


def write_json(tmp_path, value):
    text = value if isinstance(value, str) else json.dumps(value)
    (tmp_path / "tokenizer.json").write_text(text)
    return tmp_path


def test_the_little_tokenizer_is_valid(tmp_path):
    pytest.importorskip("tokenizers")
    assert load_tokenizer(write_json(tmp_path, spec())).encode("ab") == [2]


def added(token, text="<x>"):
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return [{"id": token, "content": text, "special": True, **flags}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        # what the package panics at, or Python
        (spec(model={"merges": [["a", "b"], ["b", "a"]]}), "gives 'ba', which is no token"),
        (spec(added_tokens=added(3, "\ud800")), "tokenizer.json"),
        # T1
        ("{", "not valid JSON"),
        ("", "is empty"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no model"),
        ("null", "no model"),
        (spec(model={"x": 1}) | {"model": None}, "no model"),
        (spec(model={"type": "Unigram"}), "'Unigram' is not supported"),
        (spec(model={"type": None}), "None is not supported"),
        (spec(model={"dropout": 0.5}), "random"),
        ("<!DOCTYPE html><html>", "HTML page"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        # T2
        (spec(model={"merges": ["a z"]}), "gives 'az', which is no token"),
        (spec(model={"merges": ["b a"]}), "gives 'ba', which is no token"),
        (spec(model={"merges": ["ab"]}), "not a usable tokenizer.json"),
        (spec(model={"merges": [3]}), "not a usable tokenizer.json"),
        (spec(model={"vocab": {}, "merges": []}), "not empty"),
        (spec(model={"vocab": None}), "not empty"),
        # T3
        (spec(model={"vocab": {"a": 0, "b": 0}, "merges": []}), "the same id 0"),
        (spec(model={"vocab": {"a": 0, "b": 4_000_000_000}, "merges": []}), "the id 4000000000"),
        (spec(model={"vocab": {"a": -1}, "merges": []}), "the id -1"),
        (spec(model={"vocab": {"a": 1 << 32}, "merges": []}), "the id 4294967296"),
        (spec(model={"vocab": {"a": True}, "merges": []}), "the id True"),
        ('{"model": {"vocab": {"a": 0, "a": 1}, "merges": []}}', "twice"),
        # T4
        (spec(added_tokens=added(1)), "has the id 1 of 'b'"),
        (spec(added_tokens=added(9)), "which would become 3"),
        (spec(added_tokens=added(-1)), "has the id -1"),
        (spec(added_tokens=added(3, "")), "has the id 3"),
        (spec(added_tokens=[7]), "7, which is no token"),
        (spec(added_tokens={}) | {"added_tokens": {"a": 1}}, "must be a list"),
        # T6
        (
            spec(
                pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}
            ),
            "not a usable tokenizer.json",
        ),
        # What its ids mean would be a guess.
        (spec(decoder=None), "no decoder"),
        (spec(decoder={"type": "WordPiece"}), "'WordPiece' is not understood"),
        (spec(post_processor={"type": "TemplateProcessing", "single": 5}), "not a usable"),
    ],
)
def test_tokenizer_json(tmp_path, value, message):
    pytest.importorskip("tokenizers")
    refused(write_json(tmp_path, value), message)


def test_t3_an_id_hole_costs_nothing(tmp_path):
    pytest.importorskip("tokenizers")
    vocab = {"a": 0, "b": 1, "ab": 16_000_000}
    tokenizer = load_tokenizer(write_json(tmp_path, spec(model={"vocab": vocab})))
    assert tokenizer.vocab_size == 16_000_001
    assert tokenizer.pieces([5]) == ["<unassigned 5>"]
    assert tokenizer.decode([5, 16_000_000]) == "ab"


def test_t6_a_regular_expression_that_explodes_ends(tmp_path):
    pytest.importorskip("tokenizers")
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    split["invert"] = False
    tokenizer = load_tokenizer(write_json(tmp_path, spec(pre_tokenizer=split)))
    start = time.process_time()
    try:
        tokenizer.encode("a" * 40 + "b")
    except LlamaError:
        pass
    assert time.process_time() - start < 10


LINES = tiktoken_lines()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"!!!! 300\n", "line 301 is not a token"),
        (b"YWJj\n", "line 301"),
        (b"YWJj 1_0\n", "line 301"),
        ("YWJj ٣\n".encode(), "line 301"),
        (b"YWJj -1\n", "line 301"),
        (b"YWJj 5\n", "the rank 5 of another token"),
        (b"YWJj 99999\n", "no token has the rank"),
        (b"YWJ 300\n", "line 301 is not base64"),
    ],
)
def test_t7_tiktoken(tmp_path, line, message):
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.model").write_bytes(b"".join([*LINES[:300], line, *LINES[300:]]))
    refused(tmp_path, message)


def test_t7_tiktoken_tokens(tmp_path):
    pytest.importorskip("tokenizers")
    twice = [*LINES, LINES[0].split()[0] + b" %d\n" % len(LINES)]
    (tmp_path / "tokenizer.model").write_bytes(b"".join(twice))
    refused(tmp_path, "a token is there twice")
    (tmp_path / "tokenizer.model").write_bytes(b"".join(LINES[:255]))
    refused(tmp_path, "no token for the byte 0xFF")


def proto_piece(text=b"\x0a\x01a", score=b"\x15\0\0\0\0", kind=b"\x18\x01"):
    body = text + score + kind
    return b"\x0a" + bytes([len(body)]) + body


UNK = proto_piece(b"\x0a\x05<unk>", kind=b"\x18\x02")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\x80", "cut off"),
        (b"\n" + b"\xff" * 11, "more than 10 bytes"),
        (b"\n\x02\x0b\x0c", "not a SentencePiece model"),
        (b"\n\xff\xff\xff\x7fabc", "cut off"),
        (UNK + proto_piece(text=b""), "piece 1"),
        (UNK + UNK, "2 pieces for the unknown"),
        (proto_piece(), "0 pieces for the unknown"),
        (UNK + proto_piece(kind=b"\x18" + b"\xff" * 9 + b"\x01"), "piece 1"),
        (UNK + proto_piece(kind=b"\x18\x09"), "the type 9"),
        (UNK + proto_piece(score=b"\x15\x00\x00\xc0\x7f"), "the score nan"),
        (UNK + proto_piece(score=b"\x15\x00\x00\x80\x7f"), "the score inf"),
        (UNK + proto_piece(text=b"\x0a\x01\xff"), "not UTF-8"),
        (UNK + proto_piece(kind=b"\x18\x06"), "no byte"),
        (UNK + proto_piece() + proto_piece(), "not a usable SentencePiece model"),
        (b"\n", "cut off"),
        (b"", "is empty"),
    ],
)
def test_t8_sentencepiece(tmp_path, data, message):
    (tmp_path / "tokenizer.model").write_bytes(data)
    refused(tmp_path, message)


def test_t8_a_piece_of_200_kilobytes(tmp_path):
    metadata = spm_metadata(train_sentencepiece())
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"][:-1], "x" * 200_000]
    refused(write_gguf(tmp_path / "a.gguf", metadata), "piece is too long")


@pytest.mark.parametrize("cut", [0, 1, 3, 5, 12, 300, -1])
def test_llama2c_cut_short(tmp_path, cut):
    (tmp_path / "tokenizer.bin").write_bytes(llama2c_bytes(train_sentencepiece())[:cut])
    refused(tmp_path, "is empty|no tokenizer.bin|cut off|has the length|tokens; <unk>")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\0\0\0\0", "max_token_length 0"),
        (0, b"\0\0\0\x80", "max_token_length -2147483648"),
        (0, b"\xff\xff\xff\x7f", "max_token_length 2147483647"),
        (8, b"\xff\xff\xff\xff", "has the length -1"),
        (8, b"\xff\xff\x00\x00", "has the length 65535"),
    ],
)
def test_llama2c_fields(tmp_path, at, value, message):
    data = llama2c_bytes(train_sentencepiece())
    (tmp_path / "tokenizer.bin").write_bytes(data[:at] + value + data[at + 4 :])
    refused(tmp_path, message)


def test_llama2c_scores_and_twins(tmp_path):
    data = bytearray(llama2c_bytes(train_sentencepiece()))
    end = data.rindex(b"\x01\0\0\0")  # the length of the last piece of one byte
    data[end - 4 : end] = b"\0\0\xc0\x7f"
    (tmp_path / "tokenizer.bin").write_bytes(data)
    refused(tmp_path, "the score nan")
    data[end - 4 : end] = data[end - 4 - 8 : end - 8]
    data += data[end - 4 :]
    (tmp_path / "tokenizer.bin").write_bytes(data)
    refused(tmp_path, "has the score|not a usable")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "has no tokenizer"),
        ({"model": "bert"}, "'bert' is not supported"),
        ({"tokens": None}, "tokens must be a list"),
        ({"tokens": [1, 2]}, "tokens must be a list"),
        ({"tokens": ["a", "b", "a"], "token_type": None}, "'a' twice"),
        ({"token_type": [1, 2]}, "token_type must have a number"),
        ({"merges": None}, "merges must be a list"),
        ({"merges": ["ab"]}, "'ab', which is no pair"),
        ({"merges": ["a b c"]}, "which is no pair"),
        ({"merges": ["a zzzz"]}, "which is no token"),
        ({"bos_token_id": 1 << 20}, "bos_token_id is 1048576"),
        ({"eos_token_id": -1}, "eos_token_id is -1"),
        ({"add_bos_token": 1}, "add_bos_token is 1"),
        ({"pre": 7}, "7 is not known"),
    ],
)
def test_gguf_byte_pair(tmp_path, changes, message):
    pytest.importorskip("tokenizers")
    refused(write_gguf(tmp_path / "a.gguf", bpe_metadata(**changes)), message)


@pytest.mark.parametrize("byte", ["<0x-1>", "<0xZZ>", "<0x100>"])
def test_g24_bytes_that_are_none(tmp_path, byte):
    metadata = spm_metadata(train_sentencepiece())
    metadata["tokenizer.ggml.tokens"][7] = byte
    refused(write_gguf(tmp_path / "a.gguf", metadata), "is no byte")


def test_g23_scores_of_another_length(tmp_path):
    metadata = spm_metadata(train_sentencepiece(), scores=[0.0, 1.0])
    refused(write_gguf(tmp_path / "a.gguf", metadata), "scores must have a number for each")


@pytest.fixture(params=["spm", "bpe"])
def tokenizer(request, tmp_path):
    if request.param == "bpe":
        pytest.importorskip("tokenizers")
        return load_tokenizer(write_gguf(tmp_path / "a.gguf", bpe_metadata()))
    return load_tokenizer(write_gguf(tmp_path / "a.gguf", spm_metadata(train_sentencepiece())))


@pytest.mark.parametrize("token", [-1, 1 << 40, True, 1.0, "a", None])
def test_t10_token_ids(tokenizer, token):
    for use in (tokenizer.decode, tokenizer.pieces, tokenizer.stream):
        with pytest.raises(InputError, match="token id .* is outside of the vocabulary"):
            use([token])
    with pytest.raises(InputError, match="outside of the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])


def test_t10_no_ids(tokenizer):
    assert tokenizer.decode([]) == ""
    assert tokenizer.pieces([]) == []
    assert tokenizer.encode("", add_bos=False) == []


def test_t11_lone_surrogates(tokenizer):
    with pytest.raises(InputError, match=r"lone surrogate \(U\+D83D\) at character 2"):
        tokenizer.encode("ab\ud83d")


def test_t11_nul_is_a_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\0b")) == "a\0b"


def test_t11_a_long_word_takes_time_in_proportion(tokenizer):
    def seconds(length):
        start = time.process_time()
        assert len(tokenizer.encode("abcdefghij" * (length // 10))) > 1
        return time.process_time() - start

    seconds(1000)
    assert seconds(400_000) < 40 * max(seconds(40_000), 0.01)  # quadratic would be 100 times


def test_paths(tmp_path):
    refused(tmp_path / "missing", "does not exist")
    refused(tmp_path, "has no tokenizer; looked for tokenizer.model")
    (tmp_path / "tokenizer.json").mkdir()
    refused(tmp_path, "has no tokenizer")
    os.mkfifo(tmp_path / "tokenizer.model")
    refused(tmp_path, "has no tokenizer")


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(1 << 34)
    refused(tmp_path, "is larger than")


def test_missing_tokenizers_package_is_said(tmp_path, monkeypatch):
    from numpy_llama.errors import MissingExtraError

    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install tokenizers"):
        load_tokenizer(write_gguf(tmp_path / "a.gguf", bpe_metadata(tokens=bpe_tokens())))
