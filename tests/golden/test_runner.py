"""`golden run`: right programs pass, wrong ones are named, and broken ones get a sentence."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.golden.compare.verdict import Diagnosis, Report, Suspect, TapVerdict
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.junit import junit
from numpy_llama.golden.kit.kit import write_kit
from numpy_llama.golden.kit.process import execute, filled, split_command
from numpy_llama.golden.kit.run import Result as Judged
from numpy_llama.golden.kit.run import find_output, kind_of_file, sentence
from numpy_llama.golden.kit.score import exit_code, mistakes, score_line

SOME = ("mha", "tiny-norms", "rope-dynamic", "one-token")
PYTHON = shlex.quote(sys.executable)
LOGITS = f"{PYTHON} -m numpy_llama logits -m {{model}} --tokens {{tokens}} -c 4352 --all -o {{out}}"

# The logits of a copy of the model whose config.json says something else: a program that reads one
# number wrongly. It knows nothing of the catalogue.
MISREADING = """
import json, shutil, subprocess, sys, tempfile
from pathlib import Path
change, model, tokens, out = sys.argv[1:]
key, value = change.split("=")
with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder) / "model"
    shutil.copytree(model, copy)
    config = json.loads((copy / "config.json").read_text())
    config[key] = json.loads(value)
    (copy / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "numpy_llama", "logits", "-m", copy, "--tokens", tokens]
    sys.exit(subprocess.run([*command, "-c", "4352", "--all", "-o", out]).returncode)
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("some") / "kit"
    write_kit(place, [case for case in CASES if case.name in SOME], detect=False)
    return place


def golden_run(kit: Path, command: str, *options: str | Path) -> Result:
    arguments = ["golden", "run", "--kit", str(kit), "--command", command, *map(str, options)]
    return CliRunner().invoke(main, arguments)


def script(tmp_path: Path, text: str) -> str:
    """A Python program, as the beginning of a command."""
    path = tmp_path / "program.py"
    path.write_text(text)
    return f"{PYTHON} {shlex.quote(str(path))}"


# — programs that do their work —


@pytest.mark.parametrize("format_, skipped", [("any", 0), ("gguf", 1), ("llama2c", 2)])
def test_our_own_logits_pass(kit: Path, tmp_path: Path, format_: str, skipped: int) -> None:
    report = tmp_path / "junit.xml"
    result = golden_run(kit, LOGITS, "--format", format_, "--junit", report)
    assert result.exit_code == 0, result.output
    assert f"{4 - skipped} of {4 - skipped} passed" in result.stdout
    suite = ET.parse(report).getroot()
    assert (suite.get("tests"), suite.get("skipped")) == ("4", str(skipped))
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    assert len(suite.findall("testcase")) == 4
    assert len(suite.findall("testcase/skipped")) == skipped


@pytest.mark.parametrize(
    "change, fault",
    [
        ("rope_theta=500000", "rope-theta-5e5"),
        ("rope_scaling=null", "rope-scaling-missing"),
        ("rms_norm_eps=1e-5", "norm-eps-1e-5"),
    ],
)
def test_a_number_that_was_misread_is_named(
    kit: Path, tmp_path: Path, change: str, fault: str
) -> None:
    command = f"{script(tmp_path, MISREADING)} {change} {{model}} {{tokens}} {{out}}"
    report = tmp_path / "junit.xml"
    result = golden_run(kit, command, "--json", "--junit", report)
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    (mistake,) = found["mistakes"]
    assert mistake["one_of"] == [[fault]]
    diverged = [case["name"] for case in found["cases"] if case["status"] == "diverged"]
    assert mistake["cases"] == diverged and found["score"]["diverged"] == len(diverged) > 0
    assert found["score"]["passed"] == 4 - len(diverged)
    suite = ET.parse(report).getroot()
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure")) == len(diverged)
    failure = suite.find("testcase/failure")
    assert failure is not None and fault in failure.get("message", "")
    assert failure.text is not None and "fix" in failure.text


