"""The kit's case with pads before the prompt: who masks them passes, who does not is shown."""

import json
import shlex
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import KIT, read_kit, write_kit

# A program with a mask and positions of its own, or without: its model is ours, its pads are not.
PROGRAM = """
import sys
import numpy as np
from numpy_llama.golden.replay.replay import run
from numpy_llama.golden.replay.schedule import Schedule
from numpy_llama.loading.weights import load_model
how, model, tokens, steps, out, pads = sys.argv[1:]
ids, steps = ([int(i) for i in given.split(",")] for given in (tokens, steps))
pads = int(pads)
assert sum(steps) == len(ids) and (ids[:pads], steps[0]) == ([0] * pads, pads + 12)
model = load_model(model)
if how == "seen":
    logits = run(model, Schedule(tuple(ids), tuple(steps)), {"logits"})["logits"]
else:
    real = ids[pads - 1 :] if how == "one-seen" else ids[pads:]
    logits = run(model, Schedule(tuple(real), (len(real),)), {"logits"})["logits"][-16:]
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
    chosen = [case for case in CASES if case.name in ("gqa", "left-padded")]
    write_kit(place, chosen, detect=False)
    return place


def golden_run(kit: Path, tmp_path: Path, how: str, pads: str, *options: str) -> Result:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    words = f"{shlex.quote(sys.executable)} {shlex.quote(str(program))} {how}"
    words += f" {{model}} {{tokens}} {{steps}} {{out}} {pads}"
    arguments = ["golden", "run", "--kit", str(kit), "--command", words, *options]
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("how", ["all-rows", "real-rows", "raw", "batch"])
def test_a_program_that_hides_its_pads_passes(kit: Path, tmp_path: Path, how: str) -> None:
    result = golden_run(kit, tmp_path, how, "{pads}")
    assert result.exit_code == 0 and "2 of 2 passed" in result.stdout, result.output


@pytest.mark.parametrize("how", ["seen", "one-seen"])
def test_a_program_that_attends_to_its_pads_is_shown(kit: Path, tmp_path: Path, how: str) -> None:
    result = golden_run(kit, tmp_path, how, "{pads}", "--only", "left-padded", "--json")
    (case,) = json.loads(result.stdout)["cases"]
    assert (result.exit_code, case["status"]) == (1, "diverged")
    assert ("left-padding-seen" in case["detail"]) == (how == "seen"), case["detail"]


def test_a_command_without_pads_is_not_asked(kit: Path, tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    result = golden_run(kit, tmp_path, "all-rows", "0", "--junit", str(report))
    assert result.exit_code == 0, result.output
    assert "1 of 1 passed, 1 skipped" in result.stdout and "does not take {pads}" in result.stdout
    (skipped,) = ET.parse(report).getroot().findall("testcase/skipped")
    assert "{pads}" in skipped.get("message", "")


def test_kits_of_before_have_no_pads(kit: Path, tmp_path: Path) -> None:
    index = json.loads((kit / KIT).read_text())
    assert [entry.pads for entry in read_kit(kit)] == [0, 3]
    for case in index["cases"]:
        del case["pads"]
    (tmp_path / KIT).write_text(json.dumps(index))
    assert [entry.pads for entry in read_kit(tmp_path)] == [0, 0]
    index["cases"][0]["pads"] = -1
    (tmp_path / KIT).write_text(json.dumps(index))
    with pytest.raises(InputError, match="pads"):
        read_kit(tmp_path)
