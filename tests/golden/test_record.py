"""Recording: the same bits everywhere, floors that were measured, and files that are whole."""

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.errors import InputError, LlamaError, NumericError
from numpy_llama.formats.convert import convert
from numpy_llama.golden import CATALOGUE, as_text, check
from numpy_llama.golden.faults.place import Place, localised
from numpy_llama.golden.record.bundle import Bundle, load
from numpy_llama.golden.record.disk import signed
from numpy_llama.golden.record.fingerprint import weights_sha256
from numpy_llama.golden.record.record import continue_greedily, record, select_taps
from numpy_llama.golden.record.reference import load_reference
from numpy_llama.golden.record.show import describe
from numpy_llama.golden.record.source import seen_from
from numpy_llama.golden.replay.metrics import relative_rms, tap_error
from numpy_llama.golden.replay.precision import (
    MEASURED,
    UNIT_ROUNDOFF,
    in_dtype,
    round_to_bfloat16,
    round_to_float16,
)
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.loading.open import open_reference
from numpy_llama.loading.weights import load_model
from numpy_llama.model import Llama
from numpy_llama.taps import tap_names
from tests.golden.recorded_bits import lawful, recorded_by_a_child, ulps_apart
from tests.models import ROPES, random_model, random_tensors, random_tokens, tiny_config
from tests.tiny import checkpoint_of, write_tiny_model

CONFIG = tiny_config(n_layers=2)
MODEL = random_model(CONFIG, dtype=np.float32)
PROMPT = random_tokens(CONFIG, 9)


@pytest.fixture(scope="module")
def golden() -> Bundle:
    return record(MODEL, PROMPT, 3, chunk=5, text="nine words", source="tiny")


def test_the_decode_steps_are_the_greedy_continuation(golden: Bundle) -> None:
    tokens = list(PROMPT)
    for _ in range(4):  # without a cache, so that this is not how the golden did it
        tokens.append(int(random_model(CONFIG).forward(tokens)[-1].argmax()))
    assert golden.schedule.tokens == tuple(tokens[:12])
    assert golden.schedule.steps == (5, 4, 1, 1, 1)
    assert golden.greedy == tuple(tokens[9:])
    assert [golden.schedule.phase(row) for row in (0, 8, 9, 11)] == ["prefill"] * 2 + ["decode"] * 2


