"""transformers on the kit's padded case: right with its mask, and shown where it goes without."""

import shlex
import sys
from pathlib import Path

import pytest

from audit.run import HERE
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import read_kit, write_kit
from numpy_llama.golden.kit.run import Result, make_plan, run_case

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.oracle

MASK, POSITIONS = ">= int(pads)", ".clamp(min=0)\n"
DECODE = "positions[:, int(steps.split(',')[0]) :] += int(pads)\n"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("padded") / "kit"
    write_kit(place, [case for case in CASES if case.pads], detect=False)
    return place


def transformers(kit: Path, tmp_path: Path, how: str, old: str = "", new: str = "") -> Result:
    """What comes of the audit's glue, with some of it otherwise."""
    text = (HERE / "run_transformers.py").read_text()
    assert old in text
    glue = tmp_path / "glue.py"
    glue.write_text(text.replace(old, new) if old else text)
    words = f"{shlex.quote(sys.executable)} {shlex.quote(str(glue))}"
    command = f"{words} {{model}} {{tokens}} {{steps}} {{out}} {how} {{pads}}"
    (entry,) = read_kit(kit)
    plan = make_plan(command, tmp_path, dtype=how.split()[1], timeout=300.0)
    return run_case(plan, entry)


@pytest.mark.parametrize("how", ["eager float32", "sdpa float32", "sdpa bfloat16", "eager float16"])
def test_with_its_mask_it_passes(kit: Path, tmp_path: Path, how: str) -> None:
    result = transformers(kit, tmp_path, how)
    assert result.status == "passed", result.detail


@pytest.mark.parametrize(
    "old, new, fault",
    [
        (MASK, ">= 0", "left-padding-seen"),
        (POSITIONS, POSITIONS + DECODE, "left-padding-decode-positions"),
    ],
)
def test_its_mistakes_are_named(kit: Path, tmp_path: Path, old: str, new: str, fault: str) -> None:
    result = transformers(kit, tmp_path, "eager float32", old, new)
    assert result.status == "diverged" and fault in result.detail, result.detail


def test_pads_that_are_positions_and_not_seen_do_no_harm(kit: Path, tmp_path: Path) -> None:
    counted = POSITIONS + "positions = torch.arange(ids.shape[1])[None]\n"
    result = transformers(kit, tmp_path, "eager float32", POSITIONS, counted)
    assert result.status == "passed", result.detail
