"""Several sequences in one forward: each gets what it would get alone."""

import threading

import numpy as np
import pytest

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.batch.ride import ride_together, within_rows
from numpy_llama.batch.together import Part, forward_together
from numpy_llama.errors import InputError
from numpy_llama.generation import generate
from tests.models import ROPES, random_model, tiny_config

PROMPTS = ([5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [3, 4])


@pytest.fixture(params=[attend, attend_blocked], ids=["attend", "attend_blocked"])
def model(request):
    return random_model(tiny_config(), 0, np.float64, attention=request.param)


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("last_only", [False, True])
def test_each_sequence_gets_its_own_logits_also_after_what_it_has_cached(rope, last_only):
    model = random_model(tiny_config(rope_scaling=ROPES[rope], max_context=16), 0, np.float64)
    caches = [model.new_cache(16) for _ in PROMPTS]
    alone = [model.new_cache(16) for _ in PROMPTS]
    for step in (PROMPTS, [[20 + i] * (i + 1) for i in range(len(PROMPTS))]):
        parts = [Part(list(ids), c, last_only) for ids, c in zip(step, caches, strict=True)]
        together = forward_together(model, parts)
        for ids, cache, logits in zip(step, alone, together, strict=True):
            expected = model.forward(ids, cache, last_only=last_only)
            assert logits.shape == expected.shape
            np.testing.assert_allclose(logits, expected, rtol=1e-11, atol=1e-11)
    for one, other in zip(caches, alone, strict=True):
        assert one.length == other.length
        np.testing.assert_allclose(one.k, other.k, rtol=1e-11, atol=1e-11)


def test_a_sequence_without_room_spoils_nothing(model):
    full, free = model.new_cache(2), model.new_cache(8)
    with pytest.raises(InputError, match="do not fit"):
        forward_together(model, [Part([1, 2, 3], full, True), Part([1], free, True)])
    assert full.length == free.length == 0


def test_parts_are_taken_as_they_fit_and_a_large_one_by_itself(model):
    parts = [Part([0] * n, model.new_cache(1), True) for n in (3, 2, 9, 1, 1)]
    sizes = [[len(part.tokens) for part in some] for some in within_rows(parts, 5)]
    assert sizes == [[3, 2], [9], [1, 1]]


# ------------------------------------------------------------------ riding along


def continued(model, prompt, n):
    return list(generate(model, prompt, n))


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
def test_texts_that_ride_together_are_those_of_each_alone(model, most):
    lengths = (6, 2, 9, 4)
    items = list(zip(PROMPTS, lengths, strict=True))
    rode = dict(ride_together(model, lambda m, item: continued(m, *item), items, most))
    assert rode == {i: continued(model, *item) for i, item in enumerate(items)}


def test_all_who_ride_share_each_pass(monkeypatch):
    model = random_model(tiny_config(), 0, np.float64)
    seen = []

    def spy(model, parts):
        seen.append([len(part.tokens) for part in parts])
        return forward_together(model, parts)

    monkeypatch.setattr("numpy_llama.batch.ride.forward_together", spy)
    items = [(PROMPTS[0], 3), (PROMPTS[1], 1), (PROMPTS[2], 2)]
    for _ in range(20):  # whatever the threads do, the passes are these
        seen.clear()
        list(ride_together(model, lambda m, item: continued(m, *item), items, 2))
        # The first two; then the third begins in the place of the second, which has ended.
        assert seen == [[3, 1], [1, 7], [1, 1]]


def test_who_cannot_go_on_leaves_the_others(model):
    def work(m, item):
        if item is None:
            raise InputError("no prompt")
        return continued(m, item, 5)

    items = [PROMPTS[0], None, [10**6], PROMPTS[1]]
    results, errors = {}, 0
    ride = ride_together(model, lambda m, item: attempt(work, m, item), items, 3)
    for place, result in ride:
        results[place] = result
        errors += isinstance(result, InputError)
    assert errors == 2
    assert results[0] == continued(model, PROMPTS[0], 5)
    assert results[3] == continued(model, PROMPTS[1], 5)


def attempt(work, m, item):
    try:
        return work(m, item)
    except InputError as error:
        return error


def test_a_pass_that_fails_ends_all_who_wait_for_it(model, monkeypatch):
    def fail(model, parts):
        raise MemoryError("no more")

    monkeypatch.setattr("numpy_llama.batch.ride.forward_together", fail)
    before = threading.active_count()
    with pytest.raises(MemoryError, match="no more"):
        list(ride_together(model, lambda m, item: continued(m, item, 3), PROMPTS, 3))
    assert threading.active_count() <= before + 3
