"""llama-np batch, and golden record --batch: files in, files out, and what a kill leaves."""

import json

import pytest
from click.testing import CliRunner

from numpy_llama.batch import run as run_requests
from numpy_llama.commands import main
from numpy_llama.formats.storage import lock
from tests.tiny import write_tiny_model

PROMPTS = [{"prompt": text, "max_tokens": 4} for text in ("once upon", "a llama", "the sea", "to")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture
def prompts(tmp_path):
    return write_lines(tmp_path / "prompts.jsonl", PROMPTS)


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def llama_np(*args, **kwargs):
    return CliRunner().invoke(main, [str(arg) for arg in args], **kwargs)


def texts(path):
    return [(line["id"], line.get("text")) for line in lines_of(path)]


def expected(model):
    return [(a["id"], a["text"]) for a in run_requests(model, PROMPTS, jobs=1)]


def test_a_line_out_for_each_line_in(model, prompts, tmp_path):
    out = tmp_path / "out.jsonl"
    done = llama_np("batch", prompts, "-o", out, "-m", model, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert texts(out) == expected(model)
    assert done.stdout == "" and done.stderr == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "prompts.jsonl"]


def test_a_bad_line_has_its_error_and_the_rest_goes_on(model, tmp_path):
    path = tmp_path / "p.jsonl"
    good = json.dumps(PROMPTS[0])
    path.write_text(f'{good}\n{{"x": 1}}\n\nnonsense\n{good}\n', encoding="utf-8")
    done = llama_np("batch", path, "-o", tmp_path / "o", "-m", model, "--jobs", 1)
    assert done.exit_code == 1 and "2 of the answers are errors" in done.stderr
    answers = lines_of(tmp_path / "o")
    assert [a["id"] for a in answers] == [0, 1, 2, 3]
    assert answers[1]["error"].startswith("line 2: ") and "line 4: " in answers[2]["error"]
    assert ["error" in a for a in answers] == [False, True, True, False]


def stop_after(monkeypatch, n):
    """Ctrl-C comes after n answers; and the numbers of those that are asked for."""
    import numpy_llama.batch.dispatch as module

    asked, whole = [], module.answers_of

    def cut(setup, requests, *args):
        asked.append([number for number, _ in requests])
        for i, found in enumerate(whole(setup, requests, *args)):
            if i == n:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(module, "answers_of", cut)
    return asked


def test_what_a_killed_run_has_done_is_not_done_again(model, prompts, tmp_path, monkeypatch):
    out, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    command = ("batch", prompts, "-o", out, "-m", model, "--jobs", 1)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert llama_np(*command).exit_code == 130
    assert not out.exists() and len(lines_of(partial)) == 2
    kept = partial.read_bytes()
    partial.write_bytes(kept + kept[:40])  # a kill in the middle of a line
    asked = stop_after(monkeypatch, 99)
    assert llama_np(*command).exit_code == 0
    assert asked == [[2, 3]] and not partial.exists()
    assert texts(out) == expected(model)


@pytest.mark.parametrize("flags", [[], ["--unordered"]])
def test_a_bad_line_is_there_once_after_a_kill(model, tmp_path, monkeypatch, flags):
    path, out = tmp_path / "p.jsonl", tmp_path / "o.jsonl"
    lines = [json.dumps(PROMPTS[0]), "nonsense", json.dumps(PROMPTS[1]), json.dumps(PROMPTS[2])]
    path.write_text("\n".join(lines), encoding="utf-8")
    command = ("batch", path, "-o", out, "-m", model, "--jobs", 1, *flags)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        assert llama_np(*command).exit_code == 130
    assert llama_np(*command).exit_code == 1
    assert sorted(line["id"] for line in lines_of(out)) == [0, 1, 2, 3]


@pytest.mark.parametrize("line", ["[]", "3", '{"number": [], "key": "", "answer": {}}', "{}"])
def test_what_else_is_in_a_partial_file_is_left_out(model, prompts, tmp_path, line):
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.partial").write_text(line + "\n", encoding="utf-8")
    done = llama_np("batch", prompts, "-o", out, "-m", model, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert texts(out) == expected(model)


@pytest.mark.parametrize("change", ["prompt", "option", "task"])
def test_what_is_asked_otherwise_is_done_again(model, prompts, tmp_path, monkeypatch, change):
    out = tmp_path / "out.jsonl"
    command = ["batch", prompts, "-o", out, "-m", model, "--jobs", 1]
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        llama_np(*command)
    if change == "prompt":
        write_lines(prompts, [PROMPTS[0], {"prompt": "other"}, *PROMPTS[2:]])
    asked = stop_after(monkeypatch, 99)
    more = {"prompt": [], "option": ["--temp", "1"], "task": ["--task", "score"]}[change]
    assert llama_np(*command, *more).exit_code == 0
    assert asked == [[1, 3]] if change == "prompt" else [[0, 1, 2, 3]]


def test_unordered_keeps_them_as_they_came(model, prompts, tmp_path, monkeypatch):
    import numpy_llama.batch.dispatch as module

    whole = module.answers_of
    monkeypatch.setattr(module, "answers_of", lambda *a: reversed(list(whole(*a))))
    for flags, ids in ((["--unordered"], [3, 2, 1, 0]), ([], [0, 1, 2, 3])):
        out = tmp_path / f"out{len(flags)}"
        llama_np("batch", prompts, "-o", out, "-m", model, "--jobs", 1, *flags)
        assert [line["id"] for line in lines_of(out)] == ids


def test_to_standard_output_each_comes_in_its_turn(model, prompts, monkeypatch):
    import numpy_llama.batch.dispatch as module

    whole = module.answers_of
    monkeypatch.setattr(module, "answers_of", lambda *a: reversed(list(whole(*a))))
    for flags, ids in ((["--unordered"], [3, 2, 1, 0]), ([], [0, 1, 2, 3])):
        done = llama_np("batch", "-", "-o", "-", "-m", model, "--jobs", 1, *flags,
                        input=prompts.read_bytes())  # fmt: skip
        assert done.exit_code == 0
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids


@pytest.mark.parametrize(
    "flags", [["--dask", "a:1", "--jobs", "2"], ["--jobs", "2", "--together", "2"]]
)
def test_options_that_do_not_go_together_are_refused(model, prompts, tmp_path, flags):
    done = llama_np("batch", prompts, "-o", tmp_path / "o", "-m", model, *flags)
    assert done.exit_code == 2 and not (tmp_path / "o").exists()


# ------------------------------------------------------------------ goldens


def test_a_golden_a_line_is_to_the_bit_that_of_record(model, tmp_path):
    lines = [{"prompt": "once upon"}, {"tokens": [4, 5, 6], "id": "ids"}]
    prompts = write_lines(tmp_path / "p.jsonl", lines)
    how = ["-m", model, "--decode", 2, "--no-detect"]
    done = llama_np("golden", "record", "--batch", prompts, "-o", tmp_path / "all", *how)
    assert done.exit_code == 0, done.output
    two = llama_np(
        "golden", "record", "--batch", prompts, "-o", tmp_path / "two", "--jobs", 2, *how
    )
    assert two.exit_code == 0, two.output
    llama_np("golden", "record", "-p", "once upon", "-o", tmp_path / "all" / "one", *how)
    llama_np("golden", "record", "--tokens", "4,5,6", "-o", tmp_path / "all" / "other", *how)
    for line, alone in (("0000", "one"), ("ids", "other")):
        for name in ("golden.json", "golden.safetensors"):
            golden = (tmp_path / "all" / alone / name).read_bytes()
            assert (tmp_path / "all" / line / name).read_bytes() == golden
            assert (tmp_path / "two" / line / name).read_bytes() == golden


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a", "id": "../up"}', "names a directory"),
        ('{"prompt": "a", "id": ""}', "names a directory"),
        ('{"prompt": "a", "id": ".."}', "names a directory"),
        ('{"prompt": "a", "id": 3}', "names a directory"),
        ('{"prompt": "a", "decode": 3}', "no fields but"),
        ('{"prompt": "a", "tokens": [1]}', "needs prompt or tokens"),
        ('{"tokens": "a"}', "is no prompt"),
        ('{"prompt": [1]}', "is no prompt"),
        ("[", "is not JSON"),
    ],
)
def test_a_line_that_names_no_golden_is_refused_before_any_is_recorded(model, tmp_path, line, says):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "once"}\n' + line, encoding="utf-8")
    done = llama_np("golden", "record", "--batch", path, "-o", tmp_path / "all", "-m", model)
    assert done.exit_code == 1 and says in done.stderr and "line 2" in done.stderr
    assert not (tmp_path / "all").exists()


