"""Generation: what is yielded, when it ends, and how stop strings cut text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.errors import InputError, NumericError
from numpy_llama.generation import first_not_finite, generate, overlap, text_of
from numpy_llama.sampling import Sampling
from tests.models import random_model, tiny_config

CONFIG = tiny_config()
MODEL = random_model(CONFIG)
PROMPT = [3, 1, 4, 1, 5]


def greedy_without_a_cache(n):
    """The same continuation, each token from a whole new forward."""
    tokens = list(PROMPT)
    for _ in range(n):
        tokens.append(int(MODEL.forward(tokens)[-1].argmax()))
    return tokens[len(PROMPT) :]


def test_greedy_generation_equals_a_forward_for_each_token():
    assert list(generate(MODEL, PROMPT, 20)) == greedy_without_a_cache(20)


def test_no_more_than_asked_for():
    assert len(list(generate(MODEL, PROMPT, 3))) == 3
    assert list(generate(MODEL, PROMPT, 0)) == []


def test_a_stop_id_ends_before_it_is_yielded():
    expected = greedy_without_a_cache(20)
    stop = expected[7]
    assert list(generate(MODEL, PROMPT, 20, stop_ids={stop})) == expected[: expected.index(stop)]


def test_a_full_cache_ends_it_after_the_token_that_needs_no_room():
    cache = MODEL.new_cache(len(PROMPT) + 4)
    assert list(generate(MODEL, PROMPT, 100, cache=cache)) == greedy_without_a_cache(5)
    assert cache.length == cache.capacity


def test_the_context_bounds_the_default_cache():
    prompt = [1] * CONFIG.max_context
    assert len(list(generate(MODEL, prompt, 50))) == 1


def test_a_prompt_may_continue_what_a_cache_holds():
    cache = MODEL.new_cache(40)
    MODEL.forward(PROMPT[:3], cache)
    assert list(generate(MODEL, PROMPT[3:], 10, cache=cache)) == greedy_without_a_cache(10)


@pytest.mark.parametrize(("prompt", "words"), [([], "empty"), ([1] * 65, "65 tokens.*64")])
def test_prompts_that_do_not_fit_are_refused(prompt, words):
    with pytest.raises(InputError, match=words):
        next(generate(MODEL, prompt, 1))


def test_a_seed_fixes_the_text():
    def text(seed):
        return list(generate(MODEL, PROMPT, 20, Sampling(temperature=2.0), seed))

    assert text(5) == text(5) != text(6)


def test_a_weight_that_is_not_finite_is_found_where_it_first_shows():
    model = random_model(CONFIG, seed=3)
    model.weights.layers[1].w_up[2, 3] = np.nan
    assert first_not_finite(model, PROMPT) == "layers.1.up"
    with pytest.raises(NumericError, match=r"layers\.1\.up"):
        list(generate(model, PROMPT, 3))


class Letters:
    """A decoder for tests: id i is the letter chr(i); it holds nothing back."""

    def push(self, token):
        return chr(token)

    def finish(self):
        return ""


def stream(text, stops):
    return list(text_of(map(ord, text), Letters(), stops))


def test_text_streams_letter_by_letter_without_stops():
    assert stream("abc", []) == ["a", "b", "c", ""]


def test_what_may_become_a_stop_is_held_back_until_it_cannot():
    assert stream("a\n\nb", ["\n\n"]) == ["a", ""]
    assert stream("a\nb", ["\n\n"])[:2] == ["a", "\nb"]


def test_no_token_is_asked_for_after_a_stop():
    tokens = iter(map(ord, "ab.cd"))
    assert "".join(text_of(tokens, Letters(), ["."])) == "ab"
    assert next(tokens) == ord("c")


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3))
def test_a_stream_with_stops_is_the_text_before_the_earliest(text, stops):
    """The earliest to be complete, that is, since the text after it is not yet known."""
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    seen = text[: min(ends)] if ends else text
    cut = min((seen.find(stop) for stop in stops if stop in seen), default=len(seen))
    assert "".join(stream(text, stops)) == seen[:cut]


def test_overlap_is_the_longest_start_of_the_stop_at_the_end_of_the_text():
    assert [overlap(text, "aab") for text in ("", "a", "aa", "aaa", "aab", "ba")] == [
        0, 1, 2, 2, 0, 1,
    ]  # fmt: skip


def reason_of(generator):
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_generation_returns_why_it_ended():
    eighth = greedy_without_a_cache(8)[-1]
    assert reason_of(generate(MODEL, PROMPT, 3)) == "length"
    assert reason_of(generate(MODEL, PROMPT, 0)) == "length"
    assert reason_of(generate(MODEL, PROMPT, 20, stop_ids={eighth})) == "stop"
    cache = MODEL.new_cache(len(PROMPT) + 4)
    assert reason_of(generate(MODEL, PROMPT, 100, cache=cache)) == "context"
    cache = MODEL.new_cache(len(PROMPT) + 4)
    assert reason_of(generate(MODEL, PROMPT, 5, cache=cache)) == "length"


@pytest.mark.parametrize(("text", "ended"), [("ab.c", True), ("ab.", True), ("ab", False)])
def test_a_text_returns_whether_a_stop_ended_it(text, ended):
    assert reason_of(text_of(map(ord, text), Letters(), ["."])) is ended


def test_a_stop_in_what_the_decoder_held_back_is_found():
    class Late(Letters):
        def finish(self):
            return ".z"

    stream = text_of(map(ord, "ab"), Late(), ["."])
    assert [*stream] == ["a", "b", ""]
    assert reason_of(text_of(map(ord, "ab"), Late(), ["."])) is True


def test_taps_see_every_row_and_change_no_token():
    seen = []
    tokens = list(generate(MODEL, PROMPT, 3, tap=lambda name, x: seen.append((name, x.shape))))
    assert tokens == greedy_without_a_cache(3)
    V = CONFIG.vocab_size
    assert [shape for name, shape in seen if name == "logits"] == [(5, V), (1, V), (1, V)]
