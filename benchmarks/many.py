"""Many prompts: two processes against one of two threads; and sixteen on a streamed model's file.

    python -m benchmarks.many           64 prompts of SmolLM2, with --jobs 2, and with --together 16
    python -m benchmarks.many FOLDER    a decode step of 16 prompts on the 13 GB model that
                                        benchmarks.big_model has written there, against one of one

Times are told as ratios in one run: each against the other, or against reading the file.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.big_model import GIGABYTE, forget, reading_time, report
from numpy_llama.batch.requests import Request, parse_request
from numpy_llama.batch.together import Part, forward_together
from numpy_llama.formats import open_checkpoint
from numpy_llama.loading.weights import model_of

ROUNDS = 3
SENTENCES = ("Once upon a time", "The capital of France is", "To make bread you need", "A llama is")
ONE_PROCESS = """
import sys
from numpy_llama.batch.dispatch import answers_of, plan
from benchmarks.many import requests_of
list(answers_of(plan(None, "float32", False, None, print), requests_of(64), jobs=1))
"""


def requests_of(n: int) -> list[tuple[int, Request]]:
    """Prompts of 4 to 8 tokens, 8 more of each."""
    lines = [{"prompt": SENTENCES[i % 4] + " " * (i // 4 % 4), "max_tokens": 8} for i in range(n)]
    return [(i, parse_request(line, i)) for i, line in enumerate(lines)]


def seconds_of(code: str, *, threads: int) -> float:
    """Seconds of a fresh process with so many threads."""
    env = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    return time.perf_counter() - begun


def processes_or_threads() -> None:
    """The time of one process with two threads over that of two processes, and of together."""
    two = ONE_PROCESS.replace("jobs=1", "jobs=2")
    together = ONE_PROCESS.replace("jobs=1", "jobs=1, together=16")
    times: dict[str, list[float]] = {"one": [], "two": [], "together": []}
    for _ in range(ROUNDS):
        times["one"].append(seconds_of(f"if 1:\n{indent(ONE_PROCESS)}", threads=2))
        times["two"].append(seconds_of(f"if __name__ == '__main__':\n{indent(two)}", threads=2))
        times["together"].append(seconds_of(f"if 1:\n{indent(together)}", threads=2))
    one, two_jobs, shared = (statistics.median(column) for column in times.values())
    figure = f"{one / two_jobs:.2f} ({one:.1f} s, {two_jobs:.1f} s)"
    report("64 prompts: --jobs 2 over one process of 2 threads", figure, "≥ 1.0", one >= two_jobs)
    print(f"      the same with --together 16: {one / shared:.2f} ({shared:.1f} s)")


def indent(code: str) -> str:
    return "\n".join("    " + line for line in code.strip().splitlines())


def steps(model: Path, n: int, cold: bool) -> Iterator[tuple[str, float]]:
    """Seconds of a prefill of 16 tokens each of n prompts, and of decode steps after it."""
    if cold:
        forget(model)
    llama = model_of(open_checkpoint(model), stream=True)
    caches = [llama.new_cache(32) for _ in range(n)]
    for step in range(3):
        if cold:
            forget(model)
        ids = [450] if step else list(range(100, 116))
        begun = time.perf_counter()
        forward_together(llama, [Part(ids, cache, True) for cache in caches])
        yield ("decode" if step else "prefill"), time.perf_counter() - begun


def streamed(folder: Path) -> None:
    model = folder / "big"
    for cold in (True, False):
        if cold:
            forget(model)
        reading = reading_time(model)
        kind = "cold" if cold else "cached"
        found: dict[tuple[int, str], float] = {}
        for n in (1, 16):
            for what, seconds in steps(model, n, cold):
                found[n, what] = min(seconds, found.get((n, what), seconds))
        size = sum(path.stat().st_size for path in model.glob("*.safetensors")) / GIGABYTE
        print(f"      {size:.1f} GB, {kind}: read in {reading:.1f} s")
        for what in ("prefill", "decode"):
            one, many = found[1, what], found[16, what]
            figure = f"{many / one:.2f} ({many:.1f} s, {one:.1f} s)"
            bar, met = ("≤ 1.5", many <= 1.5 * one) if what == "decode" else ("told", True)
            report(f"{what} of 16 prompts over that of one, {kind}", figure, bar, met)


def main() -> None:
    if len(sys.argv) > 1:
        streamed(Path(sys.argv[1]))
    else:
        processes_or_threads()


if __name__ == "__main__":
    main()
