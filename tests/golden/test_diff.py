"""Two dumps against each other: the first tap that differs, whatever their axes and layouts."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.golden import Candidate
from numpy_llama.golden.candidate.read import read_candidate
from numpy_llama.golden.diff.align import distance, row_distances
from numpy_llama.golden.diff.diff import diff
from numpy_llama.golden.diff.limit import ROUNDOFF, SPREAD, limit
from numpy_llama.golden.diff.text import as_json, as_text
from numpy_llama.golden.diff.truth import floors_of
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.replay.replay import run as replay
from numpy_llama.golden.replay.rows import row_axis
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.golden.replay.variants import variants
from numpy_llama.loading.weights import load_model
from numpy_llama.model import Llama
from numpy_llama.rope import half_split
from numpy_llama.taps import tap_axes, tap_names
from tests.golden.dumps import dump, folder, golden, write_npy
from tests.models import weights_of

TOKENS = golden().schedule.tokens


def candidate(*faults, dtype="float32", **changes):
    return Candidate(dump(*faults, dtype=dtype) | changes, dtype)


def compare(other, one=None, **options):
    return diff(one or candidate(), Candidate(other, "float32"), **options)


def floors(*dtypes, model=None):
    taps = list(golden().values)
    return floors_of(model or load_model(folder() / "model"), TOKENS, dtypes or ["float32"], taps)


def test_a_dump_is_like_itself():
    found = diff(candidate(), candidate())
    assert found.summary == "alike" and found.exit_code == 0
    assert len(found.taps) == 61 and all(tap.most == 0 for tap in found.taps)
    assert as_text(found).startswith("ALIKE in 61 taps, 0.0 roundoffs of float32 at most")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_right_programs_are_alike(dtype):
    runs = [replay(v, golden().schedule) for v in variants(load_model(folder() / "model"), dtype)]
    for other in runs[1:]:
        found = diff(Candidate(runs[0], dtype), Candidate(other, dtype))
        assert found.summary == "alike", as_text(found)
        assert max(tap.most for tap in found.taps) < 0.6 * SPREAD[dtype] * np.sqrt(61)


@pytest.mark.parametrize(
    ("fault", "tap", "row"),
    [
        ("decode-position-plus-1", "layers.0.q_rot", 11),
        ("relu", "layers.0.swiglu", 0),
        ("norm-eps-1e-6", "layers.0.attn_norm.rms", None),
        ("head-tied", "logits", 0),
    ],
)
def test_the_first_difference_is_where_the_fault_is(fault, tap, row):
    found = diff(candidate(), candidate(fault))
    assert found.exit_code == 1
    assert found.first_difference.tap == tap and row in (found.first_difference.first_row, None)
    at = tap_names(3).index(tap)
    assert all(tap.verdict == "alike" for tap in found.taps[:at])


def test_the_distance_is_of_each_row_and_in_roundoffs():
    other = dump()["embed"].copy()
    other[5] *= 1 + 2.0**-10
    found = compare(dump() | {"embed": other})
    tap = found.taps[0]
    assert (tap.tap, tap.verdict, tap.first_row) == ("embed", "differs", 5)
    assert [row for row, far in enumerate(tap.roundoffs) if far] == [5]
    assert tap.roundoffs[5] == pytest.approx(2.0**14, rel=1e-3)
    row, column = tap.worst
    assert row == 5 and abs(other[5]).argmax() == column
    assert tap.first[0] == dump()["embed"][5, column] and tap.second[0] == other[5, column]


def test_distances_are_symmetric_and_bounded():
    a, b = np.array([[3.0, 4.0], [0, 0], [1, 0]]), np.array([[3.0, 5.0], [0, 0], [-1, 0]])
    assert np.array_equal(row_distances(a, b), row_distances(b, a))
    assert row_distances(a, b)[1:].tolist() == [0, 2]
    assert row_distances(a, b)[0] == pytest.approx(np.sqrt(1 / ((25 + 34) / 2)))
    assert distance(a, a * np.nan) == np.inf


# — alignment —


def arranged(how):
    """The same dump as other programs have it."""
    values = dict(dump())
    for tap in values:
        axes = tap_axes(tap)
        if how == "batch":
            values[tap] = values[tap][None]
        elif how == "merged" and axes[-1] == "hd":
            values[tap] = values[tap].reshape(14, -1)
        elif how == "heads first" and axes[-1] == "hd" or how == "rows first" and axes[0] == "H":
            values[tap] = values[tap].swapaxes(0, 1)
        elif how == "grouped" and tap.endswith((".k", ".v", ".k_rot")):
            values[tap] = values[tap].repeat(4 // 2, axis=1)
        elif how == "half-split" and tap.rpartition(".")[2] in ("q", "k", "q_rot", "k_rot"):
            values[tap] = half_split(values[tap])
        elif how == "junk" and tap.endswith(".scores"):
            values[tap] = np.where(np.tri(14, dtype=bool), values[tap], -1e9).astype(np.float32)
        elif how == "long cache" and axes[-1] == "S":
            values[tap] = np.pad(values[tap], ((0, 0), (0, 0), (0, 6)))
        elif how == "last rows":
            values[tap] = values[tap][:, 10:] if row_axis(tap) else values[tap][10:]
    return values


HOWS = ["batch", "merged", "heads first", "rows first", "grouped", "half-split", "junk",
        "long cache", "last rows"]  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_other_arrangements_are_alike(how, turned):
    one, other = candidate(), Candidate(arranged(how), "float32")
    found = diff(other, one) if turned else diff(one, other)
    assert found.summary == "alike", as_text(found)
    assert len(found.taps) == 61
    assert max(tap.most for tap in found.taps) == 0
    if how not in ("batch", "junk", "long cache"):
        assert found.notes


def test_both_in_another_arrangement_are_alike():
    pairs = [("merged", "half-split"), ("heads first", "merged"), ("batch", "last rows")]
    for a, b in [*pairs, *((how, how) for how in HOWS)]:
        found = diff(Candidate(arranged(a), "float32"), Candidate(arranged(b), "float32"))
        assert found.summary == "alike" and len(found.taps) == 61, (a, b, as_text(found))


def test_the_other_layout_is_told_and_a_wrong_one_is_not_forgiven():
    assert any("Hugging Face" in note for note in compare(arranged("half-split")).notes)
    found = diff(candidate(), candidate("rope-half-split"))
    assert found.first_difference.tap == "layers.0.q_rot"


def test_rows_are_counted_from_the_end():
    values = {"logits": dump("decode-position-plus-1")["logits"][10:]}
    found = compare(values)
    assert found.taps[0].first_row == 11 and len(found.taps[0].roundoffs) == 4
    assert any("last rows" in note for note in found.notes)
    (last,) = compare({"logits": dump()["logits"][-1]}).taps
    assert last.verdict == "alike" and len(last.roundoffs) == 1


def test_shapes_that_do_not_fit_differ():
    found = compare({"layers.0.gate": dump()["layers.0.gate"][:, :-1], "logits": dump()["logits"]})
    assert found.first_difference.verdict == "wrong shape" and found.exit_code == 1
    assert "do not fit" in as_text(found)


def test_nan_equals_nothing():
    bad = dump()["logits"].copy()
    bad[3, 4] = np.nan
    found = diff(*(Candidate({"logits": bad}, "float32") for _ in range(2)))
    assert found.first_difference.verdict == "not finite" and "1 values" in as_text(found)
    assert as_json(found)["first_difference"]["error"] is None


def test_what_only_one_has_is_said():
    found = compare({"logits": dump()["logits"], "Q": np.ones(3)})
    assert len(found.taps) == 1 and len(found.first.only) == 60
    text = as_text(found)
    assert "only in the first: embed" in text and "no whole tap: Q" in text
    assert "how many layers" in text


def test_nothing_in_common_is_no_comparison():
    with pytest.raises(InputError, match="no tap in common"):
        compare({"logits": dump()["logits"]}, Candidate({"embed": dump()["embed"]}, "float32"))
    with pytest.raises(InputError, match="different tokens"):
        one, other = (Candidate(dump(), "float32", tokens=(1, i)) for i in range(2))
        diff(one, other)


# — dtypes —


def test_the_unit_is_the_coarser_dtype():
    narrow = candidate(dtype="bfloat16")
    found = diff(candidate(), narrow)
    assert found.unit == "bfloat16" and found.summary == "alike"
    assert diff(candidate(), candidate("gate-missing", dtype="bfloat16")).summary == "differ"
    undeclared = compare(dump(dtype="bfloat16"))
    assert undeclared.unit == "float32" and undeclared.first_difference.tap == "embed"
    assert any("all its values are bfloat16" in note for note in undeclared.notes)


def test_a_dump_is_as_coarse_as_it_is_stored():
    stored = {tap: array.astype(np.float16) for tap, array in dump().items()}
    found = diff(candidate(), Candidate(stored, "float32"))
    assert found.unit == "float16" and found.summary == "alike"
    exact = dump(dtype="float64")
    wrong = exact | {"embed": exact["embed"] * (1 + 1e-9)}
    found = diff(Candidate(exact, "float64"), Candidate(wrong, "float64"))
    assert found.unit == "float64" and found.first_difference.tap == "embed"


def test_the_limit_grows_with_the_operations_but_never_to_the_values_themselves():
    assert limit("float32")("logits", 61) == pytest.approx(64 * 2.0**-24 * np.sqrt(61))
    assert limit("bfloat16")("logits", 574) == 0.5
    zeros = {tap: np.zeros_like(array) for tap, array in dump().items()}
    for dtype in ROUNDOFF:
        assert diff(candidate(), Candidate(zeros, dtype)).summary == "differ"


# — with the model —


def test_with_the_model_each_is_judged():
    found = diff(candidate(), candidate("decode-position-plus-1"), floors=floors())
    assert found.nearer == "first"
    assert found.first.first_wrong is None
    assert found.second.first_wrong.tap == "layers.0.q_rot"
    turned = diff(candidate("decode-position-plus-1"), candidate(), floors=floors())
    assert turned.nearer == "second"
    text = as_text(found)
    assert re.search(r"the first: right at float32, 0\.\d times the limit at most", text)
    assert "the second: wrong at float32, first in layers.0.q_rot from row 11: " in text
    assert "nearer at layers.0.q_rot: the first" in text


def test_two_that_are_wrong_alike_are_told_by_the_model():
    wrong = candidate("relu")
    assert diff(wrong, wrong).summary == "alike"
    found = diff(wrong, wrong, floors=floors())
    assert found.summary == "alike" and found.nearer == "neither"
    assert found.first.first_wrong.tap == "layers.0.swiglu"


def test_the_models_own_noise_is_a_finer_limit():
    """What the rule lets pass, ten floors do not; and float64 has floors of its own."""
    small = {"logits": dump()["logits"] * np.float32(1 + 2e-5)}
    assert compare(small).summary == "alike"
    assert compare(small, floors=floors()).summary == "differ"
    exact = Candidate(dump(dtype="float64"), "float64")
    found = diff(exact, exact, floors=floors("float64"))
    assert found.first.first_wrong is None and found.summary == "alike"
    narrow = diff(candidate(), candidate(dtype="float16"), floors=floors("float32", "float16"))
    assert narrow.summary == "alike" and narrow.second.first_wrong is None


def test_more_rows_than_tokens_are_refused():
    few = floors_of(load_model(folder() / "model"), TOKENS[:5], ["float32"], ["logits"])
    with pytest.raises(InputError, match="14 rows, which cannot be of 5 tokens"):
        compare({"logits": dump()["logits"]}, candidate(), floors=few)


# — the command —


def run(*args):
    return CliRunner().invoke(main, ["golden", "diff", *map(str, args)])


@pytest.fixture
def two(tmp_path):
    write_npy(tmp_path / "a", dump())
    write_npy(tmp_path / "b", dump("relu"))
    return tmp_path / "a", tmp_path / "b"


def test_the_exit_code_says_it(two, tmp_path):
    a, b = two
    assert run(a, a).exit_code == 0
    found = run(a, b)
    assert found.exit_code == 1 and found.stdout.startswith("DIFFERENT in ")
    assert "the first is layers.0.swiglu from row 0" in found.stdout
    lost = run(a, tmp_path / "lost")
    assert lost.exit_code == 2 and "no such file" in lost.stderr and "Traceback" not in lost.stderr
    asked = run(a, b, "-m", folder() / "model")
    assert asked.exit_code == 2 and "give --tokens" in asked.stderr


def test_the_model_and_the_tokens(two):
    a, b = two
    ids = ",".join(map(str, TOKENS))
    found = run(a, b, "-m", folder() / "model", "--tokens", ids)
    assert found.exit_code == 1 and "nearer at layers.0.swiglu: a" in found.stdout
    (b / "ids.json").write_text(json.dumps({"tokens": list(TOKENS)}))
    assert run(a, b, "-m", folder() / "model").stdout.startswith("DIFFERENT")


def test_names_and_dtypes_of_each(two, tmp_path):
    a, _ = two
    (tmp_path / "names.json").write_text(json.dumps({"h.{i}.query": "layers.{i}.q"}))
    np.savez(tmp_path / "theirs.npz", **{"h.2.query": dump()["layers.2.q"]})
    found = run(a, tmp_path / "theirs.npz", "--names-b", tmp_path / "names.json", "--json")
    assert found.exit_code == 0
    (tap,) = json.loads(found.stdout)["taps"]
    assert tap["tap"] == "layers.2.q" and tap["most"] == 0
    narrow = run(a, a, "--dtype-a", "bfloat16", "--json")
    assert json.loads(narrow.stdout)["unit"] == "bfloat16"


def test_raw_files_have_the_other_ones_shape(two, tmp_path):
    a, _ = two
    (tmp_path / "raw").mkdir()
    for tap, array in dump().items():
        array.tofile(tmp_path / "raw" / f"{tap}.f32")
    for pair in ((a, tmp_path / "raw"), (tmp_path / "raw", a), (tmp_path / "raw",) * 2):
        found = run(*pair)
        assert found.exit_code == 0 and "ALIKE in 61 taps, 0.0" in found.stdout, found.output


def test_the_keys_of_the_json():
    found = as_json(diff(candidate(), candidate("relu"), floors=floors()))
    assert list(found) == [
        "version", "summary", "exit_code", "unit", "roundoff", "first_difference", "nearer",
        "first", "second", "taps", "notes",
    ]  # fmt: skip
    assert list(found["first"]) == ["name", "dtype", "only", "right", "truth"]
    assert list(found["taps"][0]) == [
        "tap", "verdict", "error", "limit", "roundoffs", "first_row", "worst", "first", "second",
        "detail", "most",
    ]  # fmt: skip
    assert (found["summary"], found["exit_code"], found["version"]) == ("differ", 1, 1)
    assert found["first"]["right"] is True and found["second"]["right"] is False
    json.dumps(found, allow_nan=False)


def test_a_reader_need_not_know_how_many_layers_there_are():
    found = read_candidate({"layers.77.q": np.ones((2, 3), np.float32)})
    assert list(found.values) == ["layers.77.q"] and not found.notes


QUICK = {case.name: case for case in CASES if not case.slow}


@pytest.mark.parametrize("name", QUICK)
def test_the_rule_of_the_limit_holds_on_the_kit(name):
    """No right program of the kit is beyond the rule, but where a softmax amplifies."""
    case = QUICK[name]
    model = Llama(case.config, weights_of(case.config, case.tensors()))
    schedule = Schedule.of(case.tokens)
    for dtype in ("float32", "bfloat16"):
        one, *others = (Candidate(replay(v, schedule), dtype) for v in variants(model, dtype))
        worst = 0.0
        for other in others:
            for tap in diff(one, other).taps:
                t = tap_names(case.config.n_layers).index(tap.tap) + 1
                worst = max(worst, tap.most / np.sqrt(t))
        if name == "large-norms" and dtype == "float32":
            assert worst > SPREAD[dtype]
        elif name != "large-norms":
            assert worst <= SPREAD[dtype], dtype


@pytest.mark.parametrize("fault", ["norm-eps-1e-6", "norm-eps-zero", "norm-twice"])
def test_a_small_fault_hides_below_the_rule_in_logits_alone_but_not_from_the_model(fault):
    wrong = {"logits": dump(fault)["logits"]}
    assert compare(wrong).summary == "alike"
    found = compare(wrong, floors=floors())
    assert found.summary == "differ" and found.nearer == "first"
    assert diff(candidate(), candidate(fault)).summary == "differ"  # with all taps
