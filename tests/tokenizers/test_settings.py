"""BOS, EOS and chat template, from whichever file says them."""

import json

import pytest

from numpy_llama.errors import TokenizerError
from numpy_llama.tokenizers import load_tokenizer
from tests.tokenizers.vocabularies import train_sentencepiece


@pytest.fixture
def load(tmp_path):
    """Write a directory of settings beside a small vocabulary, and load it."""
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece())

    def with_files(**files):
        for name, value in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return load_tokenizer(tmp_path)

    return with_files


def test_without_files_the_vocabulary_decides(load):
    tokenizer = load()
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.adds_bos) == (1, (2,), True)
    assert tokenizer.chat_template is None


def test_generation_config_knows_best_what_ends_an_answer(load):
    assert load(tokenizer_config={"eos_token": "<s>"}).eos_ids == (1,)
    assert load(config={"eos_token_id": 5}).eos_ids == (5,)
    assert load(generation_config={"eos_token_id": [7, 8]}).eos_ids == (7, 8)
    assert load(generation_config={"eos_token_id": 0}).eos_ids == (0,)


def test_bos_by_name_by_object_by_id_or_none(load):
    assert load(config={"bos_token_id": 9}).bos_id == 9
    assert load(tokenizer_config={"bos_token": "</s>"}).bos_id == 2
    assert load(tokenizer_config={"bos_token": {"content": "<s>"}}).bos_id == 1
    tokenizer = load(tokenizer_config={"bos_token": None})
    assert (tokenizer.bos_id, tokenizer.adds_bos) == (None, False)


def test_add_bos_token_decides_whether_a_prompt_begins_with_it(load):
    assert load(tokenizer_config={"add_bos_token": False}).encode("a")[0] != 1
    assert load(tokenizer_config={"add_bos_token": True}).encode("a")[0] == 1
    assert load(tokenizer_config={"add_bos_token": None}).encode("a")[0] == 1


def test_chat_templates(load, tmp_path):
    assert load(tokenizer_config={"chat_template": "{{ x }}"}).chat_template == "{{ x }}"
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert load(tokenizer_config={"chat_template": several}).chat_template == "d"
    (tmp_path / "chat_template.jinja").write_text("from the file\n")
    assert load().chat_template == "from the file\n"


def test_what_tokenizer_config_often_holds_is_let_through(load):
    """transformers writes int(1e30) for a model without a limit."""
    assert load(tokenizer_config={"model_max_length": int(1e30)}).bos_id == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"generation_config": {"eos_token_id": "2"}}, "generation_config.json: eos_token_id"),
        ({"generation_config": {"eos_token_id": [2, -1]}}, "eos_token_id must be a token id"),
        ({"generation_config": {"eos_token_id": True}}, "not True"),
        ({"config": {"bos_token_id": 1.5}}, "config.json: bos_token_id must be .*1.5"),
        ({"tokenizer_config": {"bos_token": 1}}, "bos_token must be a token's text, not 1"),
        ({"tokenizer_config": {"bos_token": "<x>"}}, "'<x>' is not in the vocabulary"),
        ({"tokenizer_config": {"add_bos_token": "yes"}}, "add_bos_token must be true or false"),
        ({"tokenizer_config": {"chat_template": 3}}, "chat_template is a int"),
        ({"tokenizer_config": []}, "tokenizer_config.json: holds a list"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "a"}}}}, "has 'x'"),
        ({"added_tokens": {"<a>": 1 << 40}}, "the added token '<a>' has the id"),
    ],
)
def test_what_is_not_understood_is_refused(load, files, message):
    with pytest.raises(TokenizerError, match=message):
        load(**files)
