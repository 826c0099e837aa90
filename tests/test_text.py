"""A model with its tokenizer: what the text, its end and its numbers are, and what is refused."""

import dataclasses
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import numpy_llama as ll
from numpy_llama import Options, load, load_model, load_tokenizer
from numpy_llama.errors import CheckpointError, InputError, NumericError, TokenizerError
from numpy_llama.taps import no_tap
from tests.chat.tiny_chat import assistant, system, user
from tests.tiny import write_tiny_model

PROMPT = "once upon"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def m(path):
    return load(path, dtype="float64", chat_template="zephyr")


@pytest.fixture(scope="module")
def greedy(path):
    """What follows PROMPT, from nothing but `forward`: 64 positions are filled."""
    llama, tokenizer = load_model(path, "float64"), load_tokenizer(path)
    prompt = tokenizer.encode(PROMPT)
    ids = list(prompt)
    while len(ids) < llama.config.max_context + 1:
        ids.append(int(llama.forward(ids)[-1].argmax()))
    return prompt, ids[len(prompt) :]


def text_after(path, prompt, ids):
    tokenizer = load_tokenizer(path)
    return tokenizer.decode([*prompt, *ids])[len(tokenizer.decode(prompt)) :]


# ------------------------------------------------------------------ what follows a text


def test_generate_gives_the_text_and_what_it_took(m, path, greedy):
    prompt, ids = greedy
    begun = time.perf_counter()
    r = m.generate(PROMPT, max_tokens=5)
    assert str(r) == r.text == text_after(path, prompt, ids[:5]) and f"{r}" == r.text
    assert (r.prompt_ids, r.ids) == (prompt, ids[:5])
    assert (r.prompt_tokens, r.generated_tokens, r.finish_reason) == (len(prompt), 5, "length")
    assert len(r.times) == 5 and r.times == sorted(r.times)
    assert 0 < r.times[0] and r.times[-1] < time.perf_counter() - begun
    assert repr(r.text) in repr(r) and "length" in repr(r)


def test_a_stream_comes_in_pieces_and_knows_its_end_at_the_end(m, path, greedy):
    prompt, ids = greedy
    r = m.stream(PROMPT, max_tokens=6)
    assert r.finish_reason is None and r.text == ""
    pieces = []
    for piece in r:
        pieces.append(piece)
        assert r.text == "".join(pieces)
    assert len(pieces) > 3 and r.text == text_after(path, prompt, ids[:6])
    assert r.finish_reason == "length" and list(r) == []


def test_a_stream_that_nobody_reads_to_its_end_has_no_reason(m, greedy):
    r = m.stream(PROMPT, max_tokens=50)
    next(r)
    assert r.finish_reason is None and 1 <= r.generated_tokens < 50
    assert r.ids == greedy[1][: r.generated_tokens]


def test_ids_are_taken_as_they_are(m, greedy):
    prompt, ids = greedy
    for form in (prompt, tuple(prompt), np.array(prompt)):
        assert m.generate(form, max_tokens=4).ids == ids[:4]
    assert m.generate(prompt, max_tokens=0).finish_reason == "length"


def test_the_context_ends_a_text_without_a_limit(m, greedy):
    prompt, ids = greedy
    for context in (len(prompt), 12, 64):
        r = m.generate(PROMPT, max_tokens=None, context=context, ignore_eos=True)
        # The last token needs no room: nothing is read after it.
        assert r.generated_tokens == context - len(prompt) + 1
        assert r.finish_reason == "context"
    assert r.ids == ids
    r = m.generate([1], max_tokens=None, context=8, ignore_eos=True)
    assert (r.generated_tokens, r.finish_reason) == (8, "context")


def test_the_limit_and_the_context_at_once_are_the_limit(m, greedy):
    room = 12 - len(greedy[0]) + 1
    assert m.generate(PROMPT, max_tokens=room, context=12).finish_reason == "length"
    assert m.generate(PROMPT, max_tokens=room + 1, context=12).finish_reason == "context"


