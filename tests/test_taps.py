"""The table of taps: every name once, in causal order, with its axes; and the recorder's checks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from numpy_llama.attention import attend_blocked
from numpy_llama.taps import TAPS, Recorder, no_tap, tap_axes, tap_names, within
from tests.models import random_model, random_tokens, tiny_config

SIZES = {"D": 24, "F": 40, "V": 61, "H": 6, "K": 2, "hd": 8}


@pytest.mark.parametrize("cached, new", [(0, 7), (4, 3), (6, 1)])
def test_every_tap_is_given_once_in_the_order_of_the_table(cached: int, new: int) -> None:
    model = random_model(tiny_config())
    tokens = random_tokens(model.config, cached + new)
    cache, recorder = model.new_cache(len(tokens)), Recorder(model.config)
    if cached:
        model.forward(tokens[:cached], cache)
    logits = model.forward(tokens[cached:], cache, recorder)

    assert list(recorder.arrays) == tap_names(3)
    assert len(recorder.arrays) == 3 + 19 * 3 + 1  # embed; 19 a layer; final_norm.rms and two more
    sizes = SIZES | {"L": new, "S": cached + new}
    for name, array in recorder.arrays.items():
        assert array.shape == tuple(sizes[axis] for axis in tap_axes(name)), name
    assert np.array_equal(recorder.arrays["logits"], logits)


def test_blocked_attention_gives_every_tap_but_scores_and_probabilities() -> None:
    model = replace(random_model(tiny_config()), attention=attend_blocked)
    recorder = Recorder(model.config)
    model.forward([1, 2, 3], tap=recorder)
    hidden = {f"layers.{i}.{name}" for i in range(3) for name in ("scores", "probs")}
    assert list(recorder.arrays) == [name for name in tap_names(3) if name not in hidden]


def test_tapping_changes_no_bit() -> None:
    model = random_model(tiny_config())
    assert np.array_equal(model.forward([5, 6], tap=Recorder(model.config)), model.forward([5, 6]))


def test_scores_are_scaled_and_not_masked_and_probabilities_are() -> None:
    model, recorder = random_model(tiny_config()), Recorder(tiny_config())
    model.forward(random_tokens(model.config, 5), tap=recorder)
    q, k = recorder.arrays["layers.1.q_rot"], recorder.arrays["layers.1.k_rot"]
    scores, probs = recorder.arrays["layers.1.scores"], recorder.arrays["layers.1.probs"]
    for h, i, j in np.ndindex(6, 5, 5):
        assert scores[h, i, j] == pytest.approx(q[i, h] @ k[j, h // 3] / 8**0.5, abs=1e-13)
        assert (probs[h, i, j] == 0) == (j > i)
    assert probs.sum(axis=-1) == pytest.approx(1, rel=1e-14)


def test_names_of_the_table() -> None:
    assert tap_axes("layers.12.q_rot") == ("L", "H", "hd")
    assert tap_axes("final_norm.rms") == ("L",)
    assert tap_names(0) == ["embed", "final_norm.rms", "final_norm", "logits"]
    assert tap_names(2)[1] == "layers.0.attn_norm.rms"
    assert len(set(tap_names(5))) == 5 * 19 + 4
    assert all(tap_axes(name.format(i=3)) == tuple(axes.split()) for name, axes in TAPS.items())


@pytest.mark.parametrize("name", ["", "q", "layers.q", "layers.x.q", "layers.0.", "layers.0.Q"])
def test_a_name_not_in_the_table_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        tap_axes(name)


def test_within_prefixes_and_lets_no_tap_be() -> None:
    seen: list[str] = []
    within(within(lambda name, _: seen.append(name), "a."), "b.")("c", np.zeros(1))
    assert seen == ["a.b.c"]
    assert within(no_tap, "layers.0.") is no_tap


def test_the_recorder_keeps_a_copy() -> None:
    recorder, array = Recorder(tiny_config()), np.zeros((2, 24))
    recorder("embed", array)
    array += 1
    assert not recorder.arrays["embed"].any()


@pytest.mark.parametrize(
    "name, shape, axes",
    [
        ("layers.0.q", (2, 2, 8), "L H hd"),  # as many heads as there are keys
        ("layers.0.q", (3, 6, 8), "L H hd"),  # another L
        ("layers.0.q", (6, 2, 8), "L H hd"),  # transposed
        ("layers.0.q", (2, 48), "L H hd"),
        ("layers.0.q", (1, 2, 6, 8), "L H hd"),
        ("layers.1.probs", (6, 2, 4), "H L S"),  # another S
        ("final_norm.rms", (2, 1), "L"),
        ("logits", (1, 61), "L V"),  # as with last_only
        ("logits", (), "L V"),
    ],
)
def test_the_recorder_refuses_a_wrong_shape(name: str, shape: Any, axes: str) -> None:
    recorder = Recorder(tiny_config())
    recorder("layers.0.scores", np.zeros((6, 2, 5)))  # binds L = 2, S = 5
    with pytest.raises(ValueError, match=rf"tap {name} has the shape .* \({axes}\)"):
        recorder(name, np.zeros(shape))
    assert list(recorder.arrays) == ["layers.0.scores"]


def test_the_recorder_refuses_a_name_twice_and_an_unknown_one() -> None:
    recorder = Recorder(tiny_config())
    recorder("embed", np.zeros((2, 24)))
    with pytest.raises(ValueError, match="embed was given twice"):
        recorder("embed", np.zeros((2, 24)))
    for name in ("layers.3.attn_out", "embeddings"):
        with pytest.raises(KeyError, match=name):
            recorder(name, np.zeros((2, 24)))
