"""What llama.cpp does with a real model, named from logits alone: SmolLM2, its own defaults.

    python -m audit.real_model [KIND …]      f32, f16, bf16, q8_0: the files it reads

For each prompt a golden is recorded, and the candidate is what llama.cpp gives, with the cache of
its defaults and a file in that kind. It takes a minute each; the environment is that of
`python -m audit.run llama-cpp-python`.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from numpy_llama.loading.threads import cores, set_threads

set_threads(1)  # mistakes and choices are tried by as many jobs; before NumPy is imported

import numpy as np  # noqa: E402

from audit.run import HERE, implementations, install  # noqa: E402
from numpy_llama import load  # noqa: E402
from numpy_llama.formats.gguf.write import write  # noqa: E402
from numpy_llama.golden import Candidate, check  # noqa: E402
from numpy_llama.golden.record.bundle import Bundle  # noqa: E402
from numpy_llama.golden.record.fingerprint import named_arrays  # noqa: E402
from numpy_llama.golden.record.record import record  # noqa: E402
from numpy_llama.store.find import DEFAULT_MODEL  # noqa: E402

PROMPTS = (
    "Q: What is the largest planet of the solar system?\nA:",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) +",
    "Dear Sir or Madam, I am writing to complain about the quality of the",
)
KINDS = ("f32", "f16", "bf16", "q8_0")


def logits(python: Path, gguf: Path, kind: str, bundle: Bundle, out: Path) -> np.ndarray:
    """What llama.cpp gives for the golden's tokens, in its steps."""
    tokens, steps = (",".join(map(str, n)) for n in (bundle.schedule.tokens, bundle.schedule.steps))
    words = [python, HERE / "run_llama_cpp.py", gguf, tokens, steps, out, "f16", kind]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    values: np.ndarray = np.load(f"{out}.npy")
    return values


def main() -> None:
    name = "llama-cpp-python"
    python = install(name, implementations()[name]) / "bin" / "python"
    m = load(DEFAULT_MODEL)
    with TemporaryDirectory() as folder:
        gguf = Path(folder) / "model.gguf"
        write(gguf, m.llama.config, dict(named_arrays(m.llama)))
        for text in PROMPTS:
            bundle = record(m.llama, m.encode(text), 4, taps=["logits"], detect=False)
            for kind in sys.argv[1:] or KINDS:
                values = logits(python, gguf, kind, bundle, Path(folder) / kind)
                candidate = Candidate({"logits": values}, "float32")
                report = check(bundle, candidate, model=m.llama, jobs=cores())
                found = report.diagnosis.suspects if report.diagnosis else ()
                named = "; or ".join(" + ".join(suspect.faults) for suspect in found)
                print(f"{text[:24]!r:<28} {kind:<5} {report.summary}: {named}", flush=True)


if __name__ == "__main__":
    main()
