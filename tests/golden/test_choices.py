"""Choices: a right program in fewer bits is told so by name, and passes where that was declared.

The programs are another Llama (another_llama.py), and its weights are quantised here: neither
shares code with the choices that are to be named.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.attention import attend as attend_matrices
from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.golden import CATALOGUE, CHOICES, Candidate, Report, as_text, check
from numpy_llama.golden.compare.verdict import Diagnosis, Suspect
from numpy_llama.golden.compare.verdict import Report as Verdict
from numpy_llama.golden.diagnose.choices.together import is_part
from numpy_llama.golden.diagnose.search.towards import Towards
from numpy_llama.golden.diagnose.search.trial import Trial
from numpy_llama.golden.faults.choices.flash import RunningInFloat16
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.junit import junit
from numpy_llama.golden.kit.run import Result
from numpy_llama.golden.kit.score import exit_code, score_json
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.precision import in_dtype
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import last_rows
from numpy_llama.golden.report.html import as_html
from numpy_llama.golden.report.json import as_json
from numpy_llama.model import Llama
from tests.models import weights_of

from .another_llama import (
    Attend,
    Parts,
    attend_in_half,
    bfloat16,
    eight_bits,
    flash_in_half,
    float16,
    logits_of,
    softmax,
)

CASE = next(case for case in CASES if case.name == "64-wide")
TENSORS = CASE.tensors()
MODEL = Llama(CASE.config, weights_of(CASE.config, TENSORS))


@functools.cache
def golden() -> Bundle:
    return record(MODEL, CASE.tokens, CASE.decode, CASE.chunk, CASE.taps, detect=False)


# — weights, quantised one group after the other —


def stored_half(x: float) -> np.float32:
    return np.float32(np.float16(x))


def q8_0(group: np.ndarray) -> np.ndarray:
    scale = np.float32(np.abs(group).max() / np.float32(127))
    return np.round(group * (np.float32(1) / scale)) * stored_half(scale)


def q4_0(group: np.ndarray) -> np.ndarray:
    scale = group[np.abs(group).argmax()] / np.float32(-8)
    nibbles = (group * (np.float32(1) / scale) + np.float32(8.5)).astype(np.int8).clip(0, 15)
    return (nibbles.astype(np.float32) - 8) * stored_half(scale)


def whole_range(row: np.ndarray) -> np.ndarray:
    """As torchao does it: 255 steps from -128 to 127."""
    scale = np.abs(row).max() / np.float32(127.5)
    steps = np.round(row * (np.float32(1) / scale)).clip(-128, 127)
    return steps.astype(np.int8).astype(np.float32) * scale


def grouped(function, size):  # type: ignore[no-untyped-def]
    return lambda w: np.concatenate(
        [function(group) for row in w for group in row.reshape(-1, size)]
    ).reshape(w.shape)


FORMATS = {
    "float16": float16,
    "bfloat16": bfloat16,
    "int8-row": eight_bits,
    "int8-group-32": functools.partial(eight_bits, size=32),
    "int8-group-64": functools.partial(eight_bits, size=64),
    "q8-0": grouped(q8_0, 32),
    "q4-0": grouped(q4_0, 32),
}


def quantised(name: str) -> dict[str, np.ndarray]:
    """The tensors, their matrices in a format: `q4-0`, or `q4-0-layers` for the layers' alone."""
    for which in ("-layers", "-linear", ""):
        if name.endswith(which):
            break
    quantise = FORMATS[name.removesuffix(which)]
    left = {"-layers": ("tok_embeddings", "lm_head"), "-linear": ("tok_embeddings",)}.get(which, ())
    return {n: t if t.ndim == 1 or n in left else quantise(t) for n, t in TENSORS.items()}


