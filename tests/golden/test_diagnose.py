"""Naming mistakes: one, two, on little evidence, and none where none is known."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from numpy_llama.errors import InputError
from numpy_llama.golden import check
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.candidate.normalise import normalise
from numpy_llama.golden.compare.verdict import Diagnosis, Isolated, Report
from numpy_llama.golden.diagnose.diagnose import nearest_of
from numpy_llama.golden.diagnose.evidence import gather
from numpy_llama.golden.diagnose.isolate import isolate
from numpy_llama.golden.diagnose.search.search import Search
from numpy_llama.golden.diagnose.search.trial import Trial
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.progress import no_progress
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.record.reference import check_model
from numpy_llama.golden.replay.override import override
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import last_rows
from numpy_llama.golden.replay.variants import variants
from numpy_llama.model import Llama
from numpy_llama.parameters import LayerWeights
from numpy_llama.taps import Tap
from tests.models import ROPES, random_model, random_tokens, tiny_config

CONFIG = tiny_config(
    rope_theta=3e4, norm_eps=3e-5, rope_scaling=ROPES["llama3"], attention_bias=True
)
MODEL = random_model(CONFIG)


@functools.cache
def golden() -> Bundle:
    return record(MODEL, random_tokens(CONFIG, 14), 4, chunk=9)


def candidate(*faults: str, dtype: str = "float32", taps: list[str] | None = None) -> Candidate:
    """What the model gives with these faults, all taps or some."""
    model, schedule = in_dtype(MODEL, dtype), golden().schedule
    for fault in faults:
        model, schedule = CATALOGUE[fault].apply(model, schedule)
    values = run(model, schedule, taps)
    T = len(golden().schedule.tokens)
    return Candidate({name: last_rows(name, array, T) for name, array in values.items()}, dtype)


def of(report: Report) -> Diagnosis:
    assert report.diagnosis is not None
    return report.diagnosis


def named(diagnosis: Diagnosis) -> list[set[str]]:
    return [set(suspect.faults) for suspect in diagnosis.suspects]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_correct_candidate_is_not_diagnosed(dtype: str) -> None:
    report = check(golden(), candidate(dtype=dtype), model=MODEL)
    assert report.summary == "passed" and of(report).outcome == "correct"
    assert of(report).suspects == ()


@pytest.mark.parametrize(
    "fault, stage",
    [
        ("norm-eps-1e-6", "layers.0.attn_norm.rms"),
        ("rope-half-split", "layers.0.q_rot"),
        ("scale-dim", "layers.0.scores"),
        ("mask-one-ahead", "layers.0.probs"),
        ("heads-not-transposed", "layers.0.heads"),
        ("relu", "layers.0.swiglu"),
        ("decode-later-layers-plus-1", "layers.1.q_rot"),
        ("head-tied", "logits"),
    ],
)
def test_the_stage_and_the_fault_are_named(fault: str, stage: str) -> None:
    diagnosis = of(check(golden(), candidate(fault), model=MODEL))
    assert named(diagnosis) == [{fault}] and diagnosis.stage == stage
    assert diagnosis.suspects[0].residual < 3
    assert diagnosis.runner_up is not None
    assert diagnosis.runner_up.residual > 2 * diagnosis.suspects[0].residual


@pytest.mark.parametrize("fault", ["rope-theta-1e4", "decode-position-plus-1-gap", "bos-doubled"])
def test_logits_alone_are_enough(fault: str) -> None:
    diagnosis = of(check(golden(), candidate(fault, taps=["logits"]), model=MODEL))
    assert diagnosis.outcome == "named" and named(diagnosis) == [{fault}]


def test_the_last_row_of_logits_is_enough_for_a_set() -> None:
    last = candidate("gqa-tiled", taps=["logits"]).values["logits"][-1:]
    diagnosis = of(check(golden(), Candidate({"logits": last}, "float32"), model=MODEL))
    assert {"gqa-tiled"} in named(diagnosis)


def test_what_the_evidence_cannot_tell_apart_is_a_set() -> None:
    """With gate and up hidden, exchanging the matrices is exchanging their roles."""
    alone = candidate("gate-up-swapped", taps=["logits"])
    diagnosis = of(check(golden(), alone, model=MODEL))
    assert diagnosis.outcome == "set"
    assert {"gate-up-swapped"} in named(diagnosis) and {"gate-up-weights-swapped"} in named(
        diagnosis
    )
    everything = of(check(golden(), candidate("gate-up-swapped"), model=MODEL))
    assert everything.outcome == "named"


def test_at_bfloat16_what_is_visible_is_named() -> None:
    for fault in ("rope-half-split", "decode-position-zero", "up-missing"):
        assert golden().detectability[fault]["bfloat16"].visible
        assert {fault} in named(
            of(check(golden(), candidate(fault, dtype="bfloat16"), model=MODEL))
        )
    assert not golden().detectability["norm-eps-1e-6"]["bfloat16"].visible
    report = check(golden(), candidate("norm-eps-1e-6", dtype="bfloat16"), model=MODEL)
    assert report.summary == "passed"


@pytest.mark.parametrize(
    "pair",
    [
        ("norm-eps-1e-6", "relu"),
        ("rope-theta-1e4", "decode-position-plus-1"),  # both in one stage
        ("mask-upper-left", "attention-bias-missing"),
        ("bos-missing", "gqa-tiled"),
        ("norm-post", "rope-theta-1e4"),  # it computes in another order than ours
    ],
)
def test_two_faults_are_both_named(pair: tuple[str, str]) -> None:
    diagnosis = of(check(golden(), candidate(*pair), model=MODEL))
    assert named(diagnosis) == [set(pair)]


class Softcapped(Llama):
    """A mistake that is not in the catalogue."""

    def head(self, x: np.ndarray, tap: Tap) -> np.ndarray:
        def capped(name: str, array: np.ndarray) -> None:
            tap(name, np.tanh(array / 5) * 5 if name == "logits" else array)

        return super().head(x, capped)


class HalfUp(Llama):
    """Another, inside of every block."""

    def feed_forward(self, x: np.ndarray, layer: object, tap: Tap) -> np.ndarray:
        def halved(name: str, array: np.ndarray) -> None:
            tap(name, array / 2 if name == "ffn_out" else array)

        return super().feed_forward(x, layer, halved) / 2  # type: ignore[arg-type]


@pytest.mark.parametrize("unknown, stage", [(Softcapped, "logits"), (HalfUp, "layers.0.ffn_out")])
@pytest.mark.parametrize("alone", [True, False])
def test_an_unknown_mistake_is_not_named(unknown: type[Llama], stage: str, alone: bool) -> None:
    taps = ["logits"] if alone else None
    values = run(override(in_dtype(MODEL, "float32"), unknown), golden().schedule, taps)
    diagnosis = of(check(golden(), Candidate(values, "float32"), model=MODEL))
    assert diagnosis.outcome == "unexplained" and diagnosis.suspects == ()
    assert diagnosis.stage == ("logits" if alone else stage)


class QuickSilu(Llama):
    """A wrong SiLU that is in no catalogue: z · σ(z + 0.1)."""

    def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
        gate, up = x @ layer.w_gate.T, x @ layer.w_up.T
        tap("gate", gate)
        tap("up", up)
        hidden = gate / (1 + np.exp(np.float32(-0.1) - gate)) * up
        tap("swiglu", hidden)
        out = hidden @ layer.w_down.T
        tap("ffn_out", out)
        return out


@pytest.mark.parametrize("taps", [None, ["logits"]])
def test_what_is_called_nearest_is_near_on_all_that_was_given(taps: list[str] | None) -> None:
    """A fault whose run was ended early is near on its beginning alone, and is not told."""
    values = run(override(in_dtype(MODEL, "float32"), QuickSilu), golden().schedule, taps)
    report = check(golden(), Candidate(values, "float32"), model=MODEL)
    diagnosis, nearest = of(report), of(report).runner_up
    assert diagnosis.outcome == "unexplained"
    worst = max(tap.ratio or 0.0 for tap in report.taps)
    if nearest is not None:
        assert nearest.residual < worst
        assert all(CATALOGUE[fault].family == "feed_forward" for fault in nearest.faults)


def test_a_run_that_was_ended_early_is_nearest_to_nothing() -> None:
    embed, logits = ("embed", 0), ("logits", 0)
    ended = Trial((CATALOGUE["norm-twice"],), {embed: 2.0}, {embed: 1.0}, 0, whole=False)
    whole = Trial((CATALOGUE["relu"],), {embed: 0.0, logits: 5.0}, {embed: 1, logits: 1}, 1)
    assert nearest_of([ended, whole], limit=10) is whole
    assert nearest_of([ended, whole], limit=4) is None and nearest_of([ended], 10) is None


def test_noise_alone_is_not_named_either() -> None:
    noise = np.random.default_rng(0)
    right = candidate().values
    values = {n: a * (1 + 1e-4 * noise.standard_normal(a.shape)) for n, a in right.items()}
    diagnosis = of(check(golden(), Candidate(values, "float32"), model=MODEL))
    assert diagnosis.outcome == "unexplained"


def test_what_is_not_finite_is_no_evidence_but_the_rest_is() -> None:
    values = dict(candidate("rope-backwards").values)
    values["logits"] = np.full_like(values["logits"], np.nan)
    assert named(of(check(golden(), Candidate(values, "float32"), model=MODEL))) == [
        {"rope-backwards"}
    ]
    nothing = of(check(golden(), Candidate({"logits": values["logits"]}, "float32"), model=MODEL))
    assert nothing.outcome == "unexplained" and nothing.detail


def test_rows_that_are_only_left_out_are_no_fault() -> None:
    values = {n: a[2:] for n, a in candidate().values.items() if a.ndim < 3}
    diagnosis = of(check(golden(), Candidate(values, "float32"), model=MODEL))
    assert diagnosis.outcome == "unexplained" and "not all" in diagnosis.detail


def test_each_stage_is_judged_by_its_own_inputs() -> None:
    """After the first wrong operation every tap diverges; by itself, only that operation does."""
    report = check(golden(), candidate("scale-heads"), model=MODEL)
    bad = {stage.tap for stage in report.isolated if stage.verdict != "ok"}
    assert bad == {f"layers.{i}.scores" for i in range(CONFIG.n_layers)}
    diverged = [tap.tap for tap in report.taps if tap.verdict == "divergent"]
    assert len(diverged) > 40


def isolated(given: Candidate) -> tuple[Isolated, ...]:
    ours = normalise(golden(), given)
    return isolate(MODEL, gather(golden(), ours.values, ours.rows), ours.dtype)


def test_a_stage_is_recomputed_from_the_nearest_taps_that_were_given() -> None:
    taps = [f"layers.{i}.resid_post" for i in range(CONFIG.n_layers)]
    given = candidate("gqa-tiled", taps=taps)
    stages = {stage.tap: stage for stage in isolated(given)}
    assert stages[taps[0]].inputs == () and stages[taps[1]].inputs == (taps[0],)
    right = isolated(candidate(taps=taps))
    assert [stage.verdict for stage in right] == ["ok"] * CONFIG.n_layers


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_every_stage_of_a_correct_candidate_is_right_by_itself(dtype: str) -> None:
    stages = isolated(candidate(dtype=dtype))
    assert [stage.tap for stage in stages] == list(golden().values)
    assert max(stage.ratio for stage in stages) < 3
    assert all(math.isfinite(stage.error) for stage in stages)


@pytest.mark.parametrize("way", range(4))
def test_every_stage_of_an_equally_right_candidate_is_right_by_itself(way: int) -> None:
    """Its floors are an envelope too: one run alone is passed by others (RoPE's in float32)."""
    equally_right = list(variants(MODEL, "float32"))[way]
    values = run(equally_right, golden().schedule)
    stages = isolated(Candidate(values, "float32"))
    assert max(stage.ratio for stage in stages) <= 1


def test_a_fault_is_judged_in_each_group_of_rows_by_that_groups_floor() -> None:
    """What is noise in one group is an error in another, whose floor is smaller."""
    want = golden().values["logits"]
    wrong = want.copy()
    wrong[-4:] *= 1 + 2e-4  # the decode steps
    for floor, off in ((1e-3, False), (1e-6, True)):
        floors = {("logits", 0): 1e-2, ("logits", 1): 1e-2, ("logits", 2): floor}
        evidence = gather(golden(), {"logits": wrong}, {"logits": range(18)})
        search = Search(MODEL, golden().schedule, evidence, floors, "float32", no_progress)
        trial = search.refine(())
        assert (trial.residual > 10) == off and trial.worst[1] == (2 if off else trial.worst[1])
        assert trial.floors["logits", 2] == pytest.approx(floor)


def test_progress_is_told_and_ends() -> None:
    calls: list[tuple[int, int]] = []
    check(golden(), candidate("relu"), model=MODEL, progress=lambda i, n, _: calls.append((i, n)))
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1] >= 60


