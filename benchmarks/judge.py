"""The judge's own time on the real model, each figure beside its bar.

    python -m benchmarks.judge

A candidate that nothing explains costs most: every mistake is tried. Seconds are of an idle
machine of two cores.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands have it: one for each job

import numpy as np

from benchmarks.speed import report, seconds
from numpy_llama import load
from numpy_llama.golden import check, record
from numpy_llama.loading.memory import keep_freed_memory
from numpy_llama.loading.threads import cores

TEXT = (
    "Once upon a time there was a llama who wanted to see the sea. She walked for many days, over "
    "the hills and through the woods, until"
)


def main() -> None:
    keep_freed_memory()  # as the commands do
    m = load("smollm2-135m", stream=False)
    ids = m.encode(TEXT)[:28]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden"

        def record_logits() -> None:
            record(m.llama, ids, 4, taps=("logits",), source=str(m.path), detect=False).save(path)

        took = seconds(record_logits)
        report("record, logits alone, 32 tokens", f"{took:.1f} s", "≤ 10 s", took <= 10)

        logits = m.logits([*ids, *range(100, 104)])
        wrong = logits * np.float32(0.9) + np.roll(logits, 1, axis=-1) * np.float32(0.1)
        wanted = lambda: check(path, {"logits": wrong}, model=m.llama, jobs=cores())  # noqa: E731
        took = seconds(wanted)
        report("check, logits alone, all singles, 32 tokens", f"{took:.1f} s", "≤ 25 s", took <= 25)

        def record_all() -> None:
            record(m.llama, ids[:8], 4, source=str(m.path)).save(path)

        took = seconds(record_all)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        figure = f"{took:.1f} s ({size:.0f} MB)"
        report("record, all taps and detectability, 12 tokens", figure, "≤ 45 s", took <= 45)


if __name__ == "__main__":
    sys.exit(main())
