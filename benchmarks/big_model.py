"""A model of the shape of Llama-2-7B, in 13 GB of bfloat16: what streaming and converting it cost.

    python -m benchmarks.big_model FOLDER            logits of 16 tokens with --stream
    python -m benchmarks.big_model FOLDER --convert  and the conversion to float16

The weights are random and made once in FOLDER, which must have room for them (twice, to convert);
delete it afterwards. Each figure is printed with its bar: the time against that of reading the
same files, the memory as private pages, which the system cannot take back.
"""

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from numpy_llama.config import LlamaConfig
from numpy_llama.formats.checkpoint import Checkpoint, StoredTensor, expected_shapes
from numpy_llama.formats.convert import convert
from numpy_llama.loading.memory import human, weight_memory

LLAMA_2_7B = LlamaConfig(4096, 32, 32, 32, 128, 11008, 32000, 4096)
TOKENS = "1,450,7483,310,3444,338,3681,29889,450,7483,310,10557,338,5115,29889,450"
GIGABYTE = 1e9
PAUSE = 0.01  # seconds between two looks at a process


def random_bits(count: int) -> np.ndarray:
    """Random bfloat16 of a size that a real model's matrices have: ± 1/128 to 1/8."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, count, np.uint16)
    bits &= 0x81FF  # the sign, two bits of the exponent, the fraction
    bits |= 0x3C00
    return bits


def big_checkpoint(config: LlamaConfig) -> Checkpoint:
    """A checkpoint whose matrices are pieces of one random stretch: to draw each would be slow."""
    pool = random_bits(config.vocab_size * config.dim + (1 << 20))

    def matrix(shape: tuple[int, ...], start: int) -> np.ndarray:
        return pool[start : start + shape[0] * shape[1]].reshape(shape)

    tensors = {}
    for i, (name, shape) in enumerate(expected_shapes(config)):
        ones = partial(np.full, shape, 0x3F80, np.uint16)
        load = ones if len(shape) == 1 else partial(matrix, shape, 2003 * i)
        tensors[name] = StoredTensor(shape, "BF16", 2 * int(np.prod(shape)), load)
    return Checkpoint(Path("random"), "random", config, tensors, "half-split")


def weight_files(model: Path) -> list[Path]:
    return sorted(model.glob("*.safetensors"))


def forget(model: Path) -> None:
    """Drop the files from the system's cache, as if they had not been read since it started."""
    for path in weight_files(model):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading_time(model: Path) -> float:
    """Seconds to read all weights once, in order, with nothing done to them."""
    buffer = bytearray(1 << 24)
    begun = time.perf_counter()
    for path in weight_files(model):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - begun


def private_bytes(pid: int) -> int:
    """The private pages that a process has in memory now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def run(*args: str) -> tuple[float, int]:
    """Seconds and the most private bytes of a command of the command line."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "numpy_llama", *args])
    peak = 0
    while process.poll() is None:
        peak = max(peak, private_bytes(process.pid))
        time.sleep(PAUSE)
    if process.returncode:
        raise SystemExit(f"{' '.join(args)} exited {process.returncode}")
    return time.perf_counter() - begun, peak


def report(what: str, figure: str, bar: str, met: bool) -> None:
    print(f"{'ok  ' if met else 'FAIL'}  {what:<44} {figure:<36} bar {bar}", flush=True)


def stream(model: Path, folder: Path, cache: str) -> None:
    """Logits of 16 tokens, streamed, against the bars."""
    if cache == "cold":
        forget(model)
    reading = reading_time(model)
    if cache == "cold":
        forget(model)
    args = ["-m", str(model), "--tokens", TOKENS, "-o", str(folder / "logits.npy")]
    seconds, peak = run("logits", *args, "--stream")
    figure = f"{seconds:.1f} s, {seconds / reading:.2f} of {reading:.1f} s"
    report(f"logits of 16 tokens, over reading ({cache})", figure, "≤ 3", seconds <= 3 * reading)
    tensors = [name for name, _ in expected_shapes(LLAMA_2_7B)]
    said = human(weight_memory(LLAMA_2_7B, halves=tensors).streamed)
    figure = f"{peak / GIGABYTE:.2f} GB (info says {said})"
    report("private memory", figure, "≤ 2.5 GB", peak <= 2.5 * GIGABYTE)
    logits = np.load(folder / "logits.npy")
    report("logits", f"finite, {logits.shape}", "finite", bool(np.isfinite(logits).all()))


def converted(model: Path, folder: Path) -> None:
    """The conversion to float16, against the bar."""
    target = folder / "float16"
    shutil.rmtree(target, ignore_errors=True)
    seconds, peak = run("convert", str(model), "-o", str(target), "--dtype", "f16")
    figure = f"{peak / GIGABYTE:.2f} GB, {seconds:.0f} s"
    report("private memory of a conversion to float16", figure, "≤ 1.5 GB", peak <= 1.5 * GIGABYTE)
    shutil.rmtree(target)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--convert"]):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    model = folder / "big"
    if not model.exists():
        print("writing 13 GB of random weights …", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        convert(big_checkpoint(LLAMA_2_7B), model)
    for cache in ("cold", "warm"):
        stream(model, folder, cache)
    if "--convert" in sys.argv:
        converted(model, folder)


if __name__ == "__main__":
    main()
