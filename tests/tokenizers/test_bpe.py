"""BPE vocabularies: BOS, special tokens, bytes, saving. For ids see test_llamacpp_ids."""

import json

import pytest

from numpy_llama.errors import TokenizerError
from numpy_llama.tokenizers import load_tokenizer
from tests.tokenizers.strings import strings
from tests.tokenizers.vocabularies import (
    bpe_metadata,
    bpe_tokens,
    byte_letters,
    train_sentencepiece,
    write_gguf,
)

tokenizers = pytest.importorskip("tokenizers")


def small(tmp_path, pre="llama-bpe", **changes):
    return load_tokenizer(write_gguf(tmp_path / "small.gguf", bpe_metadata(pre, **changes)))


def test_every_byte_is_a_token_and_comes_back(tmp_path):
    tokenizer = small(tmp_path)
    ids = [2 + byte for byte in range(256)]
    assert [tokenizer.token_bytes(i) for i in ids] == [bytes([byte]) for byte in range(256)]
    assert tokenizer.pieces([2 + 0xE2, 2 + 0x41, 2 + 0x0A]) == ["<0xE2>", "A", "\n"]


def test_all_text_comes_back(tmp_path):
    tokenizer = small(tmp_path)
    for text in strings():
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bos_as_the_file_says_else_as_the_pre_tokenizer_is_used(tmp_path):
    assert small(tmp_path).encode("a", special=False)[0] == 0
    assert small(tmp_path, add_bos_token=False).encode("a")[0] != 0
    assert small(tmp_path, "smollm").encode("a")[0] != 0
    assert small(tmp_path, "smollm", add_bos_token=True).encode("a")[0] == 0


def test_control_tokens_are_text_unless_asked_for(tmp_path):
    tokenizer = small(tmp_path)
    text = "a<|end|>b"
    plain = tokenizer.encode(text, add_bos=False)
    assert 1 not in plain
    assert tokenizer.decode(plain) == text
    special = tokenizer.encode(text, add_bos=False, special=True)
    assert special.count(1) == 1
    assert tokenizer.decode(special) == "ab"
    assert tokenizer.encode(text, add_bos=False) == plain  # the last call left no trace
    assert tokenizer.pieces([0, 1]) == ["<|begin|>", "<|end|>"]


def test_user_defined_tokens_are_always_matched_and_shown(tmp_path):
    tokens = [*bpe_tokens(), "<tool é>"]
    types = [3, 3] + [1] * (len(tokens) - 3) + [4]
    tokenizer = small(tmp_path, tokens=tokens, token_type=types)
    ids = tokenizer.encode("a<tool é>b", add_bos=False)
    assert len(tokens) - 1 in ids
    assert tokenizer.decode(ids) == "a<tool é>b"


def test_the_ends_of_an_answer(tmp_path):
    tokens = [*bpe_tokens(), "<|eot_id|>", "<|eom_id|>"]
    types = [3, 3] + [1] * (len(tokens) - 4) + [3, 3]
    eot, eom = len(tokens) - 2, len(tokens) - 1
    keys = {"tokens": tokens, "token_type": types}
    assert small(tmp_path, **keys).eos_ids == (1, eot)
    assert small(tmp_path, **keys, eom_token_id=eom).eos_ids == (1, eot, eom)
    assert small(tmp_path, **keys, eot_token_id=eom).eos_ids == (1, eom)
    assert small(tmp_path, **keys, eos_token_id=eot).eos_ids == (eot,)


@pytest.mark.parametrize("pre", ["llama-bpe", "smollm", "deepseek-llm"])
def test_saving_and_loading_changes_nothing(pre, tmp_path):
    before = small(tmp_path, pre)
    (tmp_path / "out").mkdir()
    before.save(tmp_path / "out")
    after = load_tokenizer(tmp_path / "out")
    assert after.settings == before.settings
    assert after.vocab_size == before.vocab_size
    for text in strings()[:200]:
        assert after.encode(text) == before.encode(text)
        assert after.encode(text, special=True) == before.encode(text, special=True)
    after.save(tmp_path)
    assert load_tokenizer(tmp_path).settings == before.settings


@pytest.mark.oracle
@pytest.mark.parametrize("pre", ["llama-bpe", "smollm", "deepseek-llm"])
def test_transformers_reads_what_was_saved(pre, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = small(tmp_path, pre)
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (0, 1)
    for text in strings()[:400]:
        assert theirs(text)["input_ids"] == tokenizer.encode(text, special=True)


@pytest.mark.oracle
def test_a_tokenizer_json_made_from_sentencepiece(tmp_path):
    """Llama 2's tokenizer.json: ▁ and <0xE2> pieces; decoded text is judged by `tokenizers`."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece())
    theirs = transformers.LlamaTokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "json")
    (tmp_path / "json" / "tokenizer.model").unlink(missing_ok=True)
    tokenizer = load_tokenizer(tmp_path / "json")
    assert tokenizer.kind == "BPE with byte pieces"
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (1, (2,))
    for text in strings()[:400]:
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text, add_bos=False, special=True) == ids
        ids = [i for i in ids if i > 2]  # theirs shows control tokens, ours does not
        assert tokenizer.decode(ids) == theirs.decode(ids)


def test_a_stored_limit_does_not_cut_prompts(tmp_path):
    tokenizer = small(tmp_path)
    tokenizer.save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["truncation"] = {
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    assert load_tokenizer(tmp_path).encode("ten words " * 5) == tokenizer.encode("ten words " * 5)


def test_merges_as_pairs_are_merges_as_text(tmp_path):
    tokenizer = small(tmp_path)
    tokenizer.save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["model"]["merges"] = [pair.split(" ") for pair in spec["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    again = load_tokenizer(tmp_path)
    for text in strings()[:100]:
        assert again.encode(text) == tokenizer.encode(text)


def test_a_word_that_is_a_token_is_taken_whole_where_the_rule_says_so(tmp_path):
    """Llama 3 has tokens that no merges lead to."""
    tokens = [*bpe_tokens(), "\u0120zzqzz"]
    types = [3, 3] + [1] * (len(tokens) - 2)
    whole = small(tmp_path, "llama-bpe", tokens=tokens, token_type=types)
    assert whole.encode("a zzqzz", add_bos=False)[-1] == len(tokens) - 1
    merged = small(tmp_path, "smaug-bpe", tokens=tokens, token_type=types)
    assert len(tokens) - 1 not in merged.encode("a zzqzz", add_bos=False)


def test_an_unknown_pre_tokenizer_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(TokenizerError, match="'elvish' is not known; known are gpt-2.*llama-bpe"):
        small(tmp_path, "elvish")
    with pytest.raises(TokenizerError, match="tokenizer.ggml.pre is missing"):
        small(tmp_path, None)


def test_letters_of_bytes():
    from numpy_llama.tokenizers.bpe_spec import LETTER_OF

    assert [LETTER_OF[byte] for byte in range(256)] == byte_letters()
    assert (LETTER_OF[0x20], LETTER_OF[0x0A], LETTER_OF[0x41]) == ("Ġ", "Ċ", "A")