def test_the_text_names_the_mistake_and_its_mend(kit: Path, tmp_path: Path) -> None:
    command = f"{script(tmp_path, MISREADING)} rms_norm_eps=1e-5 {{model}} {{tokens}} {{out}}"
    result = golden_run(kit, command, "--only", "[to]*")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["tiny-norms", "diverged"]
    assert lines[1].split()[:2] == ["one-token", "passed"]
    assert "1 of 2 passed, 1 diverged" in lines
    assert "MISTAKE in tiny-norms" in lines
    assert any("fix" in line and "rms_norm_eps" in line for line in lines)
    quiet = golden_run(kit, command, "--only", "tiny*", "--no-diagnosis")
    assert quiet.exit_code == 1 and "MISTAKE" not in quiet.output


def test_the_steps_and_the_file_of_tokens_are_filled_in(kit: Path, tmp_path: Path) -> None:
    text = "import sys; print('|'.join(sys.argv[1:])); sys.exit(1)"
    command = f"{script(tmp_path, text)} {{name}} {{steps}} {{tokens_file}} a={{tokens}},{{}}"
    result = golden_run(kit, command + " {out}.npy", "--only", "one*")
    path = kit / "one-token" / "tokens.txt"
    name, steps, tokens_file, tokens, out = (
        result.stdout.split("code 1: ")[1].split("\n")[0].split("|")
    )
    assert (name, steps) == ("one-token", "1,1,1,1,1,1,1,1,1")
    assert tokens_file == str(path.resolve())
    assert tokens == f"a={','.join(path.read_text().split())},{{}}"
    assert out.endswith("out.npy")