def test_two_goldens_of_one_name_are_refused(model, tmp_path):
    prompts = write_lines(tmp_path / "p.jsonl", [{"tokens": [3], "id": "a"}] * 2)
    done = llama_np("golden", "record", "--batch", prompts, "-o", tmp_path / "all", "-m", model)
    assert done.exit_code == 1 and "'a' is given twice" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [["-p", "a", "--batch", "F"], ["--jobs", "2"], ["--dask", "x"], ["-p", "a", "--tokens", "1"]],
)
def test_options_of_record_that_do_not_go_together(model, prompts, tmp_path, flags):
    flags = [prompts if flag == "F" else flag for flag in flags]
    done = llama_np("golden", "record", *flags, "-o", tmp_path / "all", "-m", model)
    assert done.exit_code == 2 and not (tmp_path / "all").exists()


def test_a_prompt_that_cannot_be_recorded_is_told_and_the_rest_goes_on(model, tmp_path):
    lines = [{"tokens": [10**6]}, {"tokens": [3, 4]}]
    prompts = write_lines(tmp_path / "p.jsonl", lines)
    done = llama_np(
        "golden", "record", "--batch", prompts, "-o", tmp_path / "all", "-m", model, "--no-detect"
    )
    assert done.exit_code == 1 and "0000: token id 1000000" in done.stderr
    assert (tmp_path / "all" / "0001" / "golden.json").is_file()


def test_two_runs_into_one_file_do_not_mix(model, prompts, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with lock.locked(tmp_path / "out.jsonl.batch"):  # as the other run has it
        result = llama_np("batch", prompts, "-m", model, "-o", out)
        assert result.exit_code == 1 and "is being written by another program" in result.stderr
    assert llama_np("batch", prompts, "-m", model, "-o", out).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "prompts.jsonl"]