@pytest.mark.parametrize("taps", [None, ["logits"]])
@pytest.mark.parametrize("faults", [("gate-up-swapped",), ("relu", "decode-position-plus-1"), ()])
def test_the_diagnosis_does_not_depend_on_how_many_are_tried_at_once(
    faults: tuple[str, ...], taps: list[str] | None
) -> None:
    given = candidate(*faults, taps=taps)
    if not faults:  # nothing that is known
        given.values["logits"][:] = np.roll(given.values["logits"], 1, axis=-1)
    one, three = (check(golden(), given, model=MODEL, jobs=jobs) for jobs in (1, 3))
    assert one == three and one.diagnosis is not None


def test_the_golden_knows_its_model() -> None:
    assert check_model(golden(), MODEL, "this") is MODEL
    with pytest.raises(InputError, match="sha256"):
        check_model(golden(), random_model(CONFIG, seed=1), "other")
    config = dataclasses.replace(CONFIG, norm_eps=1e-5)
    with pytest.raises(InputError, match="config"):
        check_model(golden(), Llama(config, MODEL.weights), "other")


def test_the_work_on_pairs_is_counted_and_not_timed():
    """All pairs of the catalogue for a tiny model; for one like SmolLM2 a number that ends."""
    from types import SimpleNamespace

    from numpy_llama.config import LlamaConfig
    from numpy_llama.golden.diagnose.pairs import affordable
    from numpy_llama.golden.faults import CATALOGUE

    def runs(config, tokens):
        model, schedule = SimpleNamespace(config=config), SimpleNamespace(tokens=range(tokens))
        return affordable(SimpleNamespace(model=model, schedule=schedule))

    large = LlamaConfig(576, 30, 9, 3, 64, 1536, 49152, 8192, tied_head=True)
    assert runs(tiny_config(), 64) > len(CATALOGUE) ** 2 / 2
    assert 50 < runs(large, 32) < 100
