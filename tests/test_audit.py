"""The audit: its table is what its results say, and a right program goes through it and passes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from audit import page as pages
from audit import run as audit
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import write_kit

GLUE = sorted(audit.HERE.glob("run_*"))
FINDINGS = "# Title\n<!-- the table -->\nmiddle\n<!-- what was named -->\nend\n"

# Our own program in the place of an installed one: it takes what the glue takes.
OURS = """
import subprocess, sys
model, tokens, steps, out, *words = sys.argv[1:]
if "refuse" in words and "one-token" in model:
    sys.exit("it has no such thing")
command = [sys.executable, "-m", "numpy_llama", "logits", "-m", model, "--tokens", tokens, "--all"]
sys.exit(subprocess.run([*command, "-o", out + ".npy"]).returncode)
"""


def about(**more: Any) -> dict[str, Any]:
    """An entry of the list, for our own program."""
    ours = {"packages": ["ours==1.2"], "language": "Python", "glue": "run.py", "format": "hf"}
    return ours | more


def test_the_list_is_whole() -> None:
    every = audit.implementations()
    assert len(every) >= 8
    assert len({one["language"] for one in every.values()}) >= 3
    for name, one in every.items():
        assert pages.version(name, one), name
        assert one["format"] in ("hf", "gguf", "llama2c") and one["runs"], name
        for run in one["runs"]:
            assert run["settings"] and run["dtype"] in ("float32", "bfloat16", "float16"), name
    assert {one["glue"] for one in every.values()} == {path.name for path in GLUE}


@pytest.mark.parametrize("path", GLUE, ids=lambda path: path.stem)
def test_glue_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    compile(text, path.name, "exec")


def case(name: str, status: str, floors: float | None = None, detail: str = "") -> dict[str, Any]:
    return {"name": name, "status": status, "seconds": 1.5, "detail": detail, "floors": floors}


def test_the_page_of_given_results() -> None:
    cases = [case("a", "passed", 1.26), case("b", "diverged", 1234.0), case("c", "failed")]
    cases[2]["detail"] = "the command ended with exit code 1: it has no biases"
    cases += [case("d", "diverged", 20.0, "UNEXPLAINED at logits"), case("e", "choice", 30.0)]
    found = [{"one_of": [["norm-eps-1e-6"], ["other"]], "cases": ["b"]}]
    found += [{"one_of": [["kv-float16"]], "cases": ["e"]}]
    run = {"date": "2026-01-02", "settings": "plain", "dtype": "float32", "cases": cases}
    text = pages.page({"ours": about()}, {"ours": [run | {"found": found}]}, FINDINGS)
    row = "plain | float32 | 1 of 4 | 1 | 1,234 | 8 |"
    assert f"| [ours](../audit/run.py) 1.2 | Python | {row}" in text
    assert "`norm-eps-1e-6` or `other` in `b`." in text
    assert "`kv-float16` in `e`." in text
    assert "not explained: `d`, off by 20 floors." in text
    assert "- ours does not run `c`: it has no biases." in text
    assert text.startswith("# Title\n| implementation") and text.endswith("\nend\n")


def test_findings_without_the_marks_are_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        pages.page({}, {}, "# Title\n")


def test_the_document_is_what_the_results_give() -> None:
    results = json.loads(audit.RESULTS.read_text(encoding="utf-8"))
    every = audit.implementations()
    assert results.keys() == every.keys()
    for name, runs in results.items():
        told = [(run["settings"], run["dtype"]) for run in runs]
        assert told == [(run["settings"], run["dtype"]) for run in every[name]["runs"]], name
    findings = (audit.HERE / "findings.md").read_text(encoding="utf-8")
    written = (audit.ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert written == pages.page(every, results, findings)


def test_our_own_program_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = tmp_path / "kit"
    chosen = [one for one in CASES if one.name in ("gqa", "one-token")]
    write_kit(kit, chosen, detect=False)
    (tmp_path / "run.py").write_text(OURS, encoding="utf-8")
    monkeypatch.setattr(audit, "HERE", tmp_path)
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    run = {"settings": "plain", "dtype": "float32", "arguments": "refuse"}
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    came = audit.judge(kit, tmp_path / "env", about(), run)
    by_name = {one["name"]: one for one in came["cases"]}
    assert by_name["gqa"]["status"] == "passed" and by_name["gqa"]["floors"] < 5
    assert by_name["one-token"]["detail"].endswith("it has no such thing")
    assert came["found"] == []
