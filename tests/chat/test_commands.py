"""`llama-np chat` and `generate --chat`, piped and at a terminal."""

import codecs
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from numpy_llama import load_model, load_tokenizer
from numpy_llama.chat import encode_chat, message, open_template
from numpy_llama.commands import main
from numpy_llama.generation import generate
from tests.chat.tiny_chat import assistant, system, user
from tests.tiny import write_tiny_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


def run(*args, **kwargs):
    return CliRunner().invoke(main, [str(arg) for arg in args], **kwargs)


def chat(model, text, *args):
    return run(
        "chat", "-m", model, "--chat-template", "zephyr", "-c", 400, "-n", 4, *args, input=text
    )


def answer_to(model, messages, tokens=4):
    """What the model continues a conversation with, through the library."""
    tokenizer, llama = load_tokenizer(model), load_model(model)
    with open_template(tokenizer, "zephyr") as template:
        ids = encode_chat(tokenizer, template, messages)
    cache = llama.new_cache(400)
    found = list(generate(llama, ids, tokens, stop_ids=tokenizer.eos_ids, cache=cache))
    return tokenizer.decode([*ids, *found])[len(tokenizer.decode(ids)) :]


# ------------------------------------------------------------------ generate --chat


def test_generate_chat_answers_once(model):
    args = ("-m", model, "--chat", "--chat-template", "zephyr", "-n", 4, "-c", 400)
    result = run("generate", "once upon", *args)
    assert result.exit_code == 0, result.output
    assert result.stdout == answer_to(model, [user("once upon")]) + "\n"
    told = run("generate", "once upon", "-s", "a llama", *args)
    assert told.stdout == answer_to(model, [system("a llama"), user("once upon")]) + "\n"
    assert told.stdout != result.stdout


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["-s", "x"], "are for --chat"),
        (["--chat-template", "zephyr"], "are for --chat"),
        (["--chat", "--special"], "always text"),
    ],
)
def test_options_that_do_not_go_together(model, args, word):
    result = run("generate", "x", "-m", model, *args)
    assert result.exit_code == 2 and word in result.stderr


@pytest.mark.parametrize("command", [["chat"], ["generate", "x", "--chat"]])
def test_a_model_without_a_template_is_refused_with_the_list(model, command):
    result = run(*command, "-m", model)
    assert result.exit_code == 1
    assert "llama2, llama3, chatml, zephyr" in result.stderr and result.stdout == ""


# ------------------------------------------------------------------ chat from a pipe


def test_each_line_is_a_turn_and_only_answers_go_to_stdout(model, tmp_path):
    file = tmp_path / "talk.json"
    result = chat(model, f"once upon\n\n  a time\r\n/save {file}\n", "-s", "be kind")
    assert result.exit_code == 0, result.output
    talk = json.loads(file.read_text())["messages"]
    assert talk[::2] == [system("be kind"), assistant(talk[2]["content"]), talk[4]]
    assert talk[1::2] == [user("once upon"), user("  a time")]
    assert talk[2]["content"] == answer_to(model, talk[:2])
    assert talk[4]["content"] == answer_to(model, talk[:4])
    assert result.stdout == "".join(each["content"].lstrip() + "\n" for each in talk[2::2])
    assert f"saved to {file}" in result.stderr


def test_reset_system_and_exit(model, tmp_path):
    file = tmp_path / "talk.json"
    lines = ["once", "/reset", "/system be brief", "upon", f"/save {file}", "/exit", "never"]
    result = chat(model, "\n".join(lines))
    assert result.exit_code == 0, result.output
    talk = json.loads(file.read_text())["messages"]
    assert talk[:-1] == [system("be brief"), user("upon")]
    assert talk[-1]["content"] == answer_to(model, talk[:-1])


