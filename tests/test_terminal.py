"""What a terminal is shown: no stranger's escape sequences, no traceback for an encoding."""

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama.commands import main
from numpy_llama.commands.terminal.harmless import Harmless, harmless, spelled
from numpy_llama.golden import record
from numpy_llama.loading.weights import load_model
from tests.tiny import write_tiny_model

pty = pytest.importorskip("pty")

ROOT = Path(__file__).resolve().parent.parent
EVIL = "\x1b]0;PWNED\x07\x9b31m\u202e"  # sets the title, rings, colours, and turns the text around
FORBIDDEN = ("\x1b]0;", "\x07", "\x9b", "\u202e")


def at_terminal(*args: Any) -> str:
    """What a terminal is sent by `llama-np ARGS`; all three streams are one."""
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(master, 65536):
                seen.append(data)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    before = sys.stdin, sys.stdout, sys.stderr
    with open(slave, "r+b", buffering=0) as device:
        try:
            sys.stdin = io.TextIOWrapper(device, "utf-8")
            sys.stdout = sys.stderr = io.TextIOWrapper(device, "utf-8", write_through=True)
            main([str(arg) for arg in args], prog_name="llama-np", standalone_mode=True)
        except SystemExit:
            pass
        finally:
            streams = sys.stdin, sys.stdout
            sys.stdin, sys.stdout, sys.stderr = before
            for stream in streams:
                stream.detach()
    reader.join()
    os.close(master)
    return b"".join(seen).decode("utf-8", "replace")