PARTS = {
    "kv-float16": Parts(cached=float16),
    "kv-bfloat16": Parts(cached=bfloat16),
    "kv-int8": Parts(cached=eight_bits),
    "softmax-bfloat16": Parts(softmax=lambda scores: bfloat16(softmax(bfloat16(scores)))),
    "probs-bfloat16": Parts(softmax=lambda scores: bfloat16(softmax(scores))),
    "norm-bf16": Parts(normed=bfloat16),
    "residual-bfloat16": Parts(stream=bfloat16),
    "activations-float16": Parts(fed=float16),
    "activations-bfloat16": Parts(fed=bfloat16),
    "activations-int8": Parts(fed=eight_bits),
    "activations-int8-group-32": Parts(fed=functools.partial(eight_bits, size=32)),
    "activations-int8-group-64": Parts(fed=functools.partial(eight_bits, size=64)),
    "activations-q8-0": Parts(fed=lambda x: grouped(q8_0, 32)(x[None])[0]),
}
WEIGHTS = [f"weights-{name}{suffix}" for name in FORMATS for suffix in ("", "-layers")]
WEIGHTS.append("weights-int8-row-linear")


@functools.cache
def logits(*choices: str) -> np.ndarray:
    """What the other Llama gives, with these choices."""
    weights = [name.removeprefix("weights-") for name in choices if name in WEIGHTS]
    made = [vars(PARTS[name]).items() for name in choices if name in PARTS]
    plain = vars(Parts())
    parts = {part: does for items in made for part, does in items if does is not plain[part]}
    tensors = quantised(weights[0]) if weights else TENSORS
    return logits_of(CASE.config, tensors, golden().schedule.tokens, Parts(**parts))


def judged(*choices: str, **options: object) -> Report:
    candidate = Candidate({"logits": logits(*choices)}, "float32")
    return check(golden(), candidate, model=MODEL, **options)  # type: ignore[arg-type]


def names(report: Report) -> list[tuple[str, ...]]:
    assert report.diagnosis is not None
    return [suspect.faults for suspect in report.diagnosis.suspects]


@pytest.mark.parametrize("attend", [attend_in_half, flash_in_half])
def test_attention_over_a_float16_cache_in_other_ways(attend: Attend) -> None:
    """As llama.cpp does it, without and with flash attention."""
    right = logits_of(CASE.config, TENSORS, golden().schedule.tokens, Parts(attend=attend))
    report = check(golden(), Candidate({"logits": right}, "float32"), model=MODEL)
    assert report.chosen == ("kv-float16",) and names(report) == [("kv-float16",)]
    assert report.diagnosis is not None and report.diagnosis.suspects[0].residual < 3


def test_flash_attention_works_in_tiles_and_among_threads() -> None:
    """Of 64 queries, only keys and values are narrow; one of over 256 keys is shared by four."""
    random = np.random.default_rng(8)
    q, k, v = (random.standard_normal(n).astype("f4") for n in ((64, 6, 8), (3, 64, 8), (3, 64, 8)))
    tile = RunningInFloat16()(q, k, v)
    np.testing.assert_allclose(tile, attend_matrices(q, float16(k), float16(v)), atol=2e-6)
    assert np.abs(tile[:63] - RunningInFloat16()(q[:63], k[:, :63], v[:, :63])).max() > 1e-5

    q, k, v = (
        random.standard_normal(n).astype("f4") for n in ((1, 2, 8), (1, 300, 8), (1, 300, 8))
    )
    for threads, size in ((1, 300), (4, 128)):
        want = []
        for head in q[0]:
            parts = [slice(i, i + size) for i in range(0, 300, size)]
            scores = float16(k[0]) @ float16(head) / np.float32(np.sqrt(8))
            weights = [np.exp(scores[part].astype("f8")).sum() for part in parts]
            means = [flash_in_half(head, k[0, part], v[0, part]) for part in parts]
            want.append(np.average(means, axis=0, weights=weights))
        got, other = (RunningInFloat16(threads=n)(q, k, v)[0] for n in (threads, 5 - threads))
        # The median: where exp has other last digits, a sum or two may be rounded the other way.
        assert np.median(np.abs(got - want)) < 1e-6 < 1e-5 < np.median(np.abs(other - want))


def test_the_list_is_what_is_tried_here() -> None:
    assert sorted(CHOICES) == sorted([*PARTS, *WEIGHTS])
    assert not CHOICES.keys() & CATALOGUE.keys()