def with_eos(m, token):
    """The same model, whose files say that `token` ends a text."""
    tokenizer = load_tokenizer(m.path)
    tokenizer.settings = dataclasses.replace(tokenizer.settings, eos_ids=(token,))
    return ll.TextModel(m.llama, m.path, tokenizer, m.chat_template)


def test_eos_ends_a_text_and_is_no_part_of_it(m, greedy):
    ids = greedy[1]
    place = next(i for i in range(4, 20) if ids[i] not in ids[:i])
    ends = with_eos(m, ids[place])
    r = ends.generate(PROMPT, max_tokens=30)
    assert (r.ids, r.finish_reason) == (ids[:place], "stop")
    assert ends.generate(PROMPT, max_tokens=30, ignore_eos=True).ids == ids[:30]
    # Exactly when the context is full, it is still the model that ended it.
    full = ends.generate(PROMPT, max_tokens=None, context=len(greedy[0]) + place)
    assert (full.ids, full.finish_reason) == (ids[:place], "stop")


def test_a_stop_text_ends_before_it(m):
    whole = str(m.generate(PROMPT, max_tokens=30))
    stop = whole[5:8]
    r = m.generate(PROMPT, max_tokens=30, stop=["never there", stop])
    assert (str(r), r.finish_reason) == (whole[: whole.index(stop)], "stop")
    # At the very last token too, whose text was held back until then.
    last = m.generate(PROMPT, max_tokens=30, stop=[whole[-2:]])
    assert last.finish_reason == "stop" and last.text == whole[: whole.index(whole[-2:])]


def test_a_seed_fixes_a_text_and_without_one_it_can_be_repeated(m):
    def draw(**how):
        return m.generate(PROMPT, max_tokens=20, temperature=1.5, **how)

    assert draw(seed=1).text == draw(seed=1).text != draw(seed=2).text
    assert draw(seed=0).seed == 0 and draw(seed=0).text == draw(seed=0).text
    first, second = draw(), draw()
    assert first.seed != second.seed and first.text != second.text
    assert draw(seed=first.seed).text == first.text


def test_options_are_given_as_one_or_by_name(m):
    options = Options(temperature=1.5, seed=3, max_tokens=7)
    assert (
        m.generate(PROMPT, options=options).text
        == m.generate(PROMPT, temperature=1.5, seed=3, max_tokens=7).text
    )
    assert m.generate(PROMPT, options=options, max_tokens=2).generated_tokens == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_tokens": -1}, "max_tokens must be a whole number from 0 on, not -1"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"context": 0}, "context must be a whole number from 1 on, not 0"),
        ({"seed": -3}, "seed"),
        ({"temperature": -1}, "temperature must be in"),
        ({"top_p": math.nan}, "top_p"),
        ({"stop": "end"}, r"stop must be a list of texts, as \['end'\]"),
        ({"stop": ["a", ""]}, "empty stop text"),
    ],
)
def test_options_that_cannot_be_are_refused(m, wrong, words):
    with pytest.raises(InputError, match=words):
        m.generate(PROMPT, **wrong)


def test_an_unknown_option_is_a_type_error(m):
    with pytest.raises(TypeError, match="temprature"):
        m.generate(PROMPT, temprature=1)


@pytest.mark.parametrize("method", ["generate", "stream", "logits", "logprobs"])
@pytest.mark.parametrize(
    ("prompt", "words"),
    [([], "empty"), ([1] * 65, "65 tokens.*only 64"), ([1, 300], "300"), ([-1], "-1"),
     ([1.5], "1.5|whole"), ([[1, 2]], "whole|vocabulary"), ("\ud800", "lone surrogate")],
)  # fmt: skip
def test_prompts_that_cannot_be_are_refused(m, method, prompt, words):
    with pytest.raises(InputError, match=words):
        getattr(m, method)(prompt)


