"""How fast SmolLM2 is beside one busy process, over what it is alone: making and reading a text.

    python -m benchmarks.busy

Each measurement is a process of its own, with the threads that the commands have; alone and beside
the other in turns. On two cores, two thirds is what a fair share leaves.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from numpy_llama.loading.threads import suit
from numpy_llama.store.find import DEFAULT_MODEL, find_model

ROUNDS = 3
WORK = {"decode, 64 tokens cached": 16, "read 32 tokens": 32, "read 512 tokens": 512}


def tokens_a_second(what: str, repeats: int = 7) -> float:
    """The median, in this process: before NumPy is there."""
    path = find_model(DEFAULT_MODEL)
    suit(path, "reads" if what.startswith("read") else "makes")
    from numpy_llama import load
    from numpy_llama.loading.memory import keep_freed_memory

    keep_freed_memory()
    m, n = load(path), WORK[what]
    cached = 0 if what.startswith("read") else 64
    llama = m.decoding if cached else m.reading
    cache = llama.new_cache(cached + n)
    if cached:
        llama.forward(list(range(cached)), cache)

    def work() -> None:
        cache.truncate(cached)
        if not cached:
            llama.forward(list(range(n)), cache, last_only=True)
        else:
            for token in range(n):
                llama.forward([token], cache)

    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return n / statistics.median(times)


@contextmanager
def beside(busy: bool) -> Iterator[None]:
    """A process that counts, meanwhile."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if other:
            other.kill()
            other.wait()


def measured(what: str) -> float:
    """In a process for itself."""
    command = [sys.executable, "-m", "benchmarks.busy", what]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def main() -> None:
    for what in WORK:
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for busy, speeds in found.items():
                with beside(busy):
                    speeds.append(measured(what))
        alone, shared = (statistics.median(speeds) for speeds in found.values())
        share = statistics.median(b / a for a, b in zip(*found.values(), strict=True))
        met = "ok  " if share >= 0.4 else "FAIL"
        print(f"{met}  {what:<26} {share:.2f} ({shared:.0f} of {alone:.0f} tokens/s)  bar ≥ 0.40")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(tokens_a_second(sys.argv[1]))
    else:
        main()
