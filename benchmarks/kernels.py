"""`make kernels`: does anything depend on the kernel that OpenBLAS picks for a CPU?

OpenBLAS has a kernel for each family of CPUs, and each sums in another order. This goes through
those that this CPU can run, with 1 and with 2 threads, each in processes of its own: the bits of
recorded goldens must be those of the default kernel, and the tests given as arguments must pass.
Exit code 1 if not. Run it by hand: it takes as many runs of the tests as there are kernels.

    python -m benchmarks.kernels [--kernel NAME] [TEST …]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from numpy_llama.errors import InputError
from numpy_llama.store.find import DEFAULT_MODEL, find_model
from tests.golden.recorded_bits import ROOT, lawful, recorded_by_a_child, ulps_apart

# What a CPU must be able to do for a kernel, by the names that Linux has for it.
AVX2 = {"avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
NEEDS = {
    "Prescott": {"pni"},
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": AVX2,
    "Zen": AVX2,
    "SkylakeX": AVX512,
    "Cooperlake": AVX512 | {"avx512_bf16"},
    "SapphireRapids": AVX512 | {"avx512_bf16", "amx_tile"},
    "ARMV8": {"asimd"},
    "NEOVERSEN1": {"asimd", "atomics"},
    "NEOVERSEV1": {"sve"},
}
DEFAULT = "default"  # what OpenBLAS picks by itself


def cpu_flags() -> set[str]:
    """What this CPU can do; nothing where there is no /proc, so that only the default is tried."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":") for line in lines)
    return {word for key, _, words in named if key.strip() in ("flags", "Features")
            for word in words.split()}  # fmt: skip


def runnable(flags: set[str]) -> list[str]:
    """The kernels that a CPU with these flags can run."""
    return [kernel for kernel, needs in NEEDS.items() if needs <= flags]


def settings(kernel: str, threads: int) -> dict[str, str]:
    """Variables for a child. An empty OPENBLAS_CORETYPE is none, whatever the caller's is."""
    chosen = "" if kernel == DEFAULT else kernel
    return {"OPENBLAS_CORETYPE": chosen, "OPENBLAS_NUM_THREADS": str(threads)}


def ending(code: int) -> str:
    """How a child came to its end, in a sentence."""
    if code >= 0:
        return f"the child ended with exit code {code}"
    why = "; this CPU cannot run that kernel" if code == -signal.SIGILL else ""
    return f"the child was ended by {signal.Signals(-code).name}{why}"


def compared(bits: np.ndarray, first: np.ndarray) -> tuple[str, bool]:
    """What to say of recorded bits, and whether they are those of the default kernel."""
    apart = ulps_apart(bits, first)
    different = int((apart > 0).sum())
    if different == 0:
        return f"the same {bits.size:,} values", True
    words = f"{different:,} of {bits.size:,} values differ, by up to {apart.max()} ulp"
    return (f"{words} (1 in a million may)", True) if lawful(apart) else (f"WRONG: {words}", False)


def tested(tests: list[str], environment: dict[str, str]) -> tuple[str, bool]:
    """The last line of a run of the tests, below the lines of those that failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not oracle and not gpu", *tests]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
    )
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith(("FAILED", "ERROR"))] + lines[-1:]
    return "\n    ".join(told or [ending(done.returncode)]), done.returncode == 0


def recorded(kernels: list[str], place: Path) -> Iterator[tuple[dict[str, str], str, bool]]:
    """Record with each kernel. Yields the settings of one, what to say of it, and if it is right.

    A kernel that OpenBLAS does not have is another one under its name, and is done once only.
    """
    try:
        model = [find_model(DEFAULT_MODEL)]
    except InputError:
        model = []
    first: np.ndarray | None = None
    seen = set()
    for threads in (1, 2):
        for kernel in kernels:
            environment = settings(kernel, threads)
            name = f"{kernel}, {threads} threads"
            try:
                bits, used = recorded_by_a_child(
                    place / f"{kernel}-{threads}.npy", *model, **environment
                )
            except subprocess.CalledProcessError as error:
                words = f"WRONG: {name}: {ending(error.returncode)}\n{error.stderr}"
                yield {}, words.rstrip(), False
                continue
            first = bits if first is None else first
            words, same = compared(bits, first)
            again = used in seen
            seen.add(used)
            what = "used already" if again else "used"
            yield {} if again else environment, f"{name} ({used} {what}): {words}", same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--kernel", action="append", help="this one, whatever the CPU's flags say")
    parser.add_argument("tests", nargs="*", help="what to run under each kernel")
    given = parser.parse_args()

    right = True
    kernels = [DEFAULT, *(given.kernel or runnable(cpu_flags()))]
    with tempfile.TemporaryDirectory() as folder:
        for environment, words, same in recorded(kernels, Path(folder)):
            print(words, flush=True)
            right = right and same
            if environment and given.tests:
                words, passed = tested(given.tests, environment)
                print(f"    {words}", flush=True)
                right = right and passed
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
