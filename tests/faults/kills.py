"""Run as a program: kill whatever writes, alone and in pairs, at random moments.

    python -m tests.faults.kills [--each 40] [--seed N] [NAME …]

After each kill, what is there must be what was there before or the new, whole; and after one more
run, the new one, without any file beside it. Prints a line for each kind; exits 1 if one is broken.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from numpy_llama.errors import LlamaError
from tests.faults.writers import WRITERS, Writer

SAID = 3  # exit code of a child that ended with a sentence


@dataclass
class Count:
    """What came of the kills of one kind."""

    name: str
    kills: int = 0  # children that were alive when they were killed
    too_late: int = 0  # …and that had ended by then
    broken: list[str] | None = None


def start(work: Callable[[], None]) -> int:
    """Do it in a forked child; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stderr = sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        work()
        code = 0
    except LlamaError:
        code = SAID
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def ended(child: int) -> int | None:
    """The exit code of a child; None of one that was killed."""
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def one_round(writer: Writer, folder: Path, moment: float, pair: bool) -> int:
    """Kill one writer after so many seconds, another of the same target beside it perhaps.

    Returns how many were killed. Raises AssertionError for what is broken.
    """
    writer.prepare(folder)
    children = [start(lambda: writer.write(folder)) for _ in range(2 if pair else 1)]
    time.sleep(moment)
    os.kill(children[0], signal.SIGKILL)
    codes = [ended(child) for child in children]
    assert all(code in (None, 0, SAID) for code in codes), f"a child ended with {codes}"
    state = writer.state(folder)
    assert state in writer.before + ("new",), f"{state} after a kill, {codes}"
    assert not pair or codes[1] == SAID or state == "new", f"the other said it was done: {state}"
    code = ended(start(lambda: writer.write(folder)))
    assert code in (0, SAID), f"the next run ended with {code}"
    state = writer.state(folder)
    assert state == "new", f"{state} after the next run, which ended with {code}"
    stray = writer.stray(folder)
    assert not stray, f"after the next run there is {stray}"
    return codes.count(None)


def seconds_of(writer: Writer, folder: Path) -> float:
    """How long it takes when it is let alone: the middle of three."""
    took = []
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        writer.prepare(folder)
        began = time.monotonic()
        assert ended(start(lambda: writer.write(folder))) == 0
        took.append(time.monotonic() - began)
    return sorted(took)[1]


def kill_many(name: str, each: int, seed: int, pair: bool) -> Count:
    """`each` kills at moments spread over the time that a writer takes."""
    rng, count = random.Random(f"{name} {seed} {pair}"), Count(name + (" ×2" if pair else ""))
    count.broken = []
    with tempfile.TemporaryDirectory(prefix="kills-") as made, WRITERS[name](Path(made)) as writer:
        folder = Path(made) / "folder"
        takes = seconds_of(writer, folder)
        while count.kills < each and count.too_late < 20 * each:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            moment = rng.uniform(0, takes * 1.05)
            try:
                killed = one_round(writer, folder, moment, pair)
                count.kills += killed
                count.too_late += not killed
            except AssertionError as wrong:
                count.kills += 1
                count.broken.append(f"{moment:.4f} s: {wrong}")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(WRITERS), metavar="NAME")
    given = parser.parse_args()
    multiprocessing.set_start_method("fork", force=True)
    kills = broken = 0
    for name in given.names:
        for pair in (False, True):
            count = kill_many(name, given.each, given.seed, pair)
            assert count.broken is not None
            late = f", {count.too_late} too late" if count.too_late else ""
            print(f"{count.name:<22} {count.kills} kills{late}, {len(count.broken)} broken")
            for what in count.broken:
                print(f"    {what}")
            sys.stdout.flush()
            kills, broken = kills + count.kills, broken + len(count.broken)
    print(f"{kills} kills, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
