"""`llama-np generate`: where the prompt comes from, what is told meanwhile, how it ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from numpy_llama import KVCache
from numpy_llama.commands import main
from numpy_llama.commands.terminal import progress, streams
from numpy_llama.commands.terminal.harmless import Harmless, harmless
from tests.test_terminal import at_terminal
from tests.tiny import write_tiny_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


def run(*args: Any, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], **options)


def echoed(*args: Any, stdin: Any, model: Path) -> str:
    """The prompt that a process of its own continues, by its own account."""
    done = subprocess.run(
        [sys.executable, "-m", "numpy_llama", "generate", *args, "--echo", "-n", "0", "-m", model],
        stdin=stdin,
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().removesuffix("\n")


# ------------------------------------------------------------------ the prompt


def test_what_is_piped_in_follows_the_argument_after_a_blank_line(
    model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"once upon\na time\n")
    with file.open("rb") as stdin:
        assert echoed("a llama", stdin=stdin, model=model) == "a llama\n\nonce upon\na time"
    with file.open("rb") as stdin:
        shown = echoed("-f", str(file), stdin=stdin, model=model)
    assert shown == "once upon\na time"
    result = run("generate", "a", "--echo", "-n", 0, "-m", model, input="once")
    assert result.stdout == "a\n\nonce\n"


@pytest.mark.parametrize("stdin", ["empty", "null", "closed pipe"])
def test_nothing_piped_in_changes_nothing(model: Path, tmp_path: Path, stdin: str) -> None:
    (tmp_path / "empty").write_bytes(b"")
    reading, writing = os.pipe()
    os.close(writing)
    with open(tmp_path / "empty", "rb") as empty, open(reading, "rb") as pipe:
        given = {"empty": empty, "null": subprocess.DEVNULL, "closed pipe": pipe}[stdin]
        assert echoed("a llama", stdin=given, model=model) == "a llama"


def test_a_loop_that_reads_its_own_input_goes_round_as_often_as_it_has_lines(model: Path) -> None:
    command = f'"{sys.executable}" -m numpy_llama generate "$line" --echo -n 0 -m "{model}"'
    done = subprocess.run(
        ["sh", "-c", f"while read -r line; do {command} < /dev/null; done"],
        input=b"once\nupon\n",
        capture_output=True,
        cwd=ROOT,
    )
    assert done.stdout == b"once\nupon\n", done.stderr


def test_who_waits_for_standard_input_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    told = io.StringIO()
    monkeypatch.setattr(streams, "WAIT", 0.0)
    monkeypatch.setattr("sys.stderr", told)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            while "/dev/null" not in told.getvalue():  # for ever, if nothing is said
                pass
            return b"late"

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": Slow()})())
    assert streams.read_input() == "late"
    os.close(reading)
    os.close(writing)


# ------------------------------------------------------------------ before the work


def no_work(*args: Any, **options: Any) -> Any:
    raise AssertionError("the model was loaded before the output was tried")


@pytest.mark.parametrize("place", ["no/stats.json", "."])
def test_an_output_that_cannot_be_is_said_before_the_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("numpy_llama.loading.open.open_llama", no_work)
    for option in (["generate", "a", "--stats-json"], ["logits", "a", "-o"]):
        result = run(*option, tmp_path / place, "-m", model)
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
        assert str(tmp_path / place).removesuffix("/.") in result.stderr
        assert "partial" not in result.stderr and result.stdout == ""


# ------------------------------------------------------------------ how it ends


def stop_at(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """Ctrl-C once the cache holds so many tokens."""
    real = KVCache.check_room

    def check_room(self: KVCache, new: int) -> None:
        if self.length > length:
            raise KeyboardInterrupt
        real(self, new)

    monkeypatch.setattr(KVCache, "check_room", check_room)


def test_statistics_stand_on_a_line_of_their_own_after_ctrl_c(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 8)
    shown = at_terminal("generate", "once", "-m", model, "-n", 50, "--ignore-eos", "-v", "--echo")
    lines = [line for line in shown.split("\r\n") if line]
    assert lines[-1].startswith("load ") and lines[-1].endswith("finish interrupted")
    assert "once" in shown


def test_ctrl_c_while_the_prompt_is_read_has_statistics_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, -1)
    target = tmp_path / "stats.json"
    result = run("generate", "once", "-m", model, "--stats-json", target)
    assert result.exit_code == 130
    about = json.loads(target.read_text(encoding="utf-8"))
    assert about["finish_reason"] is None and about["generated_tokens"] == 0


# ------------------------------------------------------------------ progress


def test_loading_and_a_long_prompt_show_how_far_they_are(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SOON", 0.0)
    args = ("generate", "once upon", "-m", model, "-n", 3, "--no-stream")
    shown = at_terminal(*args)
    for label in ("loading the model", "reading the prompt"):
        assert f"\r{label}: 0%\r{label}: 33%\r{label}: 67%\r{' ' * len(label)}     \r" in shown
    # What passes is gone, and the text is what a pipe gets.
    assert shown.endswith(" \r" + harmless(run(*args).stdout).replace("\n", "\r\n"))
    assert run(*args).stderr == ""


def test_what_is_quick_shows_nothing(model: Path) -> None:
    assert "%" not in at_terminal("generate", "once upon", "-m", model, "-n", 3)


def test_a_stream_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    with progress.Passing("x") as told:
        told(1, 2)
    assert not progress.is_seen()
    assert isinstance(Harmless(io.StringIO()).stream, io.StringIO)