def test_the_documents_list_all_choices() -> None:
    text = (Path(__file__).parents[2] / "docs" / "golden.md").read_text()
    table = text.partition("<!-- choices -->")[2].partition("<!-- /choices -->")[0]
    rows = [f"| `{choice.id}` | {choice.sentence} |" for choice in CHOICES.values()]
    assert table.split("\n")[3:-1] == rows


def test_the_other_llama_passes_where_it_makes_no_choice() -> None:
    assert judged().summary == "passed" and judged().chosen == ()


@pytest.mark.parametrize("choice", [*PARTS, *WEIGHTS])
def test_a_choice_is_named_and_passes_where_it_is_declared(choice: str) -> None:
    report = judged(choice)
    assert (report.summary, report.exit_code) == ("choice", 4), as_text(report)
    assert names(report) == [(choice,)] and report.chosen == (choice,)
    declared = judged(choice, allow=("kv-bfloat16", choice))
    assert (declared.summary, declared.exit_code) == ("passed", 0), as_text(declared)
    assert declared.chosen == (choice,) and choice in declared.allowed


def test_int8_from_minus_128_is_int8_too() -> None:
    """As torchao keeps weights, and what it multiplies by its weights."""
    tensors = {
        n: t if t.ndim == 1 or n == "tok_embeddings" else grouped(whole_range, t.shape[1])(t)
        for n, t in TENSORS.items()
    }
    for parts, want in (
        (Parts(), {"weights-int8-row-linear"}),
        (Parts(fed=eight_bits), {"weights-int8-row-linear", "activations-int8"}),
    ):
        right = logits_of(CASE.config, tensors, golden().schedule.tokens, parts)
        report = check(golden(), Candidate({"logits": right}, "float32"), model=MODEL)
        assert report.summary == "choice" and set(report.chosen) == want, as_text(report)


def test_a_format_that_changes_no_weight_is_not_tried() -> None:
    """A checkpoint in bfloat16 is that already; in float16 it may not be."""
    kept = {n: bfloat16(t) for n, t in TENSORS.items()}
    model = Llama(CASE.config, weights_of(CASE.config, kept))
    assert not CHOICES["weights-bfloat16"].changes(model)
    assert all(CHOICES[f"weights-{n}"].changes(model) for n in ("int8-row", "q8-0", "q4-0"))
    assert all(CHOICES[f"weights-{n}"].changes(MODEL) for n in ("float16", "bfloat16"))


@pytest.mark.parametrize(
    "pair",
    [
        ("weights-int8-group-64", "activations-int8-group-64"),  # llama2.c's runq.c
        ("weights-q8-0", "kv-float16"),  # llama.cpp as it is installed
    ],
)
def test_two_choices_are_both_named(pair: tuple[str, str]) -> None:
    report = judged(*pair)
    assert report.summary == "choice" and set(report.chosen) == set(pair), as_text(report)
    assert judged(*pair, allow=pair[:1]).summary == "choice"
    assert judged(*pair, allow=pair).summary == "passed"


@pytest.mark.parametrize(
    "three",
    [
        ("weights-float16", "activations-float16", "kv-float16"),
        ("weights-bfloat16", "activations-bfloat16", "kv-float16"),
        ("weights-q8-0", "activations-q8-0", "kv-float16"),
        ("weights-q4-0", "activations-q8-0", "kv-float16"),
    ],
)
def test_three_choices_of_which_two_go_together_are_all_named(three: tuple[str, ...]) -> None:
    """llama.cpp with a file in F16, BF16, Q8_0 or Q4_0, as it is installed."""
    report = judged(*three)
    assert report.summary == "choice" and set(report.chosen) == set(three), as_text(report)
    assert judged(*three, allow=three[:2]).summary == "choice"
    assert judged(*three, allow=three).summary == "passed"


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", ["large-norms", "tiny-norms"])
def test_a_part_of_what_was_chosen_is_not_called_all(name: str, cached: bool) -> None:
    """llama.cpp with a file in BF16. Where one rounding decides much, it may look like less."""
    case = next(case for case in CASES if case.name == name)
    tensors = case.tensors()
    model = Llama(case.config, weights_of(case.config, tensors))
    bundle = record(model, case.tokens, case.decode, case.chunk, ["logits"], detect=False)
    kept = {n: bfloat16(t) if t.ndim == 2 else t for n, t in tensors.items()}
    parts = Parts(fed=bfloat16, attend=flash_in_half if cached else None)
    right = logits_of(case.config, kept, bundle.schedule.tokens, parts)
    report = check(bundle, Candidate({"logits": right}, "float32"), model=model)
    both = {"weights-bfloat16", "activations-bfloat16"} | ({"kv-float16"} if cached else set())
    assert set(report.chosen) in (set(), both), as_text(report)