def test_help_lists_every_command_on_stderr(model):
    result = chat(model, "/help\n")
    assert result.stdout == ""
    for name in ("/reset", "/system", "/save", "/load", "/regenerate", "/clear", "/help", "/exit"):
        assert name in result.stderr


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('"""once\n', "a message that"),
        (b"\xff\n", "line 1 of standard input is not UTF-8"),
        ("once " * 500 + "\n", "the context only 400"),
    ],
)
def test_errors_end_a_piped_chat_in_one_sentence(model, line, word):
    result = chat(model, line)
    assert result.exit_code == 1 and word in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("/sing", "there is no command /sing"),
        ("/rest", "did you mean /reset"),
        ("/save", "needs the name"),
        ("/load", "needs the name"),
        ("/load nowhere.json", "nowhere.json"),
        ("/regenerate", "no answer yet"),
    ],
)
def test_a_wrong_command_is_told_and_the_next_line_answered(model, line, word):
    result = chat(model, f"{line}\nonce\n")
    assert result.exit_code == 1 and word in result.stderr
    assert result.stderr.count("\n") == 2 and "Traceback" not in result.stderr
    assert "the answer was cut" in result.stderr
    assert result.stdout == answer_to(model, [user("once")]).lstrip() + "\n"


def test_three_quotes_begin_and_end_a_message_of_several_lines(model, tmp_path):
    file = tmp_path / "talk.json"
    text = '"""once upon\n\n/exit is a word\n"""\n"""a time"""\n"""/help"""\n'
    result = chat(model, f"{text}/save {file}\n", "-c", 800)
    assert result.exit_code == 0, result.output
    asked = [each["content"] for each in json.loads(file.read_text())["messages"][::2]]
    assert asked == ["once upon\n\n/exit is a word", "a time", "/help"]


def test_load_goes_on_where_save_ended(model, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    chat(model, f"once\n/save {one}\nupon\n/save {two}\n", "-s", "be kind")
    result = chat(model, f"/load {one}\nupon\n/save {tmp_path / 'three.json'}\n")
    assert result.exit_code == 0, result.output
    whole = json.loads(two.read_text())["messages"]
    assert json.loads((tmp_path / "three.json").read_text())["messages"] == whole
    assert result.stdout == whole[-1]["content"].lstrip() + "\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "at least one message"),
        ("{}", "no field messages"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "in turn"),
        ('{"messages": [{"role": "tool", "content": "a"}]}', "role 'tool'"),
        ('{"messages": 1}', "at least one"),
        ("no JSON", "not JSON"),
    ],
)
def test_what_was_not_saved_is_not_loaded(model, tmp_path, text, word):
    (tmp_path / "x.json").write_text(text)
    result = chat(model, f"/load {tmp_path / 'x.json'}\nonce\n")
    assert result.exit_code == 1 and word in result.stderr
    assert result.stdout == answer_to(model, [user("once")]).lstrip() + "\n"