def assert_harmless(shown: str) -> None:
    assert "PWNED" in shown  # else the name was not shown at all
    for each in FORBIDDEN:
        assert each not in shown, ascii(shown)
    assert "Traceback" not in shown


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of that name, with a model and a golden in it that quote it wherever they can."""
    place = tmp_path_factory.mktemp("evil") / EVIL
    write_tiny_model(place / "model")
    bundle = record(load_model(place / "model"), [1, 2, 3], 2, None, ("logits",), detect=False)
    bundle.save(place / "golden")
    values = load_file(place / "golden" / "golden.safetensors")
    save_file({f"{EVIL}{name}": array for name, array in values.items()}, place / "named")
    (place / "named").rename(place / "named.safetensors")
    np.save(place / "logits.npy", np.ones((4, 7), np.float32))
    about = json.loads((place / "golden" / "golden.json").read_text(encoding="utf-8"))
    about["source"] = EVIL
    about["environment"] = {name: EVIL for name in about["environment"]}
    shutil.copytree(place / "golden", place / "quoting")
    text = json.dumps(about)
    (place / "quoting" / "golden.json").write_text(text, encoding="utf-8")
    config = json.loads((place / "model" / "config.json").read_text(encoding="utf-8"))
    shutil.copytree(place / "model", place / "odd")
    (place / "odd" / "config.json").write_text(
        json.dumps(config | {"rope_scaling": {"rope_type": EVIL}}), encoding="utf-8"
    )
    shutil.copytree(place / "model", place / "bpe")
    (place / "bpe" / "tokenizer.model").unlink()
    (place / "bpe" / "tokenizer.json").write_text(
        json.dumps({"version": EVIL, "model": {"type": EVIL}}), encoding="utf-8"
    )
    return place


COMMANDS: dict[str, list[str]] = {
    "info": ["info", "{evil}/model"],
    "info of odd settings": ["info", "{evil}/odd"],
    "info of a tokenizer": ["info", "{evil}/bpe"],
    "info of no model": ["info", "{evil}"],
    "info in JSON": ["info", "{evil}/model", "--json"],
    "generate": ["generate", EVIL, "--echo", "-n", "1", "-m", "{evil}/model"],
    "generate with statistics": ["generate", "a", "-n", "1", "-m", "{evil}/none", "-v"],
    "generate from a file": ["generate", "-f", "{evil}/none", "-m", "{evil}/model"],
    "chat": ["chat", "-m", "{evil}/model", "--chat-template", "{evil}/none"],
    "logits": ["logits", "a", "-m", "{evil}/none"],
    "logits to a file": ["logits", "a", "-m", "{evil}/model", "-o", "{evil}/no/x.npy"],
    "score": ["score", "a", "-m", "{evil}/none"],
    "batch": ["batch", "{evil}/none", "-o", "{evil}/x", "-m", "{evil}/model"],
    "tokenize": ["tokenize", EVIL + "PWNED", "-m", "{evil}/bpe"],
    "convert": ["convert", "{evil}/model", "-o", "{evil}/model"],
    "convert odd settings": ["convert", "{evil}/odd", "-o", "{evil}/new"],
    "pull": ["pull", EVIL],
    "models": ["models", "--remove", EVIL],
    "golden show": ["golden", "show", "{evil}/quoting"],
    "golden show in JSON": ["golden", "show", "{evil}/quoting", "--json"],
    "golden check": ["golden", "check", "{evil}/golden", "{evil}/named.safetensors"],
    "golden check of nothing": ["golden", "check", "{evil}/golden", "{evil}/none"],
    "golden record": ["golden", "record", "-m", "{evil}/none", "--tokens", "1", "-o", "{evil}/g"],
    "golden export": ["golden", "export", "{evil}/none", "--to", "npy", "-o", "{evil}/x"],
    "golden diff": ["golden", "diff", "{evil}/named.safetensors", "{evil}/logits.npy"],
    "golden run": ["golden", "run", "--kit", "{evil}/none", "--command", "x {model}"],
    "golden header": ["golden", "header", "-o", "{evil}/none/llama_tap.h"],
    "trace": ["trace", EVIL, "-n", "1", "-m", "{evil}/model", "-o", "{evil}/none/x.html"],
    "learn start": ["learn", "start", "{evil}/model"],
    "a wrong option": ["generate", "a", "--dtype", EVIL],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_reaches_a_terminal_as_it_is(evil: Path, name: str) -> None:
    shown = at_terminal(*(word.replace("{evil}", str(evil)) for word in COMMANDS[name]))
    assert_harmless(shown)


def test_every_command_is_tried() -> None:
    tried = {words[0] for words in COMMANDS.values()}
    golden = {words[1] for words in COMMANDS.values() if words[0] == "golden"}
    assert tried == set(main.commands)
    assert golden >= {"show", "check", "record", "export", "diff", "run", "header"}


def test_an_error_is_one_line_whatever_a_name_has_in_it(tmp_path: Path) -> None:
    shown = at_terminal("info", tmp_path / "a\nError: all is well\rb")
    assert shown.count("\r\n") == 1 and "\\nError" in shown


# ------------------------------------------------------------------ encodings


def piped(encoding: str, *args: Any, errors: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "numpy_llama", *map(str, args)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == errors, done.stderr
    assert b"Traceback" not in done.stderr
    return (done.stderr if errors else done.stdout).decode(encoding)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "modèle"
    write_tiny_model(folder)
    return folder


TEXT = "é日🦙"
SHOWN = {"cp1252": "é\\u65e5\\ud83e\\udd99", "ascii": spelled(TEXT), "utf-8": TEXT}


@pytest.mark.parametrize("encoding", SHOWN)
def test_what_an_encoding_does_not_have_is_spelled_out(model: Path, encoding: str) -> None:
    shown = SHOWN[encoding]
    told = piped(encoding, "generate", TEXT, "--echo", "-n", 0, "-m", model)
    assert told == shown + "\n"
    assert piped(encoding, "info", TEXT, errors=1).startswith(f"Error: {shown}: no such")
    both = piped(encoding, "tokenize", TEXT, "-m", model, "--json")
    assert "".join(json.loads(both)["pieces"]).endswith(TEXT[0]) or json.loads(both)["ids"]
    assert json.loads(piped(encoding, "info", model, "--json"))["path"] == str(model)


def test_a_file_name_that_is_no_text_is_no_traceback(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff")
    write_tiny_model(tmp_path / name)
    assert "bad\\udcff" in piped("utf-8", "info", tmp_path / name)


def test_a_pipe_gets_the_text_as_it_is_and_a_terminal_does_not(model: Path) -> None:
    text = "\x1b[1mbold\x1b[0m"
    args = ("generate", text, "--echo", "-n", 0, "-m", model)
    assert piped("utf-8", *args) == text + "\n"
    assert harmless(text) in at_terminal(*args) and "\x1b" not in at_terminal(*args)


# ------------------------------------------------------------------ warnings


@pytest.fixture
def overflowing(tmp_path: Path) -> Iterator[Path]:
    """A model whose numbers leave float32 on the way."""
    write_tiny_model(tmp_path / "hot")
    path = tmp_path / "hot" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: array * np.float32(3e37) for name, array in tensors.items()}, path)
    yield tmp_path / "hot"


@pytest.mark.parametrize("more", [[], ["--temp", "1e-320"]])
def test_numpy_warns_nobody(overflowing: Path, model: Path, more: list[str]) -> None:
    which = model if more else overflowing
    done = subprocess.run(
        [sys.executable, "-m", "numpy_llama", "generate", "a", "-n", "2", "-m", which, *more],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert b"Warning" not in done.stderr
    assert (b"may mean nothing (norm.py)" in done.stderr) == (not more)
    assert done.stderr.count(b"\n") == (0 if more else 1)


# ------------------------------------------------------------------ the rule itself


@pytest.mark.parametrize("write", [harmless, lambda text: written(text)])
def test_only_what_a_terminal_obeys_is_spelled_out(write: Callable[[str], str]) -> None:
    assert write("a\tb\n日本🦙é") == "a\tb\n日本🦙é"
    assert write("\x1b\x07\x7f\x9b\r") == "\\u001b\\u0007\\u007f\\u009b\\u000d"
    for code in (*range(9), *range(11, 32), *range(127, 160)):
        assert json.loads(f'"{write(chr(code))}"') == chr(code)


def written(text: str) -> str:
    stream = io.StringIO()
    assert Harmless(stream).write(text) == len(text)
    return stream.getvalue()