def test_rows_that_are_no_whole_groups_are_in_float16() -> None:
    """So llama.cpp's quantiser leaves them, here those of w_down; and so it multiplies them."""
    case = next(case for case in CASES if case.name == "mqa-tied")
    tensors = case.tensors()
    model = Llama(case.config, weights_of(case.config, tensors))
    bundle = record(model, case.tokens, case.decode, case.chunk, ["logits"], detect=False)
    in_groups = grouped(q8_0, 32)

    def kept(w: np.ndarray) -> np.ndarray:
        return in_groups(w) if w.shape[1] % 32 == 0 else float16(w)

    widths = {t.shape[1] % 32 == 0 for t in tensors.values() if t.ndim == 2}
    assert widths == {True, False}
    stored = {n: kept(t) if t.ndim == 2 else t for n, t in tensors.items()}
    values = logits_of(
        case.config, stored, bundle.schedule.tokens, Parts(fed=lambda x: kept(x[None])[0])
    )
    report = check(bundle, Candidate({"logits": values}, "float32"), model=model)
    assert set(report.chosen) == {"weights-q8-0", "activations-q8-0"}, as_text(report)


def by_a_factor(row: np.ndarray) -> np.ndarray:
    """As CTranslate2 does it: what it keeps is 127 / max."""
    factor = np.float32(127) / np.abs(row).max()
    return np.round(row * factor).astype(np.int8).astype(np.float32) / factor


def test_halves_that_a_factor_sends_another_way_are_no_mistake() -> None:
    """Weights of few digits, as a model has that was quantised before, have many."""
    few = {}
    for name, t in TENSORS.items():
        largest = np.abs(t).max(axis=-1, keepdims=True)  # of each row, so that last digits differ
        few[name] = np.round(t / largest * 8) * (largest / 8) if t.ndim == 2 else t
    model = Llama(CASE.config, weights_of(CASE.config, few))
    bundle = record(model, CASE.tokens, CASE.decode, CASE.chunk, ["logits"], detect=False)
    stored = {n: grouped(by_a_factor, t.shape[1])(t) if t.ndim == 2 else t for n, t in few.items()}
    values = logits_of(CASE.config, stored, bundle.schedule.tokens, Parts())
    report = check(bundle, Candidate({"logits": values}, "float32"), model=model)
    assert report.chosen == ("weights-int8-row",), as_text(report)
    assert report.diagnosis and report.diagnosis.suspects[0].residual < 10


def test_a_declared_choice_passes_where_no_mistake_is_looked_for() -> None:
    """Then nothing else is tried; and what was not declared is wrong, as far as one can see."""
    assert judged("kv-float16", allow=("kv-float16",), name_mistakes=False).summary == "passed"
    other = judged("kv-float16", allow=("kv-int8",), name_mistakes=False)
    assert other.summary == "diverged" and other.diagnosis is None


# — a mistake stays one —


@functools.cache
def faulty(fault: str) -> Report:
    """The judgement of a model with a fault, logits alone, with every choice allowed."""
    single = in_dtype(MODEL, "float32")
    values = run(*CATALOGUE[fault].apply(single, golden().schedule), ["logits"])
    T = len(golden().schedule.tokens)
    candidate = Candidate({"logits": last_rows("logits", values["logits"], T)}, "float32")
    return check(golden(), candidate, model=MODEL, allow=tuple(CHOICES))