def test_outputs_are_kept_where_asked(kit: Path, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    assert golden_run(kit, LOGITS, "--only", "mha", "--keep", place).exit_code == 0
    assert [str(p.relative_to(place)) for p in place.rglob("*.npy")] == ["mha/out.npy"]
    again = golden_run(kit, LOGITS, "--only", "mha", "--keep", place)
    assert again.exit_code == 2 and "is there already" in again.output


# — programs that do not —

BROKEN = {
    "import sys; print('no such layer', file=sys.stderr); sys.exit(4)": "exit code 4: no such lay",
    r"import sys; sys.exit('\x1b[2Jgone')": "exit code 1: ?[2Jgone",
    "import os; os.kill(os.getpid(), 11)": "by signal 11",
    "pass": "wrote nothing",
    "import sys; open(sys.argv[1] + '.npy', 'wb').write(b'x' * 9)": "out.npy",
    "import sys; open(sys.argv[1], 'wb').write(b'x' * 9)": "no float32 values",
    "import sys; open(sys.argv[1], 'wb')": "could not be judged: ",
    "import sys; open(sys.argv[1] + '.npz', 'wb')": "out.npz: is empty",
    "import sys, numpy; numpy.save(sys.argv[1], numpy.zeros((0, 53)))": "holds no values",
    "import sys; open(sys.argv[1], 'w').write('{\"logits\": [')": "is not JSON",
    "import sys; open(sys.argv[1], 'w').write('{\"logits\": {\"first\": []}}')": "holds no values",
    "import sys; [open(sys.argv[1] + x, 'w') for x in ('.npy', '.bin')]": "left 2 files",
    "import os, shutil, sys; shutil.rmtree(os.path.dirname(sys.argv[1]))": ": No such file or dir",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_program_that_fails_gets_a_sentence(kit: Path, tmp_path: Path, text: str) -> None:
    command = f"{script(tmp_path, text)} {{out}}"
    result = golden_run(kit, command, "--only", "[mo]*", "--junit", tmp_path / "junit.xml")
    assert result.exit_code == 2, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 4 and lines[3] == "0 of 2 passed, 2 failed"
    for line in lines[:2]:
        assert "failed" in line and BROKEN[text] in line and "Errno" not in line
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("errors"), len(suite.findall("testcase/error"))) == ("2", 2)


def test_a_program_that_hangs_is_ended_with_its_children(kit: Path, tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    began = time.monotonic()
    command = f"{script(tmp_path, text)} {{out}}"
    result = golden_run(kit, command, "--only", "mha", "--timeout", "2")
    assert result.exit_code == 2 and time.monotonic() - began < 30
    assert "did not end within 2 s" in result.stdout
    child = int(result.stdout.split("within 2 s: ")[1].split()[0])
    for _ in range(50):  # a killed orphan is gone once init has noticed
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True)
        if not state.stdout.strip() or state.stdout.strip().startswith(b"Z"):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child of the program that hung was left behind")


def test_a_program_that_prints_without_end_is_not_kept(tmp_path: Path) -> None:
    text = "import sys\nfor i in range(200000): print('x' * 50)\nprint('the last')"
    ended = execute([sys.executable, "-c", text], 60)
    assert ended.code == 0 and ended.last_line == "the last" and len(ended.printed) < 1 << 15


def test_a_part_of_what_is_needed_is_incomplete(kit: Path, tmp_path: Path) -> None:
    """The golden's own embeddings, and nothing after them."""
    text = (
        "import shutil, sys; from pathlib import Path; import numpy as np\n"
        "from numpy_llama.golden import load\n"
        "Path(sys.argv[2]).mkdir()\n"
        "golden = load(Path(sys.argv[1]).parent / 'golden')\n"
        "np.save(sys.argv[2] + '/embed.npy', golden.values['embed'])\n"
    )
    result = golden_run(kit, f"{script(tmp_path, text)} {{model}} {{out}}", "--only", "mha")
    assert result.exit_code == 3 and "there is no logits" in result.stdout


@pytest.mark.parametrize(
    "command, detail",
    [
        ("no-such-program-at-all {out}", "cannot be started"),
        ("echo {outt} {out}", "{outt}"),
        ("echo {model}", "put {out} into it"),
        ("echo 'x {out}", "cannot be cut"),
        ("", "is empty"),
        ("'' {out}", "is empty"),
    ],
)
def test_a_command_that_cannot_work_is_a_usage_error(kit: Path, command: str, detail: str) -> None:
    result = golden_run(kit, command)
    assert result.exit_code == 2 and detail in result.output
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "option, value, detail",
    [("--timeout", "nan", "nan s"), ("--timeout", "0", "range"), ("--names", "none", "is no file")],
)
def test_options_that_cannot_be_are_told_before_anything_is_run(
    kit: Path, tmp_path: Path, option: str, value: str, detail: str
) -> None:
    done = tmp_path / "done"
    result = golden_run(kit, f"touch {shlex.quote(str(done))} {{out}}", option, value)
    assert result.exit_code == 2 and detail in result.stderr and not done.exists()


def test_no_case_is_no_success(kit: Path) -> None:
    assert golden_run(kit, LOGITS, "--only", "nothing*").exit_code == 2
    result = golden_run(kit, LOGITS, "--only", "rope-dynamic", "--format", "gguf")
    assert result.exit_code == 2 and "gguf" in result.output


