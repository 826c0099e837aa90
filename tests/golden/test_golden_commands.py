"""`llama-np golden` as its users meet it: what is printed where, and which exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama import load_tokenizer
from numpy_llama.commands import main
from numpy_llama.golden import load
from numpy_llama.golden.record.disk import signed
from tests.golden.dumps import dump, folder, golden, write_npy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_default_model(monkeypatch, tmp_path):
    monkeypatch.delenv("LLAMA_NP_MODEL", raising=False)
    monkeypatch.setattr("numpy_llama.store.find.models_dir", lambda: tmp_path / "models")


def run(*args, **kwargs):
    return CliRunner().invoke(main, ["golden", *map(str, args)], **kwargs)


def check(candidate, *args):
    return run("check", folder() / "golden", candidate, *args)


def ok(*args, **kwargs):
    result = run(*args, **kwargs)
    assert result.exit_code == 0, result.output
    return result


def test_a_recorded_prompt_is_a_golden(tmp_path):
    model = folder() / "model"
    args = ["record", "-m", model, "--decode", 2, "--chunk", 3, "--no-detect"]
    result = ok(*args, "-p", "once upon", "-o", tmp_path / "g")
    bundle = load(tmp_path / "g")
    tokens = load_tokenizer(model).encode("once upon")
    assert bundle.prompt == "once upon" and list(bundle.schedule.tokens[:-2]) == tokens
    assert bundle.schedule.steps[0] == 3 and bundle.schedule.steps[-2:] == (1, 1)
    assert len(bundle.values) == 61 and not bundle.detectability
    assert result.stdout == "" and "61 taps" in result.stderr
    ids = ",".join(map(str, tokens))
    ok(*args, "--tokens", ids, "-o", tmp_path / "h")
    assert np.array_equal(load(tmp_path / "h").values["logits"], bundle.values["logits"])


def test_that_a_model_does_not_fit_is_said_in_a_sentence(tmp_path):
    """Recording, and judging: no warning with the line of a program."""
    model, wrong = str(folder() / "model"), str(tmp_path / "wrong.npy")
    np.save(wrong, np.zeros((5, golden().config.vocab_size), np.float32))
    record = ["record", "-m", model, "--tokens", "1,2,3", "--decode", "2", "--no-detect"]
    for args in ([*record, "-o", str(tmp_path / "g")], ["check", str(tmp_path / "g"), wrong]):
        code = (
            "from numpy_llama.loading import memory; memory.free_memory = lambda: 1000\n"
            f"from numpy_llama.commands import main; main({['golden', *args]})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if "streaming" in line]
        assert len(said) == 1 and said[0].startswith("streaming the weights: as float32 they take")
        assert "Warning" not in done.stderr and (tmp_path / "g").is_dir(), done.stderr


def test_taps_are_chosen_by_pattern_and_faults_are_tried(tmp_path):
    ok("record", "-m", folder() / "model", "--tokens", "1,2,3", "--taps", "layers.*.q",
       "--taps", "embed", "-o", tmp_path / "g")  # fmt: skip
    bundle = load(tmp_path / "g")
    assert set(bundle.values) == {"embed", "logits", *(f"layers.{i}.q" for i in range(3))}
    assert bundle.detectability["relu"]["float32"].visible


def test_show_tells_what_a_golden_is():
    shown = ok("show", folder() / "golden").stdout
    bundle = golden()
    for words in (
        bundle.weights_sha256,
        "11 of the prompt (at once), 3 decode steps",
        "61, float64",
    ):
        assert words in shown
    blind = [
        f for f, detections in bundle.detectability.items() if not detections["bfloat16"].visible
    ]
    assert "norm-eps-outside-sqrt" in blind and all(fault in shown for fault in blind)
    found = json.loads(ok("show", folder() / "golden", "--json").stdout)
    assert found["schedule"]["tokens"] == list(bundle.schedule.tokens)


@pytest.mark.parametrize("to", ["npy", "npz", "f32", "json"])
def test_what_is_exported_passes_the_check(tmp_path, to):
    out = tmp_path / f"out.{to}"
    assert ok("export", folder() / "golden", "--to", to, "-o", out).stdout == ""
    result = check(out)
    assert result.exit_code == 0 and "61 of 61" in result.stdout


def test_hex_words_are_described(tmp_path):
    args = ("export", folder() / "golden", "--to", "hex", "--word", "Q3.12", "-o", tmp_path / "o")
    assert "rounded to nearest, ties to even" in ok(*args).stderr


def test_a_correct_candidate_exits_0(tmp_path):
    result = check(write_npy(tmp_path / "d", dump()))
    assert result.exit_code == 0 and result.stdout.startswith("PASSED") and result.stderr == ""


def test_a_wrong_one_exits_1_and_is_diagnosed(tmp_path):
    result = check(
        write_npy(tmp_path / "d", dump("gate-up-swapped")), "--html", tmp_path / "r.html"
    )
    assert result.exit_code == 1 and "DIAGNOSIS: gate-up-swapped" in result.stdout
    assert "gate-up-swapped" in (tmp_path / "r.html").read_text()
    assert "DIAGNOSIS" not in check(tmp_path / "d", "--no-diagnosis").stdout


def test_an_incomplete_one_exits_3(tmp_path):
    path = write_npy(tmp_path / "d", {"layers.0.q": dump()["layers.0.q"]})
    assert check(path).exit_code == 3
    assert check(path, "--require", "layers.0.q").exit_code == 0
    assert check(path, "--require", "layers.0.q", "--require", "embed").exit_code == 3


def test_json_is_one_object_on_stdout(tmp_path):
    result = check(write_npy(tmp_path / "d", dump("relu")), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == found["exit_code"] == 1
    assert found["diagnosis"]["suspects"][0]["faults"][0]["id"] == "relu"


def test_without_its_model_the_verdict_stands_alone(tmp_path):
    (tmp_path / "g").mkdir()
    for path in (folder() / "golden").iterdir():
        (tmp_path / "g" / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "g" / "golden.json").read_text())
    about["source"] = "gone"
    (tmp_path / "g" / "golden.json").write_text(json.dumps(signed(about)))
    path = write_npy(tmp_path / "d", dump("relu"))
    result = run("check", tmp_path / "g", path)
    assert result.exit_code == 1 and "DIAGNOSIS" not in result.stdout
    assert "without a diagnosis" in result.stdout and "gone" in result.stdout
    named = run("check", tmp_path / "g", path, "-m", folder() / "model")
    assert named.exit_code == 1 and "DIAGNOSIS: relu" in named.stdout


CANNOT_JUDGE = {
    "no golden": ["{tmp}", "{dump}"],
    "no candidate": ["{golden}", "{tmp}/nowhere"],
    "a broken candidate": ["{golden}", "{tmp}/broken.npy"],
    "another model": ["{golden}", "{wrong}", "-m", "{other}"],
    "an unknown table of names": ["{golden}", "{dump}", "--names", "ggml"],
    "an impossible requirement": ["{golden}", "{dump}", "--require", "layers.9.q"],
    "no place for the page": ["{golden}", "{dump}", "--html", "{tmp}/no/where.html"],
}


@pytest.mark.parametrize("case", CANNOT_JUDGE)
def test_what_cannot_be_judged_exits_2_in_one_sentence(tmp_path, case):
    from tests.tiny import write_tiny_model

    (tmp_path / "broken.npy").write_bytes(b"")
    write_tiny_model(tmp_path / "other", seed=1)
    places = {
        "tmp": tmp_path,
        "golden": folder() / "golden",
        "other": tmp_path / "other",
        "dump": write_npy(tmp_path / "d", {"logits": dump()["logits"]}),
        "wrong": write_npy(tmp_path / "w", {"logits": dump("relu")["logits"]}),
    }
    result = run("check", *(arg.format(**places) for arg in CANNOT_JUDGE[case]))
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")


EMPTY = {name: b"" for name in ("e.npy", "e.npz", "e.safetensors", "e.json", "e.txt", "e.bin")}
ODD = EMPTY | {
    "first.json": b'{"logits": {"first": []}}',
    "last.json": b'{"logits": {"last": [[]]}}',
    "list.json": b"[]",
    "lists.json": b'{"logits": [[]]}',
    "null.json": b'{"logits": null}',
    "ragged.json": b'{"logits": [[1, 2], [3]]}',
    "number.json": b"3",
    "deep.json": b"[" * 5000,
    "twice.json": b'{"logits": [1], "logits": [2]}',
    "nan.json": b'{"logits": [NaN]}',
    "parts.json": b'{"logits": {}}',
    "ids.json": b'{"tokens": "x"}',
    "bytes.txt": b"\0\xff",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ODD[name])
    result = check(tmp_path / name)
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


HUGE = {
    "past float32": np.full((14, 1), 1e300),
    "whose square is infinite": np.full((14, 1), 1e200),
    "infinite": np.full((14, 1), np.inf, np.float32),
    "not a number": np.full((14, 1), np.nan, np.float32),
    "float32's largest": np.full((14, 1), np.finfo(np.float32).max),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("what", HUGE)
def test_huge_values_are_judged_without_a_warning(tmp_path: Path, what: str, dtype: str) -> None:
    logits = dump()["logits"]
    values = np.where(np.arange(logits.size).reshape(logits.shape) % 5, logits, HUGE[what])
    np.save(tmp_path / "d.npy", values.astype("f8" if dtype == "float64" else values.dtype))
    result = check(tmp_path / "d.npy", "--dtype", dtype)
    assert result.exit_code == 1 and result.stdout.startswith("DIVERGED"), result.output
    assert result.stderr == ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "text",
    [
        '{"logits": {"sum": 1e154}}',
        '{"logits": {"mean": 1e308}}',
        '{"logits": {"first": [1e308, -1e308]}}',
        "0: 1e39\n",  # and so on
    ],
)
def test_huge_numbers_of_a_text_are_judged_without_a_warning(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("d.json" if text.startswith("{") else "d.txt")
    if path.suffix == ".txt":
        text = "".join(f"{i}{text[1:]}" for i in range(golden().config.vocab_size))
    path.write_text(text)
    result = check(path)
    assert result.exit_code == 1 and result.stderr == "", result.output


USAGE = {
    "a prompt and tokens": ["record", "-p", "a", "--tokens", "1", "-o", "x"],
    "nowhere to write": ["record", "-p", "a"],
    "an unknown format": ["export", "g", "--to", "pickle", "-o", "x"],
    "words of another format": ["export", "g", "--to", "npy", "--word", "bfloat16", "-o", "x"],
    "an unknown dtype": ["check", "a", "b", "--dtype", "int8"],
    "no candidate": ["check", "a"],
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_exit_2(case):
    result = run(*USAGE[case])
    assert result.exit_code == 2 and result.stdout == "" and "Usage:" in result.stderr


def test_other_errors_exit_1_in_one_sentence(tmp_path):
    for args in (["show", tmp_path], ["export", tmp_path, "--to", "npz", "-o", tmp_path / "x"]):
        result = run(*args)
        assert result.exit_code == 1 and result.stdout == "" and result.stderr.count("\n") == 1


def test_the_header_goes_to_stdout_a_file_or_a_directory(tmp_path):
    text = ok("header").stdout
    assert len(text.splitlines()) <= 60 and "llama_tap_open" in text
    ok("header", "-o", tmp_path)
    ok("header", "-o", tmp_path / "tap.h")
    assert (tmp_path / "llama_tap.h").read_text() == (tmp_path / "tap.h").read_text() == text


def test_help_does_not_import_numpy():
    code = (
        "import sys; from numpy_llama.commands import main\n"
        "try: main(['golden', 'check', '--help'])\n"
        "except SystemExit: assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