@pytest.mark.parametrize("fault", [f for f in CATALOGUE if CATALOGUE[f].applies(CASE.config)])
def test_no_mistake_of_the_catalogue_is_called_a_choice(fault: str) -> None:
    report = faulty(fault)
    worst = report.taps[-1].ratio or 0.0
    if worst <= 10 or CATALOGUE[fault].harmless:
        return
    assert report.summary == "diverged" and report.chosen == (), as_text(report)
    assert (fault,) in names(report)


@pytest.mark.parametrize("mistake", ["relu", "rope-half-split"])
def test_a_choice_makes_no_mistake_innocent(mistake: str) -> None:
    """Both are named, and that is a divergence, whatever was declared."""
    single = in_dtype(MODEL, "float32")
    faulty, schedule = CATALOGUE[mistake].apply(single, golden().schedule)
    values = run(*CHOICES["kv-float16"].apply(faulty, schedule), ["logits"])
    allow = ("kv-float16",)
    report = check(golden(), Candidate(values, "float32"), model=MODEL, allow=allow)
    assert report.summary == "diverged" and report.chosen == ()
    assert names(report) == [(mistake, "kv-float16")]


def test_greedy_ids_and_numbers_are_excused_only_as_far_as_the_choice_goes() -> None:
    right = logits("weights-q4-0")
    start = golden().schedule.prompt - 1
    own = right[start:].argmax(-1).tolist()
    sums = {"logits": {"sum": float(right.astype(np.float64).sum())}}
    given = Candidate({"logits": right}, "float32", sums, own)
    report = check(golden(), given, model=MODEL)
    assert any(tap.verdict == "divergent" for tap in report.scalars)
    assert report.summary == "choice" and report.chosen == ("weights-q4-0",), as_text(report)

    worst = int(right[start].argmin())
    for scalars, greedy in (({"logits": {"sum": 1e4}}, own), (sums, [worst, *own[1:]])):
        given = Candidate({"logits": right}, "float32", scalars, greedy)
        report = check(golden(), given, model=MODEL, allow=("weights-q4-0",))
        assert report.summary == "diverged" and report.chosen == ()
        assert report.diagnosis is not None and "not all else" in report.diagnosis.detail


def test_what_is_not_finite_is_no_choice() -> None:
    given = Candidate(
        {"logits": logits("kv-float16"), "embed": np.full((17, 128), np.nan)}, "float32"
    )
    assert check(golden(), given, model=MODEL, allow=("kv-float16",)).summary == "diverged"


# — how it is told —


def test_the_report_says_what_is_chosen_and_how_far_that_leads() -> None:
    report = judged("kv-float16")
    text, data = as_text(report), as_json(report)
    first, _, rest = text.partition("\n")
    assert first.startswith("CHOICE at float32, ") and "keeps its KV cache in float16" in first
    assert "floors from the truth" in first and "KL divergence" in first
    assert "\nCHOICE: kv-float16\n" in text and "--allow kv-float16" in rest
    assert "DIAGNOSIS" not in text and "furthest off" not in text and "goes wrong" not in text
    assert (data["summary"], data["exit_code"], data["chosen"]) == ("choice", 4, ["kv-float16"])
    page = as_html(report, golden(), "dump")
    assert '<h1 class="choice">CHOICE' in page and "--allow kv-float16" in page
    declared = as_text(judged("kv-float16", allow=("kv-float16",)))
    assert declared.startswith("PASSED") and "declared" in declared.partition("\n")[0]
    assert "keeps its KV cache in float16" in declared.partition("\n")[0]


def test_an_unknown_choice_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="did you mean kv-float16"):
        check(golden(), Candidate({}, "float32"), allow=("kv-flaot16",))
    with pytest.raises(InputError, match="kv-int8, "):
        check(golden(), Candidate({}, "float32"), allow=("xyz",))


