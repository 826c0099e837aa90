"""Mistakes in one place only, each made by hand: the fault's own code is not what is looked for."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest

from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.compare.verdict import Diagnosis
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.faults.place import Place, localised
from numpy_llama.golden.faults.where import places
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.override import change_layers, override
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.report.text import as_text
from numpy_llama.kv_cache import LayerCache
from numpy_llama.model import Llama
from numpy_llama.norm import rms, rms_norm
from numpy_llama.parameters import LayerWeights
from numpy_llama.rope import rotate
from numpy_llama.taps import Tap
from tests.models import random_model, random_tokens, tiny_config

CONFIG = tiny_config(rope_theta=3e4, norm_eps=3e-3, attention_bias=True, mlp_bias=True)
MODEL = random_model(CONFIG)
Made = Callable[[Llama], Llama]


@functools.cache
def golden() -> Bundle:
    return record(MODEL, random_tokens(CONFIG, 14), 4, chunk=9, detect=False)


def of_stage(stage: type[Llama]) -> Made:
    return lambda model: override(model, stage)


class FinalNormOtherEps(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        statistic = rms(x, 1e-5 if name == "final_norm" else self.config.norm_eps)
        tap(f"{name}.rms", statistic)
        y = rms_norm(x, gain, statistic)
        tap(name, y)
        return y


class CentredBeforeAttention(Llama):
    def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        if name == "attn_norm":
            x = x - x.mean(axis=-1, keepdims=True)
        return super().norm(x, gain, name, tap)


class KeysBackwards(Llama):
    def turn(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        q, k = rotate(q, R), rotate(k, R.swapaxes(-1, -2))
        tap("q_rot", q)
        tap("k_rot", k)
        return q, k


class QueriesFromOne(Llama):
    """Harmless where keys do the same."""

    def multi_head(
        self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
    ) -> np.ndarray:
        self.later.append(self.rotations(seen.start + 1, len(x)))
        return super().multi_head(x, layer, R, seen, tap)

    def turn(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        q, k = rotate(q, self.later.pop()), rotate(k, R)
        tap("q_rot", q)
        tap("k_rot", k)
        return q, k

    later: list[np.ndarray] = []


def only_in(i: int, wrong: type[Llama]) -> Made:
    """A block of another class in one layer."""

    class InOne(Llama):
        def block(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            model = override(Llama(self.config, self.weights, self.attention), wrong)
            of = model.block if seen.index == i else super().block
            return of(x, layer, R, seen, tap)

    return of_stage(InOne)


class Relu(Llama):
    def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
        gate, up = x @ layer.w_gate.T + layer.b_gate, x @ layer.w_up.T + layer.b_up
        hidden = np.maximum(gate, 0) * up
        out = hidden @ layer.w_down.T + layer.b_down
        for name, array in {"gate": gate, "up": up, "swiglu": hidden, "ffn_out": out}.items():
            tap(name, array)
        return out


class ScaledTwice(Llama):
    def turn(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        return super().turn(q / math.sqrt(self.config.head_dim), k, R, tap)


class FeedForwardNotAdded(Llama):
    def block(
        self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
    ) -> np.ndarray:
        x = x + self.multi_head(
            self.norm(x, layer.attn_norm, "attn_norm", tap), layer, R, seen, tap
        )
        tap("resid_mid", x)
        x = self.feed_forward(self.norm(x, layer.ffn_norm, "ffn_norm", tap), layer, tap)
        tap("resid_post", x)
        return x


def with_tensors(**names: str | None) -> Made:
    """Weights that are those of another name, or missing, in every layer."""

    def change(layer: LayerWeights, i: int) -> LayerWeights:
        new = {to: getattr(layer, of) if of else None for to, of in names.items()}
        return LayerWeights(**{**vars(layer), **new})

    return lambda model: change_layers(model, change)


LOCAL = [
    ("norm-eps-1e-5", "in the final norm only", of_stage(FinalNormOtherEps)),
    ("norm-mean-centred", "in attention's norm only", of_stage(CentredBeforeAttention)),
    ("rope-backwards", "in keys only", of_stage(KeysBackwards)),
    ("rope-from-1", "in queries only", of_stage(QueriesFromOne)),
    ("relu", "in layer 0", only_in(0, Relu)),
    ("relu", "in layer 2", only_in(2, Relu)),
    ("scale-twice", "in layer 1", only_in(1, ScaledTwice)),
    ("rope-backwards", "in keys only, layer 1", only_in(1, KeysBackwards)),
    ("residual-missing-ffn", "in layer 2", only_in(2, FeedForwardNotAdded)),
    ("attention-bias-missing", "in keys only", with_tensors(bk=None)),
    ("gate-up-weights-swapped", "in the gate only", with_tensors(w_gate="w_up", b_gate="b_up")),
    ("k-v-swapped", "in values only", with_tensors(wv="wk", bv="bk")),
]


def diagnosed(made: Made, taps: list[str] | None) -> Diagnosis:
    values = run(made(in_dtype(MODEL, "float32")), golden().schedule, taps)
    diagnosis = check(golden(), Candidate(values, "float32"), model=MODEL).diagnosis
    assert diagnosis is not None
    return diagnosis


@pytest.mark.parametrize("fault, place, made", LOCAL)
def test_a_mistake_in_one_place_is_named_with_it(fault: str, place: str, made: Made) -> None:
    diagnosis = diagnosed(made, None)
    assert [(s.faults, s.place) for s in diagnosis.suspects] == [((fault,), place)]


@pytest.mark.parametrize("fault, place, made", LOCAL)
def test_logits_alone_are_enough_for_it_or_for_a_set(fault: str, place: str, made: Made) -> None:
    """Only a part of one layer is not looked for without taps, and then nothing else is named."""
    diagnosis = diagnosed(made, ["logits"])
    found = [(s.faults, s.place) for s in diagnosis.suspects]
    if place.endswith("only, layer 1"):
        assert found == []
    else:
        assert ((fault,), place) in found and len(found) <= 3


def test_with_the_streams_alone_the_layer_is_found() -> None:
    taps = [f"layers.{i}.resid_post" for i in range(3)]
    diagnosis = diagnosed(only_in(1, ScaledTwice), taps)
    assert {s.place for s in diagnosis.suspects} == {"in layer 1"}
    assert diagnosis.stage == "layers.1.resid_post"


def test_the_report_tells_the_place() -> None:
    values = run(of_stage(FinalNormOtherEps)(in_dtype(MODEL, "float32")), golden().schedule)
    text = as_text(check(golden(), Candidate(values, "float32"), model=MODEL))
    assert "DIAGNOSIS: norm-eps-1e-5, in the final norm only\n" in text


def test_a_fault_of_the_tokens_or_the_head_has_no_place() -> None:
    for fault in ("bos-missing", "head-tied", "embed-scaled", "layer-last-missing", "cache-stale"):
        assert places(CATALOGUE[fault], MODEL, golden().schedule) == []


def test_a_fault_in_the_only_place_where_it_acts_is_the_fault_itself() -> None:
    """Layer by layer, from the last to the first, the right model becomes the faulty one."""
    for fault in ("norm-eps-1e-6", "rope-theta-1e4", "gqa-tiled", "cache-misses-self", "relu"):
        whole = CATALOGUE[fault].apply(MODEL, golden().schedule)
        model, schedule = MODEL, golden().schedule
        for i in reversed(range(CONFIG.n_layers)):
            model, schedule = localised(CATALOGUE[fault], Place(i)).apply(model, schedule)
        if fault == "norm-eps-1e-6":
            place = Place(part="final_norm")
            model, schedule = localised(CATALOGUE[fault], place).apply(model, schedule)
        logits = [run(*it, ["logits"])["logits"] for it in (whole, (model, schedule))]
        np.testing.assert_allclose(*logits, rtol=1e-12, atol=1e-12)
