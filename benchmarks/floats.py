"""python -m benchmarks.floats: bfloat16 and float16 to float32, in elements a second on one core.

Against filling the same float32 memory with a constant, in turn in the same process: no expansion
can be faster, and a machine that is busy slows both. Seconds are those of the CPU, not the clock.
Twice: of a size that stays in the cache, and of a large matrix, where memory is the limit.
"""

import time
from collections.abc import Callable

import numpy as np

from numpy_llama.formats.storage.floats import bf16_to_f32, f16_to_f32, f32_to_bf16

COUNTS = {"in the cache": 1 << 20, "in memory": 1 << 26}
ROUNDS = 7
BAR = 2.0  # billions of elements a second


def billions(work: Callable[[], object], count: int) -> float:
    """Elements a second of one run over 64 million, in billions."""
    repeats = max(COUNTS.values()) // count
    begun = time.thread_time()
    for _ in range(repeats):
        work()
    return repeats * count / (time.thread_time() - begun) / 1e9


def measure(where: str, count: int) -> None:
    """Print the best of several rounds."""
    x = np.random.default_rng(0).normal(0, 0.02, count).astype(np.float32)  # as weights are
    out = np.empty(count, np.float32)
    half, brain = x.astype(np.float16), f32_to_bf16(x)
    work: dict[str, Callable[[], object]] = {
        "fill": lambda: out.fill(1.0),
        "bf16 → f32": lambda: bf16_to_f32(brain, out),
        "f16 → f32": lambda: f16_to_f32(half, out),
        "f16 → f32 by NumPy": lambda: np.copyto(out, half),
    }
    rounds = [[billions(run, count) for run in work.values()] for _ in range(ROUNDS)]
    best = dict(zip(work, map(max, zip(*rounds, strict=True)), strict=True))
    for name, speed in best.items():
        bar = f"bar ≥ {BAR:g}: {'ok' if speed >= BAR else 'FAIL'}" if name.endswith("f32") else ""
        figure = f"{speed:5.2f} G elements/s, {speed / best['fill']:.2f} of fill"
        print(f"{where:<13} {name:<19} {figure}  {bar}")


def main() -> None:
    for where, count in COUNTS.items():
        measure(where, count)


if __name__ == "__main__":
    main()
