"""Pads before the prompt: who masks them passes, their rows given or not; who does not is shown."""

import json
import shlex
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.golden import Report, check
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import KIT, read_kit, write_kit
from numpy_llama.golden.record.bundle import load
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.rows import by_key, row_axis
from numpy_llama.loading.weights import load_model
from numpy_llama.model import Llama
from tests.golden.dumps import dump, folder, golden, write_npy

PADS = 3  # of the candidates here, and of the kit's case
Taps = dict[str, np.ndarray]

# — what was given pads, and is compared with a golden without —


def with_pads(taps: Taps, rows: int = PADS, junk: float = 7.0) -> Taps:
    """A dump with so many rows of pads before its own, and with their keys: junk in all of them."""
    found = {}
    for tap, array in taps.items():
        before = [(0, 0)] * array.ndim
        before[row_axis(tap)] = (rows, 0)
        if by_key(tap):
            before[-1] = (PADS, 0)
        found[tap] = np.pad(array, before, constant_values=junk)
    return found


def judged(candidate: Taps | Path, pads: int = PADS) -> Report:
    return check(golden(), candidate, name_mistakes=False, pads=pads)


@pytest.mark.parametrize("junk", [7.0, np.nan])
@pytest.mark.parametrize("rows", [PADS, 0])
def test_rows_and_keys_of_pads_are_cut_off(rows: int, junk: float) -> None:
    padded = with_pads(dump(), rows, junk)
    report = judged(padded)
    assert report.summary == "passed" and len(report.judged) == len(golden().values), report
    assert any("of pads, left out" in note for note in report.notes) == (rows > 0)
    assert judged(padded, pads=0).summary == "diverged"


def test_files_without_a_shape_may_have_pads_too(tmp_path: Path) -> None:
    for tap, array in with_pads(dump(), junk=0.0).items():
        (tmp_path / f"{tap}.f32").write_bytes(np.asarray(array, "<f4").tobytes())
    assert judged(tmp_path).summary == "passed"


def test_a_batch_axis_and_other_orders_of_axes_are_still_seen(tmp_path: Path) -> None:
    taps = with_pads(dump())
    swapped = {tap: a.swapaxes(0, 1)[None] if a.ndim == 3 else a[None] for tap, a in taps.items()}
    report = judged(write_npy(tmp_path / "dump", swapped))
    assert report.summary == "passed", report
    assert any("batch axis" in note for note in report.notes)


def test_where_the_number_of_rows_fits_twice_the_nearer_is_taken() -> None:
    schedule = golden().schedule
    assert schedule.prompt + PADS == len(schedule.tokens)  # 14 rows: all, or the prompt with pads
    logits = dump()["logits"]
    whole, prompt = judged({"logits": logits}), logits[: schedule.prompt]
    assert whole.summary == "passed" and not any("only" in note for note in whole.notes)
    cut = judged({"logits": np.pad(prompt, ((PADS, 0), (0, 0)))})
    assert cut.summary == "passed"
    (note,) = (note for note in cut.notes if "only" in note)
    assert "11 rows of the prompt" in note and any("of pads" in note for note in cut.notes)


@pytest.mark.parametrize("first, right", [(PADS, True), (PADS + 1, False)])
def test_positions_that_count_the_pads_do_no_harm(first: int, right: bool) -> None:
    class Counting(Llama):
        def rotations(self, start: int, L: int) -> np.ndarray:
            return super().rotations(start + first, L)

    plain = load_model(folder() / "model")
    taps = run(Counting(plain.config, plain.weights), golden().schedule)
    report = judged(with_pads(taps))
    assert (report.summary == "passed") == right, report
    assert any("count the pads" in note for note in report.notes) == right


def test_of_scalars_only_the_last_are_judged(tmp_path: Path) -> None:
    logits = with_pads(dump())["logits"]
    parts = {"sum": float(logits.sum()), "last": logits[-1, -2:].tolist()}
    (tmp_path / "d.json").write_text(json.dumps({"logits": parts}))
    report = judged(tmp_path / "d.json")
    assert [scalar.part for scalar in report.scalars] == ["last"]
    assert report.summary != "diverged" and any("sums" in note for note in report.notes)


def test_the_command_takes_the_number_of_pads(tmp_path: Path) -> None:
    np.savez(tmp_path / "dump.npz", **with_pads(dump()))
    command = ["golden", "check", str(folder() / "golden"), str(tmp_path / "dump.npz")]
    for pads, code in ((PADS, 0), (PADS - 1, 1), (0, 1)):
        done = CliRunner().invoke(main, [*command, "--no-diagnosis", "--pads", str(pads)])
        assert done.exit_code == code, done.output


def test_the_tokens_may_be_told_with_the_pads(tmp_path: Path) -> None:
    tokens = [0] * PADS + list(golden().schedule.tokens)
    content = {"logits": with_pads(dump())["logits"].tolist(), "tokens": tokens}
    (tmp_path / "d.json").write_text(json.dumps(content))
    assert not any("other tokens" in note for note in judged(tmp_path / "d.json").notes)
    content["tokens"][-1] += 1
    (tmp_path / "d.json").write_text(json.dumps(content))
    assert any("other tokens" in note for note in judged(tmp_path / "d.json").notes)