def case(name: str, status: str, *faults: str) -> Result:
    suspects = (Suspect(faults, 1.0, "logits"),) if faults else ()
    found = Diagnosis("named" if faults else "unexplained", suspects)
    return Result(name, status, 1.0, "", Verdict("float32", (), diagnosis=found))  # type: ignore[arg-type]


def test_a_run_ends_with_the_gravest() -> None:
    passed, failed = Result("a", "passed"), Result("b", "failed")
    choice, lacking = case("c", "choice", "kv-float16"), Result("d", "incomplete")
    diverged = case("e", "diverged", "relu")
    assert exit_code([passed, lacking, choice, failed, diverged]) == 1
    assert exit_code([passed, lacking, choice, failed]) == 2
    assert exit_code([passed, lacking, choice]) == 4
    assert exit_code([passed, lacking]) == 3
    assert exit_code([passed]) == 0
    data = score_json([passed, choice, diverged])
    assert data["choices"] == [{"one_of": [["kv-float16"]], "cases": ["c"]}]
    assert data["mistakes"] == [{"one_of": [["relu"]], "cases": ["e"]}]
    text = junit([passed, choice, diverged]).decode()
    assert 'failures="2"' in text and 'type="choice"' in text and 'type="diverged"' in text


def test_the_command_declares_choices(tmp_path: Path) -> None:
    golden().save(tmp_path / "golden")
    np.save(tmp_path / "mine.npy", logits("kv-float16"))
    from numpy_llama.golden.kit.kit import write_kit

    write_kit(tmp_path / "kit", [CASE], detect=False)
    model = str(tmp_path / "kit" / "64-wide" / "hf")
    arguments = [
        "golden",
        "check",
        str(tmp_path / "golden"),
        str(tmp_path / "mine.npy"),
        "-m",
        model,
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 4 and result.stdout.startswith("CHOICE")
    result = CliRunner().invoke(main, [*arguments, "--allow", "kv-float16", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["allowed"] == ["kv-float16"]
    result = CliRunner().invoke(main, [*arguments, "--allow", "kv-float"])
    assert result.exit_code == 2 and "did you mean" in result.stderr
    copy = f"cp {tmp_path / 'mine.npy'} {{out}}"
    arguments = ["golden", "run", "--kit", str(tmp_path / "kit"), "--command", copy]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 4 and "CHOICE in 64-wide" in result.stdout
    assert "0 of 1 passed, 1 choice" in result.stdout
    result = CliRunner().invoke(main, [*arguments, "--allow", "kv-float16"])
    assert result.exit_code == 0 and "1 of 1 passed" in result.stdout
    result = CliRunner().invoke(main, [*arguments, "--allow", "nothing"])
    assert result.exit_code == 2


def test_a_part_of_an_explanation_is_in_the_error_about_once() -> None:
    """What is in it many times, or hardly, is none: an error of another kind may be like it."""
    rng = np.random.default_rng(0)
    part, rest = rng.normal(size=(2, 5, 1000))
    for share, seen in ((1.0, True), (6.0, False), (0.1, False)):
        towards = Towards(np.zeros(1000))
        towards.add(share * part + rest, part)
        trial = Trial((), {}, {}, 0, along=towards.along, times=towards.times)
        assert is_part(trial) is seen


def test_what_lies_in_the_direction_of_the_noise_tells_nothing() -> None:
    """Nor does a row that is not moved, or not by a number."""
    rng = np.random.default_rng(0)
    part, rest, noise = rng.normal(size=(3, 5, 1000))
    direction = rng.normal(size=1000)
    direction /= np.linalg.norm(direction)
    loud = 1e3 * noise[:, :1] * direction
    moved = np.concatenate([part + 5 * loud, 0 * part[:1], part[:1] + np.inf])
    off = np.concatenate([part + rest + loud, part[:2]])
    towards = Towards(direction)
    towards.add(off, moved)
    assert len(towards.cosines) == 6  # the one that is not moved is along nothing
    assert towards.along == pytest.approx(np.sqrt(0.5) * 5 / 6, abs=0.05)
    assert towards.times == pytest.approx(1, abs=0.1)
    empty = Towards(direction)
    assert empty.along == empty.times == 0.0
