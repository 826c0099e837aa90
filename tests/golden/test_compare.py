"""Judging a candidate: what passes, what does not, and what each verdict says."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from numpy_llama.errors import InputError
from numpy_llama.golden.candidate.candidate import Candidate
from numpy_llama.golden.compare.verdict import Report, TapVerdict
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.precision import in_dtype, round_to_bfloat16
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import rows_of
from tests.golden.dumps import compare
from tests.models import random_model, random_tokens, tiny_config

CONFIG = tiny_config(n_layers=2)
MODEL = random_model(CONFIG)
GOLDEN = record(MODEL, random_tokens(CONFIG, 9), 3, detect=False)
RIGHT = run(in_dtype(MODEL, "float32"), GOLDEN.schedule)
T = 12


def judged(values: dict[str, np.ndarray], dtype: str = "float32", **rest: object) -> Report:
    return compare(GOLDEN, Candidate(values, dtype, **rest))  # type: ignore[arg-type]


def verdict(report: Report, tap: str) -> TapVerdict:
    return next(verdict for verdict in report.taps if verdict.tap == tap)


def with_tap(tap: str, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    return RIGHT | {tap: change(RIGHT[tap].copy())}


def at(index: tuple[int, ...], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return change


def test_a_right_candidate_passes() -> None:
    report = judged(RIGHT)
    assert report.summary == "passed" and report.exit_code == 0
    assert {tap.verdict for tap in report.taps} == {"ok"}
    assert report.logits is not None and report.logits.top1 == 1 and report.logits.kl_max < 1e-9
    assert report.first_divergent is None and not report.notes


def test_a_missing_tap_is_said_and_a_missing_required_one_does_not_pass() -> None:
    report = judged({"logits": RIGHT["logits"]})
    assert report.summary == "passed" and verdict(report, "embed").verdict == "missing"
    without = {name: array for name, array in RIGHT.items() if name != "logits"}
    report = judged(without)
    assert report.summary == "incomplete" and report.exit_code == 3
    report = compare(GOLDEN, Candidate({"logits": RIGHT["logits"]}, "float32"), required=["all"])
    assert report.summary == "incomplete"
    assert judged({}).summary == "incomplete"
    with pytest.raises(InputError, match="wheels"):
        compare(GOLDEN, Candidate(RIGHT, "float32"), required=["wheels"])


def test_a_wrong_shape_does_not_pass() -> None:
    report = judged(with_tap("layers.0.gate", lambda a: a[:, :-1]))
    bad = verdict(report, "layers.0.gate")
    assert bad.verdict == "wrong shape" and "(12, 39)" in bad.detail and "(12, 40)" in bad.detail
    assert report.exit_code == 1
    assert verdict(judged(with_tap("logits", lambda a: a[1:])), "logits").verdict == "wrong shape"


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.bool_, np.float16])
def test_a_wrong_dtype_does_not_pass(dtype: type) -> None:
    report = judged(with_tap("embed", lambda a: a.astype(dtype)))
    assert verdict(report, "embed").verdict == "wrong dtype"
    assert report.summary == "diverged"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_pass(value: float) -> None:
    report = judged(with_tap("layers.1.up", at((3, 4), value)))
    bad = verdict(report, "layers.1.up")
    assert bad.verdict == "not finite" and bad.worst == (3, 4) and "1 of 480" in bad.detail
    assert report.summary == "diverged" and report.first_divergent == bad


def test_nan_equals_nothing_not_even_a_golden_nan() -> None:
    values = {name: array.copy() for name, array in GOLDEN.values.items()}
    values["embed"][0, 0] = np.nan
    golden = dataclasses.replace(GOLDEN, values=values)
    candidate = Candidate(RIGHT | {"embed": values["embed"]}, "float32")
    assert compare(golden, candidate).summary == "diverged"


@pytest.mark.parametrize("floors, expected", [(2, "ok"), (6, "suspicious"), (20, "divergent")])
def test_errors_are_judged_in_floors(floors: float, expected: str) -> None:
    floor = min(GOLDEN.group_floors("layers.0.swiglu", "float32"))  # the worst group decides

    def off(array: np.ndarray) -> np.ndarray:
        golden = np.float64(GOLDEN.values["layers.0.swiglu"])
        return (golden * (1 + floors * floor)).astype(np.float64)

    bad = verdict(judged(with_tap("layers.0.swiglu", off)), "layers.0.swiglu")
    assert bad.verdict == expected and bad.ratio == pytest.approx(floors, rel=0.05)


def test_one_bad_decode_row_is_found_and_called_so() -> None:
    report = judged(with_tap("layers.1.q", at((10, 2, 3), 9.0)))
    bad = verdict(report, "layers.1.q")
    assert (bad.verdict, bad.first_bad_row, bad.phase) == ("divergent", 10, "decode")
    assert bad.worst == (10, 2, 3) and bad.max_abs == pytest.approx(
        abs(9 - GOLDEN.values["layers.1.q"][10, 2, 3]), rel=1e-4
    )
    report = judged(with_tap("layers.1.q", at((4, 0, 0), 9.0)))
    assert verdict(report, "layers.1.q").phase == "prefill"


def test_the_first_divergent_tap_is_the_first_in_causal_order() -> None:
    values = with_tap("layers.1.k", at((0, 0, 0), 9.0)) | {"embed": RIGHT["embed"] + 1}
    report = judged(values)
    assert report.first_divergent is not None and report.first_divergent.tap == "embed"


def test_a_candidate_is_judged_at_the_dtype_that_it_declares() -> None:
    narrow = run(in_dtype(MODEL, "bfloat16"), GOLDEN.schedule)
    assert judged(narrow, "bfloat16").summary == "passed"
    report = judged(narrow, "float32")
    assert report.summary == "diverged"
    assert "bfloat16" in verdict(report, "embed").detail
    with pytest.raises(InputError, match="int4"):
        judged(narrow, "int4")


def test_a_name_that_is_not_a_tap_is_listed() -> None:
    assert judged(RIGHT | {"blk.0.attn_q": RIGHT["embed"]}).unknown == ("blk.0.attn_q",)


AXES = {
    "a batch axis of 1": lambda a: a[None],
    "heads before rows": lambda a: a.swapaxes(0, 1),
    "merged heads": lambda a: a.reshape(len(a), -1),
}


@pytest.mark.parametrize("what", AXES)
def test_other_axes_are_recognised_and_said(what: str) -> None:
    report = judged({n: AXES[what](a) if n.endswith(".q") else a for n, a in RIGHT.items()})
    assert report.summary == "passed" and verdict(report, "layers.1.q").verdict == "ok"
    assert any(note.startswith(what) for note in report.notes)


def test_heads_repeated_for_their_group_are_recognised_only_if_they_are_equal() -> None:
    repeated = RIGHT["layers.0.k"].repeat(3, axis=1)
    assert judged(RIGHT | {"layers.0.k": repeated}).summary == "passed"
    repeated[0, 1] += 1
    assert judged(RIGHT | {"layers.0.k": repeated}).summary == "diverged"


def half_split(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], -1, 2).swapaxes(-1, -2).reshape(x.shape)


def test_the_other_rope_layout_is_recognised_where_all_of_it_is_so() -> None:
    parts = ("q", "k", "q_rot", "k_rot")
    other = {n: half_split(a) if n.rpartition(".")[2] in parts else a for n, a in RIGHT.items()}
    report = judged(other)
    assert report.summary == "passed" and any("Hugging Face" in note for note in report.notes)
    rotated_only = RIGHT | {"layers.1.k_rot": half_split(RIGHT["layers.1.k_rot"])}
    assert judged(rotated_only).summary == "diverged"


def test_hidden_scores_may_be_anything_and_visible_ones_may_not() -> None:
    hidden = ~np.tri(T, dtype=bool)
    for value in (-np.inf, -1e9, np.nan):
        values = with_tap("layers.0.scores", lambda a, v=value: np.where(hidden, v, a))
        assert judged(values).summary == "passed"
    assert judged(with_tap("layers.0.scores", at((0, 5, 2), 7.0))).summary == "diverged"
    assert judged(with_tap("layers.0.probs", at((0, 2, 5), 0.1))).summary == "diverged"


def test_the_last_row_of_logits_may_stand_for_all() -> None:
    for last in (RIGHT["logits"][-1], RIGHT["logits"][-1:]):
        report = judged({"logits": last})
        assert report.summary == "passed" and any("last row" in note for note in report.notes)
        assert report.logits is not None and report.logits.rows == 1
    assert judged({"logits": RIGHT["logits"][-2]}).summary == "diverged"


def test_rows_can_be_named() -> None:
    tap = "layers.0.q_rot"  # embeddings of two rows may be equal, rotated queries are not
    some = Candidate({tap: RIGHT[tap][[3, 11]]}, "float32", rows={tap: [3, 11]})
    assert verdict(compare(GOLDEN, some), tap).verdict == "ok"
    wrong = dataclasses.replace(some, rows={tap: [3, 10]})
    bad = verdict(compare(GOLDEN, wrong), tap)
    assert (bad.verdict, bad.first_bad_row, bad.phase) == ("divergent", 10, "decode")
    with pytest.raises(InputError, match="row 12"):
        compare(GOLDEN, dataclasses.replace(some, rows={tap: [3, 12]}))
    with pytest.raises(InputError, match="there are none"):
        compare(GOLDEN, dataclasses.replace(some, rows={tap: []}))


def test_an_older_golden_is_read_and_told_to_be_recorded_again() -> None:
    older = dataclasses.replace(GOLDEN, version=1)
    report = compare(older, Candidate(RIGHT, "float32"))
    assert report.summary == "passed" and any("record it again" in note for note in report.notes)
    assert not any("record it again" in note for note in judged(RIGHT).notes)


def test_kl_and_agreement_are_what_their_definitions_say() -> None:
    logits = GOLDEN.values["logits"].astype(np.float64)
    got = logits.copy()
    got[2] = np.roll(got[2], 1)
    report = judged({"logits": got})
    p, q = (np.exp(x[2]) / np.exp(x[2]).sum() for x in (logits, got))
    assert report.logits is not None
    assert report.logits.kl_max == pytest.approx((p * np.log(p / q)).sum())
    assert report.logits.kl_mean == pytest.approx(report.logits.kl_max / T, rel=1e-6)
    assert report.logits.top1 == 11 / 12
    (flip,) = report.logits.flips
    assert flip.row == 2 and flip.got == (flip.expected + 1) % 61 and not flip.within_noise


def test_a_flip_is_noise_only_where_the_margin_is_small() -> None:
    golden = dataclasses.replace(GOLDEN, logit_noise={"float32": 0.3})
    ids = list(GOLDEN.greedy)
    row = GOLDEN.schedule.prompt - 1
    second = int(np.argsort(GOLDEN.values["logits"][row])[-2])
    gap = GOLDEN.margins[row]
    changed = Candidate({}, "float32", greedy=[second, *ids[1:]])
    report = compare(GOLDEN, changed, required=["greedy"])
    assert report.greedy is not None and report.greedy.same == 0
    assert report.greedy.verdict == "divergent" and report.summary == "diverged"
    assert report.greedy.flip is not None and report.greedy.flip.gap == pytest.approx(gap, 1e-5)
    noisy = dataclasses.replace(golden, logit_noise={"float32": gap})
    assert compare(noisy, changed, required=["greedy"]).summary == "passed"
    outside = Candidate({}, "float32", greedy=[61])
    assert compare(noisy, outside, required=["greedy"]).summary == "diverged"


def test_greedy_ids_alone_pass_only_if_that_is_what_is_required() -> None:
    same = Candidate({}, "float32", greedy=list(GOLDEN.greedy))
    assert compare(GOLDEN, same).summary == "incomplete"
    assert compare(GOLDEN, same, required=["greedy"]).summary == "passed"
    short = Candidate({}, "float32", greedy=list(GOLDEN.greedy)[:2])
    assert compare(GOLDEN, short, required=["greedy"]).summary == "incomplete"


def scalars_of(array: np.ndarray) -> dict[str, float | list[float]]:
    return {
        "sum": float(array.sum(dtype=np.float32)),
        "mean": float(array.mean()),
        "first": array.reshape(-1)[:4].tolist(),
        "last": array.reshape(-1)[-3:].tolist(),
    }


def test_scalars_of_a_right_candidate_are_ok_and_of_a_wrong_one_are_not() -> None:
    scalars = {name: scalars_of(array) for name, array in RIGHT.items()}
    report = compare(GOLDEN, Candidate({}, "float32", scalars), required=["logits"])
    assert report.summary == "passed" and len(report.scalars) == 4 * len(RIGHT)
    wrong = scalars | {"layers.0.up": scalars_of(RIGHT["layers.0.up"] * 1.01)}
    report = compare(GOLDEN, Candidate({}, "float32", wrong))
    bad = {(v.tap, v.part) for v in report.scalars if v.verdict == "divergent"}
    assert bad == {("layers.0.up", part) for part in ("sum", "mean", "first", "last")}


@pytest.mark.parametrize(
    "value, expected",
    [(float("nan"), "not finite"), ("much", "wrong shape"), ([1.0, 2.0], "wrong shape")],
)
def test_scalars_that_are_none_do_not_pass(value: object, expected: str) -> None:
    candidate = Candidate({}, "float32", {"embed": {"sum": value}})  # type: ignore[dict-item]
    (bad,) = compare(GOLDEN, candidate).scalars
    assert bad.verdict == expected


def test_values_that_were_rounded_to_bfloat16_are_recognised() -> None:
    report = judged(with_tap("layers.0.v", round_to_bfloat16))
    assert "bfloat16" in verdict(report, "layers.0.v").detail


def test_a_bundle_without_intermediates_judges_logits() -> None:
    golden: Bundle = record(MODEL, GOLDEN.schedule.tokens[:9], 3, taps=["logits"], detect=False)
    report = compare(golden, Candidate(RIGHT, "float32"))
    assert report.summary == "passed" and "embed" in report.unknown


P = 9  # rows of the prompt; three decode steps follow


@pytest.mark.parametrize(
    "rows, said",
    [
        (range(P - 1, T), "the last row of the prompt and the decode rows, 8 … 11"),
        (range(P - 1, P + 1), "the last row of the prompt and the decode rows, 8 … 9"),
        (range(P, T), "the decode rows, 9 … 11"),
        (range(P - 1, P), "the last row of the prompt, 8 … 8"),
    ],
)
def test_what_a_generate_loop_computes_is_accepted_and_said(rows: range, said: str) -> None:
    taps = ("layers.0.q_rot", "logits", "layers.1.probs")
    given = {tap: rows_of(tap, RIGHT[tap], rows) for tap in taps}
    given["layers.1.probs"] = given["layers.1.probs"][:, :, : rows[-1] + 1]
    report = judged(given)
    assert report.summary == "passed" and report.exit_code == 0
    assert any(said in note for note in report.notes), report.notes
    wrong = given | {"logits": rows_of("logits", RIGHT["logits"], rows) * 1.001}
    bad = verdict(judged(wrong), "logits")
    assert bad.verdict == "divergent" and bad.first_bad_row == rows[0]


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0x7F800000, 0xFF800000])
def test_a_damaged_golden_that_is_not_finite_passes_nobody_and_warns_of_nothing(bits: int) -> None:
    """Recording refuses such values; a file may hold them. The first is a signalling NaN."""
    model = random_model(tiny_config(n_layers=1), dtype=np.float32)
    recorded = record(model, [3, 5], 1, taps=["logits"], detect=False)
    logits = recorded.values["logits"].copy()
    logits.view(np.uint32)[0, 0] = bits
    damaged = dataclasses.replace(recorded, values={"logits": logits})
    report = compare(damaged, Candidate({"logits": recorded.values["logits"]}, "float32"))
    assert report.summary == "diverged"