# — the kit's case —

# Its model is ours, its pads are not.
PROGRAM = """
import sys
import numpy as np
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.loading.weights import load_model
how, model, tokens, steps, out, pads = sys.argv[1:]
ids, steps = ([int(i) for i in given.split(",")] for given in (tokens, steps))
pads = int(pads)
assert sum(steps) == len(ids) and ids[:pads] == [0] * pads < ids[: pads + 1]
if how == "seen":
    logits = run(load_model(model), Schedule(tuple(ids), tuple(steps)), {"logits"})["logits"]
else:
    real = ids[pads - 1 :] if how == "one-seen" else ids[pads:]
    logits = run(load_model(model), Schedule(tuple(real), (len(real),)), {"logits"})["logits"]
    logits = logits[-(len(ids) - pads) :]
    if how != "real-rows":
        logits = np.concatenate([np.full((pads, logits.shape[1]), np.nan, "f4"), logits])
if how == "raw":
    np.asarray(logits, "f4").tofile(out + ".bin")
else:
    np.save(out + ".npy", logits[None] if how == "batch" else logits)
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("padded") / "kit"
    write_kit(place, [case for case in CASES if case.name in ("mha", "left-padded")], detect=False)
    return place


@pytest.fixture
def golden_run(kit: Path, tmp_path: Path) -> Callable[..., Result]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def run_it(how: str, pads: str, *options: str) -> Result:
        words = f"{shlex.quote(sys.executable)} {shlex.quote(str(program))} {how}"
        words += f" {{model}} {{tokens}} {{steps}} {{out}} {pads}"
        arguments = ["golden", "run", "--kit", str(kit), "--command", words, *options]
        return CliRunner().invoke(main, arguments)

    return run_it


@pytest.mark.parametrize("how", ["all-rows", "real-rows", "raw", "batch"])
def test_a_program_that_hides_its_pads_passes(golden_run: Callable[..., Result], how: str) -> None:
    result = golden_run(how, "{pads}")
    assert result.exit_code == 0 and "2 of 2 passed" in result.stdout, result.output


@pytest.mark.parametrize("how", ["seen", "one-seen"])
def test_a_program_that_attends_to_its_pads_is_shown(
    golden_run: Callable[..., Result], how: str
) -> None:
    result = golden_run(how, "{pads}", "--only", "left-padded", "--json")
    (case,) = json.loads(result.stdout)["cases"]
    assert (result.exit_code, case["status"]) == (1, "diverged")
    assert ("left-padding-seen" in case["detail"]) == (how == "seen"), case["detail"]


def test_a_command_without_pads_is_not_asked(
    golden_run: Callable[..., Result], tmp_path: Path
) -> None:
    report = tmp_path / "junit.xml"
    result = golden_run("all-rows", "0", "--junit", str(report))
    assert result.exit_code == 0, result.output
    assert "1 of 1 passed, 1 skipped" in result.stdout and "has no {pads}" in result.stdout
    (skipped,) = ET.parse(report).getroot().findall("testcase/skipped")
    assert "has no {pads}" in skipped.get("message", "")
    score = json.loads(golden_run("all-rows", "0", "--json").stdout)
    assert (score["exit_code"], score["score"]["skipped"]) == (0, 1)
    assert [case["detail"] for case in score["cases"] if "{pads}" in case["detail"]]


def test_the_tokens_carry_the_pads_and_the_golden_has_none(kit: Path) -> None:
    plain, padded = read_kit(kit)
    assert (plain.pads, padded.pads) == (0, PADS)
    tokens = padded.schedule.tokens
    assert tokens[:PADS] == (0,) * PADS and tokens[PADS:] == load(padded.golden).schedule.tokens
    assert padded.schedule.prompt == padded.prompt == 14
    assert list(map(int, padded.tokens_file.read_text().split())) == list(tokens)


def test_a_real_token_has_the_pad_s_id(kit: Path) -> None:
    """So that a program cannot tell pads by their id: it has to be told their number."""
    _, padded = read_kit(kit)
    assert 0 in padded.schedule.tokens[PADS : padded.prompt]


def test_kits_of_before_have_no_pads(kit: Path, tmp_path: Path) -> None:
    index = json.loads((kit / KIT).read_text())
    assert index["version"] == 2  # so a program of before, which knows no pads, refuses it
    del index["cases"][0]["pads"], index["cases"][1]
    (tmp_path / KIT).write_text(json.dumps(index | {"version": 1}))
    (entry,) = read_kit(tmp_path)
    assert entry.pads == 0 and entry.schedule == load(kit / "mha" / "golden").schedule


@pytest.mark.parametrize("pads", [-1, 14, "many", None])
def test_pads_that_cannot_be_are_refused(kit: Path, tmp_path: Path, pads: object) -> None:
    index = json.loads((kit / KIT).read_text())
    index["cases"][1]["pads"] = pads
    (tmp_path / KIT).write_text(json.dumps(index))
    with pytest.raises(InputError, match="not a whole index"):
        read_kit(tmp_path)
