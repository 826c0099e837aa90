"""Wrong numbers are estimated, whatever they are; and what is no wrong number gets none."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from numpy_llama.attention import attend
from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.compare.verdict import Report
from numpy_llama.golden.diagnose.evidence import gather
from numpy_llama.golden.diagnose.parameters import Fit, Work, fitted
from numpy_llama.golden.diagnose.search.search import Search
from numpy_llama.golden.faults import Fault
from numpy_llama.golden.faults.parameter import PARAMETERS
from numpy_llama.golden.progress import no_progress
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.override import override
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.report.html import as_html
from numpy_llama.golden.report.json import as_json
from numpy_llama.golden.report.text import as_text
from numpy_llama.model import Llama
from numpy_llama.parameters import LayerWeights
from numpy_llama.taps import Tap, no_tap
from tests.models import ROPES, random_model, random_tokens, tiny_config

CONFIG = tiny_config(rope_theta=3e4, norm_eps=3e-3, rope_scaling=ROPES["linear"])
MODEL = random_model(CONFIG)
Made = Callable[[Llama], Llama]


@functools.cache
def golden() -> Bundle:
    return record(MODEL, random_tokens(CONFIG, 14), 4, chunk=9, detect=False)


def believing(**changes: Any) -> Made:
    return lambda model: dataclasses.replace(
        model, config=dataclasses.replace(model.config, **changes)
    )


def scaled_scores(factor: float) -> Made:
    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
        return attend(q * np.float32(factor), k, v, tap)

    return lambda model: dataclasses.replace(model, attention=attention)


def last_keys(w: int) -> Made:
    """Attention one query at a time, over the w keys up to its own."""

    def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap) -> np.ndarray:
        L, S = len(q), k.shape[1]
        heads, scores = [], np.zeros((q.shape[1], L, S), q.dtype)
        probs = np.zeros_like(scores)
        for i in range(L):
            end = S - L + i + 1
            keys = slice(max(end - w, 0), end)
            seen: dict[str, np.ndarray] = {}
            attend(q[i : i + 1], k[:, :end], v[:, :end], seen.__setitem__)
            scores[:, i, :end] = seen["scores"][:, 0]
            seen = {}
            heads.append(attend(q[i : i + 1], k[:, keys], v[:, keys], seen.__setitem__))
            probs[:, i, keys] = seen["probs"][:, 0]
        tap("scores", scores)
        tap("probs", probs)
        return np.concatenate(heads)

    return lambda model: dataclasses.replace(model, attention=attention)


def swish(beta: float) -> Made:
    class Swish(Llama):
        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
            gate, up = x @ layer.w_gate.T, x @ layer.w_up.T
            hidden = gate / (1 + np.exp(-np.float32(beta) * gate)) * up
            out = hidden @ layer.w_down.T
            for name, array in {"gate": gate, "up": up, "swiglu": hidden, "ffn_out": out}.items():
                tap(name, array)
            return out

    return lambda model: override(model, Swish)


def judged(made: Made, taps: list[str] | None) -> Report:
    values = run(made(in_dtype(MODEL, "float32")), golden().schedule, taps)
    return check(golden(), Candidate(values, "float32"), model=MODEL)


WRONG = [
    ("norm-eps", 7e-4, believing(norm_eps=7e-4)),
    ("norm-eps", 0.02, believing(norm_eps=0.02)),
    ("rope-theta", 1234.5, believing(rope_theta=1234.5)),
    ("rope-theta", 30300.0, believing(rope_theta=30300.0)),
    ("rope-factor", 3.5, believing(rope_scaling=dataclasses.replace(ROPES["linear"], factor=3.5))),
    ("score-scale", 0.5 * 8**-0.5, scaled_scores(0.5)),
    ("score-scale", 3.3 * 8**-0.5, scaled_scores(3.3)),
    ("window-length", 5, last_keys(5)),
    ("window-length", 15, last_keys(15)),  # seen in decode rows only
    ("swish-beta", 1.1, swish(1.1)),
    ("swish-beta", 0.2, swish(0.2)),
]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("id, value, made", WRONG)
def test_a_wrong_number_is_named_and_estimated(
    id: str, value: float, made: Made, alone: bool
) -> None:
    diagnosis = judged(made, ["logits"] if alone else None).diagnosis
    assert diagnosis is not None
    assert [suspect.faults for suspect in diagnosis.suspects] == [(id,)]
    assert diagnosis.suspects[0].value == pytest.approx(value, rel=1e-2)


def test_a_listed_number_keeps_its_name() -> None:
    diagnosis = judged(believing(rope_theta=1e4), ["logits"]).diagnosis
    assert diagnosis is not None
    assert [(s.faults, s.value) for s in diagnosis.suspects] == [(("rope-theta-1e4",), None)]


def test_the_reports_tell_the_number_and_what_it_should_be() -> None:
    report = judged(believing(rope_theta=6e5), ["logits"])
    told = "θ is about 600,000 (should be 30,000)"
    assert f"DIAGNOSIS: rope-theta, your {told}" in as_text(report)
    assert told in as_html(report, golden(), "dump")
    suspect = as_json(report)["diagnosis"]["suspects"][0]
    assert suspect["value"] == pytest.approx(6e5, rel=1e-4) and suspect["should_be"] == 3e4


def test_a_number_that_no_model_can_have_is_passed_over() -> None:
    """YaRN has no θ of 1, which is among the first that are tried where θ is 1,000."""
    config = tiny_config(rope_theta=1e3, rope_scaling=ROPES["yarn"])
    model = random_model(config)
    bundle = record(model, random_tokens(config, 14), 4, taps=["logits"], detect=False)
    capped = np.tanh(run(in_dtype(model, "float32"), bundle.schedule)["logits"] / 50) * 50
    capped[0] = bundle.values["logits"][0]
    report = check(bundle, Candidate({"logits": capped}, "float32"), model=model)
    assert report.diagnosis is not None and report.diagnosis.outcome == "unexplained"


def test_a_number_that_does_not_explain_all_is_not_told() -> None:
    """θ is wrong, and the logits are capped besides: θ alone comes near, and is not named."""

    class Capped(Llama):
        def head(self, x: np.ndarray, tap: Tap) -> np.ndarray:
            return super().head(x, lambda name, array: tap(name, np.tanh(array / 50) * 50))

    def both(model: Llama) -> Llama:
        return override(believing(rope_theta=1234.5)(model), Capped)

    diagnosis = judged(both, ["logits"]).diagnosis
    assert diagnosis is not None
    assert diagnosis.outcome == "unexplained" and diagnosis.suspects == ()


class Known(Fit):
    """A fit to a function that is known, where no run costs anything."""

    def measured(self, value: float) -> np.ndarray:
        return self.error_of(math.log(value))

    def try_each(self, values: Sequence[float]) -> None:
        for value in values:
            self.off(value)


def fit_to(error: Callable[[float], float]) -> tuple[float | None, Fit]:
    """What the secant finds for a number whose right value is 1, and all that was tried."""
    parameter = next(p for p in PARAMETERS if p.fault.id == "norm-eps")
    fit = Known(cast(Search, None), parameter, "logits", Work(100))
    fit.error_of = lambda u: np.array([1e3, error(u)])  # type: ignore[attr-defined]
    return fitted(fit, 1.0), fit


def test_the_secant_stops_when_it_goes_in_circles() -> None:
    """An error with a kink that is nowhere zero: from each side the secant leads to the other."""
    found, fit = fit_to(lambda u: 10 + abs(u + 9.3))
    assert found == pytest.approx(math.exp(-9.3), rel=3)
    values = sorted(fit.tried)
    apart = [math.log(b / a) for a, b in itertools.pairwise(values)]
    assert min(apart) > 1e-6  # none was tried twice
    assert len(values) <= 12


def test_the_secant_arrives_and_stops() -> None:
    found, fit = fit_to(lambda u: u + 9.3)
    assert found == pytest.approx(math.exp(-9.3), rel=1e-6)
    assert len(fit.tried) <= 12


@pytest.mark.parametrize("left", [0, 2, 4, 100])
def test_no_more_runs_are_made_than_are_left(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first values, which are tried side by side, too."""
    played: list[str] = []

    def play(search: Search, faults: tuple[Fault, ...], *rest: Any) -> dict[str, np.ndarray]:
        played.extend(fault.id for fault in faults)
        return {}

    monkeypatch.setattr(Search, "play", play)
    parameter = next(p for p in PARAMETERS if p.fault.id == "norm-eps")
    search = Search(MODEL, golden().schedule, gather(golden(), {}, {}), {}, "float32", no_progress)
    work = Work(left)
    fit = Fit(search, parameter, "logits", work, {parameter.right(CONFIG): None})
    fitted(fit, parameter.right(CONFIG))
    assert len(played) == min(left, 5 + 1)  # and one beside the nearest
    assert work.done >= len(played)