def test_regenerate_answers_the_last_message_again(model, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    lines = f"once\nupon\n/save {one}\n/regenerate\n/save {two}\n"
    result = chat(model, lines, "--temp", 2, "--seed", 1, "-n", 8)
    assert result.exit_code == 0, result.output
    before, after = (json.loads(file.read_text())["messages"] for file in (one, two))
    assert before[:3] == after[:3] and before[3] != after[3] and len(after) == 4
    greedy = chat(model, "once\n/regenerate\n")
    first, again = greedy.stdout.splitlines()
    assert first == again and "--temp" in greedy.stderr


def test_clear_is_reset(model, tmp_path):
    file = tmp_path / "talk.json"
    chat(model, f"once\n/clear\nupon\n/save {file}\n")
    assert json.loads(file.read_text())["messages"][0] == user("upon")


def test_save_does_not_overwrite_what_it_did_not_write(model, tmp_path):
    mine, other = tmp_path / "mine.json", tmp_path / "other.json"
    other.write_text("precious")
    result = chat(model, f"once\n/save {mine}\nupon\n/save {mine}\n/save {other}\n")
    assert result.exit_code == 1 and f"{other} is there already" in result.stderr
    assert len(json.loads(mine.read_text())["messages"]) == 4
    assert other.read_text() == "precious"
    assert {each.name for each in tmp_path.iterdir()} == {"mine.json", "other.json"}


def test_verbose_says_what_a_turn_cost(model):
    result = chat(model, "once\nupon\n", "-v")
    costs = [line for line in result.stderr.splitlines() if "tokens read" in line]
    assert len(costs) == 2
    assert ", 0 in the cache already, 4 answered" in costs[0]
    assert ", 0 in the cache already" not in costs[1]


# ------------------------------------------------------------------ at a terminal

pty = pytest.importorskip("pty")


def heed_ctrl_c() -> None:
    """A shell lets what it runs in the background, such as these tests, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """`llama-np chat` with a terminal as stdin, stdout and stderr; `seen` is what it showed."""

    def __init__(self, model: Path, *args: str, term: str = "dumb"):
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "numpy_llama", "chat", "-m", str(model)]
        self.process = subprocess.Popen(
            [*command, "--chat-template", "zephyr", *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=os.environ | {"TERM": term, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.seen = ""
        # A read may end within a letter.
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def read(self) -> None:
        try:
            self.seen += self.decoder.decode(os.read(self.master, 65536))
        except (BlockingIOError, OSError):
            time.sleep(0.02)

    def wait_for(self, text: str) -> None:
        """Until the terminal shows `text`; what it showed up to its end is then gone."""
        end = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            self.read()
        self.seen = self.seen.split(text, 1)[1]

    def wait_for_more(self, characters: int) -> None:
        end = time.monotonic() + 60
        while len(self.seen) < characters:
            assert time.monotonic() < end
            self.read()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def code(self) -> int:
        """The exit status, once it has ended."""
        end = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end, self.seen
            self.read()
        self.read()
        return self.process.returncode


def test_ctrl_c_stops_the_answer_and_not_the_program(model):
    with Terminal(model, "-c", "30000", "-n", "-1") as terminal:
        terminal.wait_for("> ")
        terminal.type("once upon\n")
        terminal.wait_for("once upon\r\n")
        terminal.wait_for_more(50)  # in the middle of an answer that would go on for minutes
        terminal.interrupt()
        terminal.wait_for("(stopped; Ctrl-C again leaves)")
        terminal.wait_for("> ")
        terminal.type("/sing\n")
        terminal.wait_for("Error: there is no command /sing")
        terminal.wait_for("> ")
        terminal.interrupt()
        terminal.wait_for("(Ctrl-C again, Ctrl-D or /exit leaves)")
        terminal.wait_for("> ")
        terminal.type("half a line")
        terminal.wait_for("half a line")
        terminal.interrupt()
        terminal.wait_for("(Ctrl-C again, Ctrl-D or /exit leaves)")
        terminal.wait_for("> ")
        terminal.interrupt()
        assert terminal.code() == 130
        assert "Traceback" not in terminal.seen


def test_ctrl_d_leaves_quietly(model):
    with Terminal(model) as terminal:
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.code() == 0
        assert terminal.seen.strip() == ""


def test_what_is_pasted_is_one_message(model, tmp_path):
    """A terminal marks a paste, when it is asked to: readline asks."""
    pytest.importorskip("readline")
    file = tmp_path / "talk.json"
    with Terminal(model, "-c", "800", "-n", "2", term="xterm") as terminal:
        terminal.wait_for("\x1b[?2004h")  # the terminal is asked to
        terminal.wait_for("> ")
        terminal.type("\x1b[200~once upon\n/a time\n\nthere was\x1b[201~")
        terminal.wait_for("there was")
        terminal.type("\r")
        terminal.wait_for("> ")
        terminal.type(f"/save {file}\r")
        terminal.wait_for("saved to")
        terminal.type("\x04")
        assert terminal.code() == 0
    messages = json.loads(file.read_text())["messages"]
    assert messages[0] == user("once upon\n/a time\n\nthere was") and len(messages) == 2


def test_several_lines_are_typed_between_marks(model, tmp_path):
    file = tmp_path / "talk.json"
    with Terminal(model, "-c", "800", "-n", "2") as terminal:
        terminal.wait_for("> ")
        terminal.type('"""once\n')
        terminal.wait_for("… ")
        terminal.type('upon"""\n')
        terminal.wait_for("> ")
        terminal.type(f"/save {file}\n")
        terminal.wait_for("saved to")
    assert json.loads(file.read_text())["messages"][0] == user("once\nupon")


def test_an_error_costs_a_terminal_one_line(model, tmp_path):
    file = tmp_path / "talk.json"
    with Terminal(model, "-c", "100", "-n", "3") as terminal:
        terminal.wait_for("> ")
        terminal.type("once " * 60 + "\n")
        terminal.wait_for("Error: the message and the system message have")
        terminal.wait_for("> ")
        terminal.type("once\n")
        terminal.wait_for("> ")
        terminal.type(f"/save {file}\n")
        terminal.wait_for("saved to")
        terminal.wait_for("> ")
        terminal.type("/exit\n")
        assert terminal.code() == 0
    assert json.loads(file.read_text())["messages"][0] == message("user", "once")