def test_a_stream_is_refused_before_its_first_piece(m):
    with pytest.raises(InputError, match="only 3"):
        m.stream("once upon a time", context=3)


# ------------------------------------------------------------------ its numbers


def test_logits_are_those_of_forward(m):
    ids = m.encode(PROMPT)
    np.testing.assert_array_equal(m.logits(PROMPT), m.llama.forward(ids))
    last = m.llama.forward(ids, last_only=True)
    np.testing.assert_array_equal(m.logits(ids, last_only=True), last)
    with pytest.raises(InputError, match="only 2"):
        m.logits(PROMPT, context=2)


@pytest.mark.parametrize("rows", [1, 3, 128])
def test_logprobs_are_of_each_token_given_those_before_it(m, monkeypatch, rows):
    monkeypatch.setattr("numpy_llama.text.ROWS", rows)
    ids = m.encode(PROMPT)
    expected = []
    for i in range(1, len(ids)):
        z = m.llama.forward(ids[:i])[-1].tolist()
        expected.append(math.log(math.exp(z[ids[i]]) / math.fsum(map(math.exp, z))))
    found = m.logprobs(PROMPT)
    assert found.dtype == np.float64 and found.shape == (len(ids) - 1,)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_logprobs_of_one_token_are_none(m):
    assert m.logprobs([1]).shape == (0,)
    assert m.logprobs([1] * 64).shape == (63,)


def test_logits_too_large_for_exp_have_logprobs(m):
    from numpy_llama.sampling import log_probabilities

    z = np.array([[1e4, 0.0], [-1e4, 0.0], [0.0, 0.0]], np.float32)
    assert log_probabilities(z, [0, 0, 1]).tolist() == [0.0, -1e4, -math.log(2)]


def test_what_is_not_finite_is_named(path):
    broken = load(path)
    layers = list(broken.llama.weights.layers)
    w_up = layers[1].w_up.copy()
    w_up[2, 3] = np.nan
    layers[1] = dataclasses.replace(layers[1], w_up=w_up)
    weights = dataclasses.replace(broken.llama.weights, layers=tuple(layers))
    broken.llama = dataclasses.replace(broken.llama, weights=weights)
    for call in (broken.generate, broken.logits, broken.logprobs):
        with pytest.raises(NumericError, match=r"layers\.1\.up"):
            call(PROMPT)


# ------------------------------------------------------------------ conversations


def test_chat_answers_a_conversation(m):
    talk = [system("be kind"), user("once"), assistant("upon"), user("a time")]
    m = load(m.path, dtype="float64", chat_template="zephyr")
    r = m.chat(talk, max_tokens=4, context=400)
    ids, stop_ids, stops = m.encode_chat(talk)
    assert r.prompt_ids == ids and r.finish_reason == "length"
    expected = list(ids)
    for _ in range(4):
        expected.append(int(m.llama.forward(expected)[-1].argmax()))
    assert r.ids == expected[len(ids) :]
    assert "".join(m.stream(talk, max_tokens=4, context=400)) == r.text


def test_the_end_of_a_turn_ends_an_answer(m):
    """ChatML's end is no token of this vocabulary: it ends the answer as a text."""
    chatml = load(m.path, chat_template="chatml")
    assert chatml.encode_chat([user("x")])[2] == ("<|im_end|>",)
    stop = str(m.generate(PROMPT, max_tokens=9))[4:6]
    ids = m.encode(PROMPT)
    monkey = m._continue(ids, (), (stop,), Options(max_tokens=9))
    assert monkey.finish().finish_reason == "stop"


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        ("hello", "must be a list"),
        ([], "must be a list"),
        ([{"role": "user"}], "message 0"),
        ([{"role": "robot", "content": "x"}], "robot"),
        ([1, 2], "message 0"),
    ],
)
def test_messages_that_are_none_are_refused(m, talk, words):
    with pytest.raises(InputError, match=words):
        m.chat(talk)


