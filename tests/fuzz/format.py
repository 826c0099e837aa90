"""A format under attack, and what may become of damaged content: a result, or one sentence."""

import random
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from numpy_llama.errors import LlamaError
from tests.fuzz.mutate import Mutate, mutated_bytes

SLOW = 5.0  # seconds; a refusal takes milliseconds, this machine's neighbours some more
LARGE = 96 << 20  # bytes
TRACED = 16  # one in so many is measured for memory, which is slow
LONG = 700  # characters of a sentence


@dataclass(frozen=True)
class Format:
    """Valid content, and what reads it in a folder of its own."""

    seed: bytes
    use: Callable[[Path, bytes], None]
    mutate: Mutate = mutated_bytes


Build = Callable[[Path], Format]


@dataclass
class Tally:
    """What became of how many."""

    name: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    wrong: list[tuple[str, bytes]] = field(default_factory=list)  # what happened, and with what

    @property
    def tried(self) -> int:
        return self.read + self.refused + len(self.wrong)


def sentence_fault(error: LlamaError) -> str | None:
    """What is wrong with an error's text, if anything."""
    text = str(error)
    if "\n" in text or not text or len(text) > LONG:
        return f"no sentence: {text[:200]!r} ({len(text)} characters)"
    return None


def outcome(format_: Format, folder: Path, content: bytes) -> tuple[str, str | None]:
    """ "read", "refused" or "wrong", and then what happened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a user would see it before the sentence
            format_.use(folder, content)
    except LlamaError as error:
        fault = sentence_fault(error)
        return ("wrong", fault) if fault else ("refused", str(error))
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "numpy_llama" in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return "wrong", f"{type(error).__name__} at {where}: {str(error)[:200]}"
    return "read", None


def measured(format_: Format, folder: Path, content: bytes, trace: bool) -> tuple[str, str | None]:
    """The same, and wrong where it took much time or memory."""
    start = time.perf_counter()
    if trace:
        tracemalloc.start()
    try:
        kind, what = outcome(format_, folder, content)
        if trace and (peak := tracemalloc.get_traced_memory()[1]) > LARGE:
            return "wrong", f"{peak >> 20} MB"
    finally:
        tracemalloc.stop()
    took = time.perf_counter() - start
    return ("wrong", f"{took:.1f} s") if took > SLOW else (kind, what)


def attack(name: str, build: Build, count: int, seed: int = 0, seconds: float = 1e9) -> Tally:
    """Damage the valid content `count` times, or for so long; the valid content itself is read."""
    rng, tally, end = random.Random(f"{name} {seed}"), Tally(name), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        folder = Path(made)
        format_ = build(folder)
        kind, what = outcome(format_, folder, format_.seed)
        assert kind == "read", f"{name}: the valid content is not read: {what}"
        for n in range(count):
            if time.monotonic() > end:
                break
            content = format_.mutate(rng, format_.seed)
            start = time.perf_counter()
            kind, what = measured(format_, folder, content, n % TRACED == 0)
            tally.slowest = max(tally.slowest, time.perf_counter() - start)
            if kind == "wrong":
                tally.wrong.append((str(what), content))
            elif kind == "read":
                tally.read += 1
            else:
                tally.refused += 1
    return tally