def test_values_are_the_float64_run_rounded_to_float32(golden: Bundle) -> None:
    whole = random_model(CONFIG, dtype=np.float64)
    rounded = dataclasses.replace(whole, weights=in_dtype(MODEL, "float64").weights)
    truth = run(rounded, Schedule(golden.schedule.tokens, (12,)))  # in one step: the same rows
    assert list(golden.values) == tap_names(2)
    for name, array in golden.values.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, truth[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_margins_are_between_the_two_largest_logits(golden: Bundle) -> None:
    for row, margin in zip(golden.values["logits"], golden.margins, strict=True):
        two = sorted(row.tolist())[-2:]
        assert margin == pytest.approx(two[1] - two[0], abs=1e-6)


def test_floors_grow_with_the_coarseness_of_the_dtype(golden: Bundle) -> None:
    for tap in golden.values:
        single, half, brain = (golden.floor(tap, d) for d in ("float32", "float16", "bfloat16"))
        assert UNIT_ROUNDOFF["float32"] <= single < 1e-5
        assert 100 * single < half < brain < 0.2
        assert golden.floor(tap, "float64") == UNIT_ROUNDOFF["float64"]
    assert golden.noise("float32") < golden.noise("float16") < golden.noise("bfloat16")
    with pytest.raises(InputError, match="int8"):
        golden.floor("logits", "int8")


def test_detectability_says_what_this_golden_sees(golden: Bundle) -> None:
    seen = golden.detectability
    assert seen["relu"]["bfloat16"].visible and seen["relu"]["bfloat16"].tap == "layers.0.swiglu"
    assert (
        seen["norm-eps-1e-6"]["float32"].visible and not seen["norm-eps-1e-6"]["bfloat16"].visible
    )
    assert seen["decode-position-plus-1"]["float32"].tap == "layers.0.q_rot"
    assert seen["mask-upper-left"]["float32"].visible  # for it was recorded in chunks
    assert "norm-eps-1e-5" not in seen  # this model's own ε


def test_one_token_cannot_see_positions() -> None:
    seen = record(MODEL, PROMPT[:1], 0).detectability
    for fault in ("rope-theta-5e5", "rope-missing", "decode-position-zero", "mask-missing"):
        assert not seen[fault]["float32"].visible, fault


def test_a_saved_golden_is_loaded_as_it_was(golden: Bundle, tmp_path: Path) -> None:
    golden.save(tmp_path / "g")
    loaded = load(tmp_path / "g")
    for field in dataclasses.fields(Bundle):
        if field.name not in ("values", "place"):
            assert getattr(loaded, field.name) == getattr(golden, field.name), field.name
    assert list(loaded.values) == list(golden.values)
    for name in golden.values:
        np.testing.assert_array_equal(loaded.values[name], golden.values[name])
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == [
        "golden.json",
        "golden.safetensors",
    ]


def rewritten(golden: Bundle, directory: Path, path: list[str], value: object, sign: bool) -> None:
    """A golden whose JSON has another value at this path; `sign`: and a hash that fits."""
    golden.save(directory)
    content = json.loads((directory / "golden.json").read_text())
    at = content
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    text = json.dumps(signed(content) if sign else content)
    (directory / "golden.json").write_text(text)


@pytest.mark.parametrize(
    "path, value",
    [
        (["version"], 99),
        (["version"], True),
        (["config", "dim"], -1),
        (["config", "dim"], 32),
        (["config", "wheels"], 4),
        (["schedule", "steps"], [1]),
        (["schedule", "tokens"], [0] * 11 + [1 << 40]),
        (["schedule", "tokens"], "twelve"),
        (["floors"], {}),
        (["floors", "float32", "logits"], "small"),
        (["floors", "float32", "logits"], [1e-6, 1e-6]),
        (["floors", "float32", "logits"], [1e-6, 1e-6, -1e-6]),
        (["floors", "float32", "logits"], [1e-6, 1e-6, math.inf]),
        (["floors", "float32"], {}),
        (["logit_noise", "float32"], -1),
        (["greedy"], None),
        (["margins"], []),
        (["margins"], ["0.1"] * 14),
        (["detectability"], {"rope-off": {"float32": {}}}),
        (["detectability"], {"rope-off": {"float32": {"visible": 1, "tap": "q", "ratio": 2}}}),
        (["values_sha256"], "0" * 64),
    ],
)
def test_a_golden_that_was_tampered_with_is_refused_in_a_sentence(
    golden: Bundle, tmp_path: Path, path: list[str], value: object
) -> None:
    rewritten(golden, tmp_path, path, value, sign=True)
    with pytest.raises(LlamaError, match="golden"):
        load(tmp_path)


def test_a_golden_with_half_of_a_pair_is_refused_in_a_sentence(
    golden: Bundle, tmp_path: Path
) -> None:
    """JSON can say it, UTF-8 cannot: neither its hash nor a terminal could be given it."""
    rewritten(golden, tmp_path, ["prompt"], "half", sign=True)
    path = tmp_path / "golden.json"
    path.write_text(path.read_text("utf-8").replace('"half"', '"\\ud800"'), "utf-8")
    with pytest.raises(InputError, match="golden"):
        load(tmp_path)


def test_a_golden_that_was_not_tried_at_every_dtype_is_shown(
    golden: Bundle, tmp_path: Path
) -> None:
    seen = {"visible": False, "tap": "logits", "ratio": 0.5, "logits": None}
    rewritten(golden, tmp_path, ["detectability"], {"rope-off": {"float32": seen}}, sign=True)
    assert "not rope-off" in describe(load(tmp_path))


@pytest.mark.parametrize(
    "path, value", [(["floors", "float32", "logits"], [1.0] * 3), (["source"], "elsewhere")]
)
def test_a_change_by_hand_is_found(
    golden: Bundle, tmp_path: Path, path: list[str], value: object
) -> None:
    rewritten(golden, tmp_path, path, value, sign=True)
    load(tmp_path)
    rewritten(golden, tmp_path, path, value, sign=False)
    with pytest.raises(InputError, match="was changed"):
        load(tmp_path)


def test_a_golden_of_version_1_is_read_and_to_be_recorded_again(
    golden: Bundle, tmp_path: Path
) -> None:
    golden.save(tmp_path)
    content = json.loads((tmp_path / "golden.json").read_text())
    del content["sha256"]
    for floors in content["floors"].values():
        floors.update({tap: max(groups) for tap, groups in floors.items()})
    (tmp_path / "golden.json").write_text(json.dumps(content | {"version": 1}))
    old = load(tmp_path)
    assert "record it again" in old.remark and old.remark in describe(old)
    assert golden.remark == "" and "again" not in describe(golden)
    for tap in golden.values:
        assert old.group_floors(tap, "float32") == (golden.floor(tap, "float32"),) * 3
    old.save(tmp_path / "again")
    assert load(tmp_path / "again").version == 1


def test_a_golden_without_its_values_or_no_golden_at_all_is_refused(
    golden: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is not a golden"):
        load(tmp_path)
    golden.save(tmp_path)
    (tmp_path / "golden.safetensors").write_bytes(b"")
    with pytest.raises(LlamaError, match="golden.safetensors"):
        load(tmp_path)


def test_what_is_recorded_can_be_chosen(golden: Bundle) -> None:
    assert select_taps(2, ["logits"]) == ["logits"]
    assert select_taps(2, ["layers.*.q"]) == ["layers.0.q", "layers.1.q", "logits"]
    assert select_taps(2, ["all"]) == tap_names(2)
    with pytest.raises(InputError, match="qq"):
        select_taps(2, ["qq"])
    some = record(MODEL, PROMPT, 3, chunk=5, taps=["embed"], detect=False)
    assert list(some.values) == ["embed", "logits"]
    assert some.floors["float32"]["logits"] == golden.floors["float32"]["logits"]


def test_what_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(InputError, match="61"):
        record(MODEL, [61])
    with pytest.raises(InputError):
        record(MODEL, [])
    embeddings = np.full_like(MODEL.weights.tok_embeddings, np.nan)
    broken = dataclasses.replace(
        MODEL, weights=dataclasses.replace(MODEL.weights, tok_embeddings=embeddings)
    )
    with pytest.raises(NumericError, match="embed"):
        record(broken, PROMPT)


def test_the_hash_is_of_the_weights_not_of_their_dtype() -> None:
    other = random_model(CONFIG, seed=1, dtype=np.float32)
    assert weights_sha256(MODEL) == weights_sha256(in_dtype(MODEL, "float64"))
    assert weights_sha256(MODEL) != weights_sha256(other)


def test_errors_are_measured_in_the_worst_group_of_rows() -> None:
    schedule = Schedule.of(range(100), range(2))
    want = np.ones((102, 3))
    got = want.copy()
    got[-1] += 0.1  # one of the two decode steps
    assert tap_error("embed", got, want, schedule) == pytest.approx(0.1 / np.sqrt(2))
    assert relative_rms(got, want) == pytest.approx(0.1 / np.sqrt(102))
    assert relative_rms(np.array([np.nan]), np.array([np.nan])) == np.inf
    assert relative_rms(np.array([1.0]), np.array([0.0])) == np.inf
    assert relative_rms(np.zeros(2), np.zeros(2)) == 0


def test_each_group_of_rows_has_its_floor(golden: Bundle) -> None:
    assert len(golden.schedule.groups) == 3
    floors = golden.group_floors("layers.1.ffn_out", "float32")
    assert len(set(floors)) == 3 and max(floors) == golden.floor("layers.1.ffn_out", "float32")
    assert golden.in_floors("embed", [0, 2**-23, 0], "float32") == 2
    statistics = {golden.group_floors(t, "float16") for t in golden.values if t.endswith(".rms")}
    assert len(statistics) == 1 and len(set(statistics.pop())) == 1


def test_a_ratio_is_that_of_the_worst_group(golden: Bundle) -> None:
    logits = golden.values["logits"].astype(np.float64)
    for rows, floor in zip(
        golden.schedule.groups, golden.group_floors("logits", "bfloat16"), strict=True
    ):
        got = logits.copy()
        got[rows] *= 1 + 4 * floor
        assert golden.ratio("logits", got, "bfloat16") == pytest.approx(4, rel=1e-3)
    assert golden.ratio("logits", np.zeros_like(logits), "bfloat16") > 10
    assert golden.ratio("logits", np.full_like(logits, np.nan), "bfloat16") == np.inf


def test_what_overflows_cannot_be_judged() -> None:
    """The scores of float16 do, and so all that comes after them; bfloat16 has room for them."""
    weights = MODEL.weights
    layers = tuple(
        dataclasses.replace(layer, wq=layer.wq * 1000, wk=layer.wk * 1000)
        for layer in weights.layers
    )
    large = dataclasses.replace(MODEL, weights=dataclasses.replace(weights, layers=layers))
    golden = record(large, PROMPT, 3, chunk=5, detect=False)
    assert golden.floor("layers.0.q", "float16") < 0.01
    assert golden.floor("layers.0.scores", "float16") == 1
    assert not golden.judgeable("float16") and golden.judgeable("float16", "layers.0.q")
    assert "too much to judge" in describe(golden)


def test_the_tokens_are_float64s_where_float32_guesses_others(
    golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guess that is wrong at the second token; the answer is as before."""
    module = sys.modules["numpy_llama.golden.record.record"]  # the package calls a function so
    monkeypatch.setattr(module, "continue_greedily", wrong_in_float32)
    again = record(MODEL, PROMPT, 3, chunk=5, detect=False)
    assert again.schedule == golden.schedule and again.greedy == golden.greedy


def wrong_in_float32(model: Llama, schedule: Schedule, n: int) -> list[int]:
    right = continue_greedily(model, schedule, n)
    if model.weights.final_norm.dtype == np.float64:
        return right
    return [right[0], (right[1] + 1) % 61, right[2]]


def test_rows_that_depend_on_their_steps_are_recorded_in_them() -> None:
    """NTK-aware scaling by length: a cached key keeps the angle of the length at which it came."""
    config = tiny_config(max_context=6, rope_scaling=ROPES["dynamic"])
    model = random_model(config, dtype=np.float32)
    golden = record(model, PROMPT, 3, detect=False)
    truth = run(in_dtype(model, "float64"), golden.schedule)
    assert golden.schedule.steps == (9, 1, 1, 1)
    for name, array in golden.values.items():
        np.testing.assert_allclose(array, truth[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert golden.floor("logits", "float32") < 1e-5


def test_the_decode_steps_may_be_one_call() -> None:
    schedule = Schedule.of(range(9), range(3), chunk=5)
    assert schedule.merged == Schedule(schedule.tokens, (5, 7))
    assert Schedule.of([1], range(3)).merged.steps == (4,)
    assert Schedule.of(range(5)).merged.steps == (5,)


def test_bfloat16_is_emulated_by_rounding_to_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-7, np.inf, -3.3], np.float32)
    expected = [1, 1, 1 + 2**-6, 1 + 2**-7, np.inf, -3.296875]
    np.testing.assert_array_equal(round_to_bfloat16(values), np.array(expected, np.float32))


def test_float16_is_rounded_as_numpy_rounds_it() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 1 << 32, 1 << 20, np.uint32)  # NaNs, infinities, subnormals: all
    near = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    near = near[np.isfinite(near)]
    halfway = near[:-1] + np.diff(near) / 2
    for x in (bits.view(np.float32), near, halfway, random.standard_normal((3, 5))[:, ::2]):
        with np.errstate(over="ignore", invalid="ignore"):
            expected = np.asarray(x, np.float32).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(round_to_float16(x), expected)
        signs = np.signbit(expected) == np.signbit(round_to_float16(x))
        assert (signs | np.isnan(expected)).all()


def test_an_emulated_run_stores_nothing_finer_than_its_format() -> None:
    schedule = Schedule.of(PROMPT)
    for dtype, bits in (("bfloat16", 16), ("float16", 13)):
        for name, array in run(in_dtype(MODEL, dtype), schedule).items():
            normal = array[np.abs(array) > 1e-3]
            assert not (normal.view(np.uint32) % (1 << bits)).any(), name


def test_a_schedule_covers_its_tokens() -> None:
    assert Schedule.of([1, 2, 3, 4, 5], [6], chunk=2).steps == (2, 2, 1, 1)
    assert Schedule.of([1], [2, 3]).prompt == 1
    for tokens, steps in (((), ()), ((1, 2), (1,)), ((1, 2), (3, -1)), ((1, 2), (2, 0))):
        with pytest.raises(InputError):
            Schedule(tokens, steps)


def test_the_bits_do_not_depend_on_the_threads(tmp_path: Path) -> None:
    """Kernels for other CPUs are compared by `make kernels`: not every CPU can run each of them."""
    one, said = recorded_by_a_child(tmp_path / "1.npy", OPENBLAS_NUM_THREADS="1")
    two, said_too = recorded_by_a_child(tmp_path / "2.npy", OPENBLAS_NUM_THREADS="2")
    if "unknown" not in said and (os.cpu_count() or 1) > 1:
        assert "1 threads" in said and "2 threads" in said_too  # or nothing was compared
    assert one.size > 300_000 and lawful(ulps_apart(one, two))


def test_bits_that_differ_are_seen() -> None:
    values = np.array([1.0, -0.0, -1.0, 0.0], np.float32)
    others = np.array([np.nextafter(np.float32(1), np.float32(2)), 0.0, -1.0, -1e-45], np.float32)
    apart = ulps_apart(values, others)
    assert apart.tolist() == [1, 0, 0, 1]
    assert lawful(apart[:3]) and not lawful(apart) and not lawful(2 * apart[:3])


def test_every_measured_dtype_is_in_a_golden(golden: Bundle) -> None:
    assert set(golden.floors) == set(golden.logit_noise) == set(MEASURED)


# — where its model is —


def moved_tree(path: Path) -> Path:
    """A model with a golden of it, recorded with paths relative to another directory, moved."""
    write_tiny_model(path / "a" / "models" / "tiny")
    tiny = load_model(path / "a" / "models" / "tiny")
    with contextlib.chdir(path / "a"):
        record(tiny, PROMPT, 0, taps=("logits",), source="models/tiny", detect=False).save("g/once")
    return (path / "a").rename(path / "b") / "g" / "once"


def test_a_golden_finds_its_model_relative_to_itself(tmp_path: Path) -> None:
    there = moved_tree(tmp_path)
    bundle = load(there)
    assert bundle.source == "../../models/tiny"
    assert weights_sha256(load_reference(bundle)) == bundle.weights_sha256
    with contextlib.chdir(there.parent):
        assert load_reference(load("once")).config == bundle.config
    bundle.save(tmp_path / "c")  # elsewhere, it is another path to the same model
    assert load(tmp_path / "c").source == "../b/models/tiny"


def test_an_older_golden_names_its_model_from_the_caller_s_directory(tmp_path: Path) -> None:
    there = moved_tree(tmp_path)
    about = json.loads((there / "golden.json").read_text()) | {"source": "models/tiny"}
    (there / "golden.json").write_text(json.dumps(signed(about)))
    with pytest.raises(InputError, match="models/tiny"):
        load_reference(load(there))
    with contextlib.chdir(tmp_path / "b"):
        assert load_reference(load("g/once")).config == load("g/once").config


def test_a_name_stays_a_name(tmp_path: Path) -> None:
    assert seen_from(tmp_path / "g", "smollm2-135m") == "smollm2-135m"
    assert seen_from(tmp_path / "g", "") == ""
    assert seen_from(Path("/nowhere/g"), str(tmp_path)) == str(tmp_path)  # only the root in common
    assert seen_from(tmp_path, str(tmp_path)) == "./."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_moment_a_golden_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.golden.killed_record", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) >= 12


def test_saving_removes_no_file_that_is_not_its_own(golden: Bundle, tmp_path: Path) -> None:
    (tmp_path / "golden-v2.safetensors").write_bytes(b"a user's")
    golden.save(tmp_path)
    assert (tmp_path / "golden-v2.safetensors").read_bytes() == b"a user's"


@pytest.mark.parametrize("stored", ["bf16", "f16", "f32"])
def test_a_model_that_does_not_fit_is_recorded_and_judged_to_the_bit(tmp_path, monkeypatch, stored):
    """Its matrices are made when they are asked for: the golden, and a diagnosis, are the same.

    Also of one that was opened for texts, whose matrices stay in the file.
    """
    tensors = random_tensors(CONFIG, dtype=np.float32)
    convert(checkpoint_of(CONFIG, tensors), tmp_path / "model", stored)
    ids, told = random_tokens(CONFIG, 7), []
    resident = open_reference(tmp_path / "model", say=told.append)
    assert isinstance(resident.weights.layers, tuple) and not told
    monkeypatch.setattr("numpy_llama.loading.memory.free_memory", lambda: 1000)
    reference = open_reference(tmp_path / "model", say=told.append)
    assert not isinstance(reference.weights.layers, tuple)
    assert len(told) == 1 and "streaming the weights" in told[0]
    for_texts = load_model(tmp_path / "model", stream=True)

    golden = record(resident, ids, decode=2)
    for streamed in (reference, for_texts):
        again = record(streamed, ids, decode=2)
        for name, values in golden.values.items():
            np.testing.assert_array_equal(again.values[name], values)
        for part in ("weights_sha256", "floors", "detectability", "schedule"):
            assert getattr(again, part) == getattr(golden, part)
    faults = [CATALOGUE["relu"], *(localised(CATALOGUE["relu"], Place(layer=i)) for i in (0, 1))]
    for fault in [*faults, localised(CATALOGUE["wq-zero"], Place(layer=0))]:
        wrong, schedule = fault.apply(resident, golden.schedule)
        logits = {"logits": run(wrong, schedule, ["logits"])["logits"].astype(np.float32)}
        said = [as_text(check(golden, logits, model=m)) for m in (resident, reference, for_texts)]
        assert said[0] == said[1] == said[2] and fault.id in said[0]