def test_a_model_without_a_template_says_which_there_are(path):
    with pytest.raises(InputError, match="llama2, llama3, chatml, zephyr"):
        load(path).chat([user("x")])


# ------------------------------------------------------------------ loading


def test_load_takes_what_m_takes(path, tmp_path, monkeypatch):
    monkeypatch.setattr("numpy_llama.store.find.models_dir", lambda: tmp_path)
    (tmp_path / "mine").symlink_to(path)
    expected = str(load(path).generate(PROMPT, max_tokens=4))
    for source in (str(path), "mine", None):
        found = load(source)
        assert str(found.generate(PROMPT, max_tokens=4)) == expected
    for missing in ("nowhere", Path("nowhere"), Path("some/where")):
        with pytest.raises(InputError, match="where: no such file"):
            load(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load(tmp_path / "empty")


def test_dtype_stream_and_device(path):
    assert load(path).logits("a").dtype == np.float32
    assert load(path, dtype="float64").logits("a").dtype == np.float64
    streamed = load(path, stream=True)
    np.testing.assert_array_equal(streamed.logits("a"), load(path, stream=False).logits("a"))
    assert not isinstance(streamed.llama.weights.layers, tuple)
    with pytest.raises(InputError, match="int8"):
        load(path, dtype="int8")
    with pytest.raises(InputError, match="tpu"):
        load(path, device="tpu")


def test_weights_that_do_not_fit_are_streamed_with_a_warning(path, monkeypatch):
    monkeypatch.setattr("numpy_llama.loading.memory.free_memory", lambda: 1000)
    with pytest.warns(UserWarning, match="streaming the weights: as float32 they take"):
        assert not isinstance(load(path).llama.weights.layers, tuple)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(load(path, stream=False).llama.weights.layers, tuple)


def test_a_model_without_a_tokenizer_takes_ids_and_another_ones(path, tmp_path):
    bare = tmp_path / "bare"
    write_tiny_model(bare, tokenizer=False)
    m = load(bare)
    assert m.logits([1, 2]).shape == (2, m.llama.config.vocab_size) and m.logprobs([1, 2]).size == 1
    with pytest.raises(TokenizerError, match="has no tokenizer"):
        m.generate(PROMPT)
    expected = load(path).generate(PROMPT, max_tokens=3).text
    for tokenizer in (load_tokenizer(path), path / "tokenizer.model", str(path)):
        assert load(bare, tokenizer=tokenizer).generate(PROMPT, max_tokens=3).text == expected


def test_encode_and_decode(m):
    assert m.decode(m.encode("once upon a 🦙")) == "once upon a 🦙"
    assert m.encode("</s>") != m.encode("</s>", special=True)


# ------------------------------------------------------------------ taps


def test_a_tap_sees_the_prefill_and_each_step(m):
    record = ll.StepRecorder(m.llama.config)
    r = m.generate(PROMPT, max_tokens=3, tap=record)
    assert r.ids == m.generate(PROMPT, max_tokens=3, tap=no_tap).ids
    rows = [step.arrays["logits"].shape[0] for step in record.steps]
    assert rows == [r.prompt_tokens, 1, 1]
    whole = ll.Recorder(m.llama.config)
    m.llama.forward([*r.prompt_ids, *r.ids[:-1]], tap=whole)
    for name in ("layers.2.k_rot", "logits"):
        steps = np.concatenate([step.arrays[name] for step in record.steps])
        np.testing.assert_allclose(steps, whole.arrays[name], rtol=1e-9, atol=1e-12)


def test_a_name_twice_in_one_forward_is_still_refused(m):
    record = ll.StepRecorder(m.llama.config)
    m.llama.forward([1, 2], tap=record)
    with pytest.raises(ValueError, match=r"layers\.0\.q was given twice"):
        record("layers.0.q", np.zeros((2, 6, 8)))
    m.llama.forward([1, 2], tap=record)
    assert len(record.steps) == 2
