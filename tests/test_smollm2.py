"""The real model: the ids and the greedy text of llama.cpp, and the logits of transformers."""

import json
from pathlib import Path

import numpy as np
import pytest

from numpy_llama import generate, load, load_model, load_tokenizer
from numpy_llama.store.find import DEFAULT_MODEL, local_models, models_dir

RUNS = json.loads((Path(__file__).parent / "data" / "smollm2_llamacpp.json").read_text())["runs"]

pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(DEFAULT_MODEL not in local_models(), reason="`make model` gets the model"),
]


@pytest.fixture(scope="module")
def path():
    return models_dir() / DEFAULT_MODEL


@pytest.fixture(scope="module")
def model(path):
    return load_model(path)


@pytest.fixture(scope="module")
def tokenizer(path):
    return load_tokenizer(path)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["prompt"][:20])
def test_greedy_text_is_llama_cpp_s_token_for_token(model, tokenizer, run):
    """The fixture is what llama.cpp continues with, from the same weights in float32.

    Its smallest margin between the two likeliest tokens is printed with it: a flip at a margin
    near the float32 error of 1e-4 would be noise, and there is none that small.
    """
    assert min(run["margins"]) > 1e-3
    tokens = tokenizer.encode(run["prompt"], special=True)
    assert tokens == run["tokens"]
    assert list(generate(model, tokens, len(run["ids"]))) == run["ids"]


@pytest.mark.oracle
def test_converted_weights_give_transformers_the_same_logits_and_ids(path, model, tokenizer):
    """The directory that `convert` wrote, loaded by another library."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    words = transformers.AutoTokenizer.from_pretrained(path)
    for text in ("The capital of France is", "In 2026, 12345 llamas 🦙 crossed the Andes."):
        tokens = tokenizer.encode(text)
        assert words(text)["input_ids"] == tokens
        with torch.no_grad():
            expected = theirs(torch.tensor([tokens])).logits[0].numpy()
        error = np.abs(model.forward(tokens) - expected).max() / np.abs(expected).max()
        assert error <= 1e-4


def test_chunks_and_single_tokens_agree_with_one_prefill(model, tokenizer):
    tokens = tokenizer.encode("It was a bright cold day in April, and the clocks were striking")
    whole = model.forward(tokens)
    for size in (1, 4):
        cache = model.new_cache(len(tokens))
        chunks = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        rows = np.concatenate([model.forward(chunk, cache) for chunk in chunks])
        assert np.abs(rows - whole).max() / np.abs(whole).max() <= 1e-4


def test_text_in_text_out_is_the_same_as_ids_in_ids_out():
    m = load(DEFAULT_MODEL)
    run = RUNS[0]
    r = m.generate(run["prompt"], max_tokens=len(run["ids"]), ignore_eos=True)
    assert r.ids == run["ids"] and r.finish_reason == "length"
    ended = m.generate(run["prompt"], max_tokens=len(run["ids"]))
    assert ended.finish_reason == "stop"  # the model's own end is among the ids
    assert ended.ids == run["ids"][: run["ids"].index(m.tokenizer.eos_ids[0])]
    assert "".join(m.stream(run["prompt"])) == ended.text


def test_an_answer_ends_by_itself_and_the_right_word_is_likely():
    m = load(DEFAULT_MODEL)
    r = m.chat([{"role": "user", "content": "What is the capital of France?"}], max_tokens=60)
    assert "Paris" in r.text and r.finish_reason == "stop"
    right, wrong = (m.logprobs(f"The capital of France is {c}")[-1] for c in ("Paris", "Tokyo"))
    assert right > -0.5 and wrong < -5
    text = "The cat sat on the mat."
    assert m.logprobs(text).sum() > m.logprobs(text[::-1]).sum() + 20


@pytest.mark.oracle
def test_log_probabilities_are_those_of_transformers(path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    m = load(path)
    ids = torch.tensor([m.encode("In 2026, 12345 llamas 🦙 crossed the Andes. " * 12)])
    assert ids.shape[1] > 150  # more than one block of rows
    with torch.no_grad():
        scores = theirs(ids).logits[0, :-1].double().log_softmax(-1)
    expected = scores.gather(1, ids[0, 1:, None])[:, 0].numpy()
    np.testing.assert_allclose(m.logprobs(ids[0].numpy()), expected, atol=2e-3)
