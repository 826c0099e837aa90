"""The recipes of docs/golden.md do what they say, and its tables are those of the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.golden.candidate.read import read_candidate
from numpy_llama.golden.report.json import as_json
from numpy_llama.taps import tap_names
from tests.golden.dumps import compare, folder, golden

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "golden.md").read_text()


def recipe(name: str) -> str:
    """The block of code below `<!-- recipe: NAME -->`."""
    found = re.search(
        rf"<!-- recipe: {re.escape(name)} -->\n```\w+\n(.*?)^```$", DOCUMENT, re.S | re.M
    )
    assert found, name
    return found[1]


def test_the_taps_of_the_c_recipe_are_taps():
    calls = re.findall(r'llama_tap(_layer)?\((?:i, )?"([\w.]+)"', recipe("llama2.c"))
    assert len(calls) == recipe("llama2.c").count("llama_tap") == 11
    for layer, name in calls:
        assert (f"layers.0.{name}" if layer else name) in tap_names(1)


def test_the_adder_in_verilog_passes(tmp_path):
    compiler = shutil.which("iverilog") or pytest.skip("there is no iverilog")
    args = ["export", str(folder() / "golden"), "--to", "hex", "--word", "Q7.12", "--taps", "embed"]
    args += ["--taps", "layers.0.attn_out", "-o", str(tmp_path / "vectors")]
    assert CliRunner().invoke(main, ["golden", *args]).exit_code == 0
    (tmp_path / "dump").mkdir()
    (tmp_path / "testbench.v").write_text(recipe("verilog"))
    count = golden().values["embed"].size
    build = [compiler, f"-Ptestbench.COUNT={count}", "-o", "testbench", "testbench.v"]
    subprocess.run(build, cwd=tmp_path, check=True)
    subprocess.run(["vvp", "testbench"], cwd=tmp_path, check=True)
    tap = "layers.0.resid_mid"
    given = read_candidate(tmp_path / "dump", 3, "bfloat16")
    assert np.abs(given.values[tap] - golden().values[tap]).max() <= 1.01 * 2.0**-12
    assert compare(golden(), given, required=[tap]).summary == "passed"
    lines = (tmp_path / "dump" / f"{tap}.txt").read_text().splitlines()
    wrong = [f"{i}: {float(line.split()[1]) * 1.1}" for i, line in enumerate(lines)]
    (tmp_path / "dump" / f"{tap}.txt").write_text("\n".join(wrong))
    given = read_candidate(tmp_path / "dump", 3, "bfloat16")
    assert compare(golden(), given, required=[tap]).summary == "diverged"


@pytest.mark.oracle
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_hooks_of_transformers_see_a_llama_that_passes(tmp_path, attention):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(
        folder() / "model", attn_implementation=attention, dtype=torch.float32
    )
    space: dict = {}
    exec(recipe("transformers"), space)
    space["dump_taps"](model, folder() / "golden", tmp_path / "out.npz")
    args = ["check", str(folder() / "golden"), str(tmp_path / "out.npz"), "--names", "transformers"]
    result = CliRunner().invoke(main, ["golden", *args])
    assert result.exit_code == 0, result.output
    assert "39 of 61 taps given" in result.stdout and "Hugging Face's order" in result.stdout


def test_every_key_of_the_json_is_documented():
    table = DOCUMENT.partition("with these keys:")[2].partition("An infinite")[0]
    report = as_json(compare(golden(), folder() / "golden"))
    keys = [*report, *report["taps"][0], *report["logits"]]
    for key in keys:
        assert f"`{key}`" in table, key


def test_every_exit_code_is_documented():
    for row in ("| 0 | PASSED |", "| 1 | DIVERGED |", "| 2 | |", "| 3 | INCOMPLETE |"):
        assert row in DOCUMENT


@pytest.mark.oracle
def test_the_table_of_popular_gates_is_what_the_script_prints():
    pytest.importorskip("torch")
    shown = DOCUMENT.partition("<!-- popular gates -->\n")[2].partition("<!-- /popular gates -->")[
        0
    ]
    command = [sys.executable, "-m", "benchmarks.popular_gates", "--table"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.strip() == done.stdout.strip()