def test_no_shell_sees_the_command(kit: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    golden_run(kit, f"echo {{out}} ; touch {target} > {target}", "--only", "mha")
    assert not target.exists()


# — the parts —


def test_what_is_filled_in_is_not_looked_into() -> None:
    words = split_command("run '{a} x' {b}", ("a", "b"))
    assert filled(words, {"a": "{b}", "b": "$(id) {a}"}) == ["run", "{b} x", "$(id) {a}"]


@pytest.mark.parametrize(
    "head, suffix",
    [
        (b"\x93NUMPY\x01\x00", ".npy"),
        (b"PK\x03\x04....", ".npz"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", ".safetensors"),
        (b' {"logits"', ".json"),
        (b"0: 1.5\n", ".txt"),
        (b"\x00\x00\x80\x3f\x00\x00\x80\x3f", ".bin"),
    ],
)
def test_a_file_without_a_suffix_is_told_by_its_content(
    tmp_path: Path, head: bytes, suffix: str
) -> None:
    (tmp_path / "out").write_bytes(head)
    assert kind_of_file(tmp_path / "out") == suffix
    assert find_output(tmp_path) == tmp_path / f"out{suffix}"


def judged(name: str, *suspects: tuple[str, ...], status: str = "diverged") -> Judged:
    """A case that any of the suspects may explain."""
    outcome = "named" if len(suspects) == 1 else "set" if suspects else "unexplained"
    found = Diagnosis(outcome, tuple(Suspect(faults, 1.0, "logits") for faults in suspects))  # type: ignore[arg-type]
    return Judged(name, status, 1.0, "", Report("float32", (), diagnosis=found))  # type: ignore[arg-type]


def explained(results: list[Judged]) -> list[tuple[list[tuple[str, ...]], list[str]]]:
    return [([s.faults for s in suspects], names) for suspects, names in mistakes(results)]


def test_what_one_case_leaves_open_another_decides() -> None:
    relu, gelu, post = ("relu",), ("gelu-erf",), ("norm-post",)
    results = [judged("a", relu, gelu), judged("b", relu), judged("c"), judged("d", post)]
    assert explained(results) == [([relu], ["a", "b"]), ([post], ["d"])]
    assert explained([judged("a", relu, gelu), judged("b", gelu, relu)]) == [
        ([relu, gelu], ["a", "b"])
    ]


def test_of_several_cases_the_weakest_evidence_is_told() -> None:
    results = [judged("a", ("relu",)), judged("b", ("relu",)), judged("c", ("relu",))]
    for result, residual in zip(results, (1.0, 7.0, 2.0), strict=True):
        assert result.report and result.report.diagnosis
        weaker = (Suspect(("relu",), residual, "logits"),)
        object.__setattr__(result.report.diagnosis, "suspects", weaker)
    (([suspect], names),) = mistakes(results)
    assert suspect.residual == 7.0 and names == ["a", "b", "c"]


def test_the_score_counts_what_was_run() -> None:
    passed, skipped = Judged("a", "passed"), Judged("b", "skipped")
    failed, diverged = Judged("c", "failed"), Judged("d", "diverged")
    assert score_line([passed, skipped, failed, diverged]) == (
        "1 of 3 passed, 1 diverged, 1 failed, 1 skipped"
    )
    assert exit_code([passed, skipped]) == 0
    assert exit_code([passed, failed]) == 2
    assert exit_code([failed, diverged]) == 1
    assert exit_code([skipped]) == 3


def test_junit_holds_any_text() -> None:
    detail = "\x1b[31mred\x00 <&> \ud800 \ufffe"
    case = ET.fromstring(junit([Judged("a", "failed", 1.0, detail)])).find("testcase/error")
    assert (
        case is not None and "red" in case.get("message", "") and "<&>" in case.get("message", "")
    )


def test_a_command_is_cut_as_a_shell_would() -> None:
    assert split_command("a 'b c' \"{out}\"", ("out",)) == ["a", "b c", "{out}"]
    with pytest.raises(InputError, match="typo"):
        split_command("a {typo}", ("out",))


def test_a_case_that_is_not_passed_tells_its_worst_floors() -> None:
    wrong = TapVerdict("layers.0.q", "divergent", 30.0, 1.0)
    worse = TapVerdict("logits", "divergent", 2e6, 1.0)
    report = Report("float32", (wrong, worse), diagnosis=Diagnosis("unexplained", tried=70))
    said = "the worst is off by 2.0e+06 floors, at logits"
    assert sentence(report).startswith("UNEXPLAINED: none of 70")
    assert sentence(report).endswith(said)
    suspects = (Suspect(("relu",), 1.0, "logits"), Suspect(("gelu",), 1.0, "logits"))
    named = dataclasses.replace(report, diagnosis=Diagnosis("set", suspects))
    assert sentence(named) == f"relu or gelu; {said}"
    unsought = dataclasses.replace(report, diagnosis=None)
    assert sentence(unsought) == f"{said}; no mistake was looked for"
    shape = Report("float32", (TapVerdict("logits", "wrong shape"),))
    assert sentence(shape) == "logits: wrong shape; no mistake was looked for"
