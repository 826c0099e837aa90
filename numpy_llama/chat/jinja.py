"""The model's own template, a Jinja program: rendered in a confined process (jinja_worker.py)."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, MissingExtraError, TokenizerError
from .messages import MAX_CHARACTERS, Message, check_messages
from .template import Template
from .templates import STYLES

OLDEST = (3, 1, 6)  # of Jinja; the sandbox of those before it is known to leak
MAX_TEMPLATE = 1 << 20  # characters; the longest real ones have 30,000
PATIENCE = 20.0  # seconds by the clock, where the system cannot bound a process by its work
WORKER = Path(__file__).with_name("jinja_worker.py")
KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")  # of the environment


def has_jinja() -> bool:
    """Whether a Jinja is installed whose sandbox can be relied upon."""
    try:
        numbers = version("jinja2").split(".")[:3]
    except PackageNotFoundError:
        return False
    return tuple(int(part) if part.isdigit() else 0 for part in numbers) >= OLDEST


def start_worker() -> subprocess.Popen[bytes]:
    """A worker that waits for its first request, and ends when our end of the pipe closes."""
    paths = json.dumps([path for path in sys.path if path])
    return subprocess.Popen(
        [sys.executable, "-I", str(WORKER), paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
    )


def one_line(text: str) -> str:
    """A stranger's text for an error message: nothing that a terminal would act upon."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class JinjaTemplate(Template):
    """A template in Jinja. `source` is its text, `origin` says where it came from, for errors."""

    name = "the model's own (Jinja)"

    def __init__(self, source: str, origin: str, bos: str = "", eos: str = ""):
        if not has_jinja():
            purpose = f"{origin}: a Jinja template (3.1.6 or later)"
            raise MissingExtraError("jinja2", purpose)
        if len(source) > MAX_TEMPLATE:
            raise TokenizerError(
                f"{origin}: the chat template has {len(source):,} characters, "
                f"more than {MAX_TEMPLATE:,}; no real one is that long"
            )
        self.source, self.origin = source, origin
        ends = (style.end for style in STYLES.values())
        self.ends = tuple(end for end in ends if end and end in source)
        self.variables = {"bos_token": bos, "eos_token": eos, "tools": None, "documents": None}
        self._worker: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Message]) -> str:
        """The text of `messages` up to where the answer begins.

        Raises InputError where the template refuses the conversation, TokenizerError where it is
        broken, or works longer, or needs more memory, than any honest one does.
        """
        variables = {
            **self.variables,
            "messages": check_messages(messages),
            "add_generation_prompt": True,
        }
        answer = self.ask({"template": self.source, "variables": variables, "most": MAX_CHARACTERS})
        if refused := answer.get("refused"):
            raise InputError(f"the chat template refuses this conversation: {one_line(refused)}")
        if broken := answer.get("broken"):
            raise TokenizerError(f"{self.origin}: the chat template: {one_line(broken)}")
        return answer["text"]

    def ask(self, request: dict[str, Any]) -> dict[str, str]:
        """One request to the worker, its answer as it came; TokenizerError if it dies over it."""
        if self._worker is None:
            self._worker = start_worker()
        worker = self._worker
        assert worker.stdin and worker.stdout  # it was started with pipes
        timer = threading.Timer(PATIENCE, worker.kill)
        timer.start()
        try:
            send(worker.stdin, request)
            # One character of text is six of JSON at most; what is longer is no answer.
            line = worker.stdout.readline(8 * MAX_CHARACTERS)
        except BaseException:  # Ctrl-C: the next request must not find this one's answer
            self.close()
            raise
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise TokenizerError(f"{self.origin}: the chat template {self.death()}")
        answer: dict[str, str] = json.loads(line.decode("utf-8", "surrogatepass"))
        return answer

    def death(self) -> str:
        """What ended the worker, as the end of a sentence; the next request starts another."""
        worker = self._worker
        self.close()
        timer = getattr(signal, "SIGPROF", None)
        if worker and timer and worker.returncode == -timer:
            return "computes for longer than any real one, and was stopped"
        return "ended its process, or did not answer in time, and was stopped"

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()  # it has nothing to lose
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            discard(pipe)


def send(pipe: IO[bytes], request: dict[str, Any]) -> None:
    """Write a request. A worker that has died is noticed where its answer is missing."""
    text = json.dumps(request, ensure_ascii=False)
    try:
        pipe.write(text.encode("utf-8", "surrogatepass") + b"\n")
        pipe.flush()
    except BrokenPipeError:
        pass


def discard(pipe: IO[bytes] | None) -> None:
    """Close a pipe whose other end may be gone, with what was still to be written to it."""
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        pass
