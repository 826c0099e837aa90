"""`make bench-peers`: beside llama.cpp and transformers, all in float32, in turns in one process.

    python -m benchmarks.peers [THREADS]

Each figure is the median of the ratios of neighbouring runs: ours over theirs, so that a machine
that slows down slows both. llama.cpp reads a GGUF file written from the same weights.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)  # before NumPy is imported
os.environ["OPENBLAS_THREAD_TIMEOUT"] = "16"  # as `generate` has it
if find_spec("threadpoolctl"):
    os.environ["LLAMA_NP_THREADS"] = str(THREADS)

from numpy_llama import load, load_model  # noqa: E402
from numpy_llama.formats.gguf.write import write  # noqa: E402
from numpy_llama.golden.record.fingerprint import named_arrays  # noqa: E402
from numpy_llama.loading.blas import blas_kernel  # noqa: E402
from numpy_llama.loading.fast.layout import for_texts  # noqa: E402
from numpy_llama.loading.memory import keep_freed_memory  # noqa: E402
from numpy_llama.store.find import DEFAULT_MODEL, find_model  # noqa: E402

ROUNDS = 5
PAUSE = 0.1  # seconds before each run: threads of the last one spin for a while before they sleep
DECODED = 16
PREFILLS = (32, 512, 2048)
CONTEXTS = (64, 2048)
Work = Callable[[int], None]  # over so many tokens


def ours() -> tuple[Work, Callable[[int], Work]]:
    llama = for_texts(load(find_model(DEFAULT_MODEL)).llama)  # as `generate` has it
    cache = llama.new_cache(max(CONTEXTS) + DECODED)

    def prefill(n: int) -> None:
        cache.truncate(0)
        llama.forward(list(range(n)), cache, last_only=True)

    def decode_after(context: int) -> Work:
        prefill(context)

        def decode(n: int) -> None:
            cache.truncate(context)
            for token in range(n):
                llama.forward([token], cache)

        return decode

    return prefill, decode_after


def llama_cpp(folder: Path) -> tuple[Work, Callable[[int], Work]]:
    from llama_cpp import Llama

    path = folder / "model.gguf"
    model = load_model(find_model(DEFAULT_MODEL))
    write(path, model.config, dict(named_arrays(model)))
    room = max(CONTEXTS) + DECODED
    llama = Llama(str(path), n_ctx=room, n_batch=512, n_threads=THREADS,
                  n_threads_batch=THREADS, verbose=False)  # fmt: skip

    def prefill(n: int) -> None:
        llama.reset()
        llama.eval(list(range(n)))

    def decode_after(context: int) -> Work:
        prefill(context)

        def decode(n: int) -> None:
            llama.n_tokens = context  # what is after it in its cache is forgotten
            for token in range(n):
                llama.eval([token])

        return decode

    return prefill, decode_after


def transformers() -> tuple[Work, Callable[[int], Work]]:
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(find_model(DEFAULT_MODEL), dtype=torch.float32)

    @torch.inference_mode()
    def prefill(n: int) -> None:
        model(torch.arange(n)[None], logits_to_keep=1, use_cache=True)

    def decode_after(context: int) -> Work:
        cache = DynamicCache()
        with torch.inference_mode():
            model(torch.arange(context)[None], past_key_values=cache, logits_to_keep=1)

        @torch.inference_mode()
        def decode(n: int) -> None:
            if cache.get_seq_length() > context:
                cache.crop(context - cache.get_seq_length())  # as many from its end
            for token in range(n):
                model(torch.tensor([[token]]), past_key_values=cache)

        return decode

    return prefill, decode_after


def seconds(work: Work, n: int) -> float:
    time.sleep(PAUSE)
    begun = time.perf_counter()
    work(n)
    return time.perf_counter() - begun


def side_by_side(name: str, work: dict[str, Work], n: int) -> None:
    """A row for each peer: tokens a second, and ours over theirs."""
    for one in work.values():
        one(n)  # warm
    times = [{who: seconds(one, n) for who, one in work.items()} for _ in range(ROUNDS)]
    rate = {who: n / statistics.median(row[who] for row in times) for who in work}
    for peer in work:
        if peer != "ours":
            ratio = statistics.median(row[peer] / row["ours"] for row in times)
            print(f"{name:<28} {peer:<13} {rate[peer]:8.1f}   ours {rate['ours']:8.1f} tokens/s"
                  f"   ratio {ratio:.2f}", flush=True)  # fmt: skip


# A process of its own each: it loads the model, reads five tokens and chooses one.
FIRST = {
    "ours": "from numpy_llama.commands import main; main(['generate', '-n', '1', "
    "'The capital of France is', '-m', {model!r}])",
    "llama.cpp": "from llama_cpp import Llama; import numpy\n"
    "llama = Llama({gguf!r}, n_ctx=64, n_threads={threads}, logits_all=True, verbose=False)\n"
    "llama.eval([504, 3575, 282, 4649, 314]); print(int(numpy.argmax(llama.scores[4])))",
    "transformers": "import torch; from transformers import AutoModelForCausalLM\n"
    "torch.set_num_threads({threads})\n"
    "m = AutoModelForCausalLM.from_pretrained({model!r}, dtype=torch.float32)\n"
    "print(m(torch.tensor([[504, 3575, 282, 4649, 314]])).logits[0, -1].argmax())",
}


PEAK = """import atexit, sys
from pathlib import Path
peak = lambda: Path("/proc/self/status").read_text("utf-8").partition("VmHWM:")[2].split()[0]
atexit.register(lambda: print(peak(), file=sys.stderr))
"""


def first_token(program: str) -> tuple[float, float]:
    """Seconds from the start of a process to its end, and the most memory it had, in MB."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK + program], capture_output=True, encoding="utf-8"
    )
    taken = time.perf_counter() - begun
    if done.returncode:
        sys.exit(done.stderr)
    return taken, int(done.stderr.split()[-1]) / 1e3


def first_tokens(gguf: Path, peers: list[str]) -> None:
    """A row for each: from nothing to the first token, the files cached; and peak memory."""
    places = {"model": str(find_model(DEFAULT_MODEL)), "gguf": str(gguf), "threads": THREADS}
    programs = {who: FIRST[who].format(**places) for who in ("ours", *peers)}
    rows = [{who: first_token(text) for who, text in programs.items()} for _ in range(ROUNDS)]
    for who in programs:
        taken = statistics.median(row[who][0] for row in rows)
        print(f"load to first token          {who:<13} {taken:8.2f} s   "
              f"peak {max(row[who][1] for row in rows):,.0f} MB")  # fmt: skip


def main() -> None:
    keep_freed_memory()
    print(f"OpenBLAS's kernel {blas_kernel()}, float32, {DEFAULT_MODEL}")
    with tempfile.TemporaryDirectory() as folder:
        peers = {"ours": ours()}
        for name, make in (("llama.cpp", lambda: llama_cpp(Path(folder))),
                           ("transformers", transformers)):  # fmt: skip
            try:
                peers[name] = make()
            except ModuleNotFoundError as missing:
                print(f"without {name}: {missing.name} is not installed")
        for n in PREFILLS:
            side_by_side(f"prefill {n}", {who: peer[0] for who, peer in peers.items()}, n)
        for context in CONTEXTS:
            decoders = {who: peer[1](context) for who, peer in peers.items()}
            side_by_side(f"decode after {context}", decoders, DECODED)
        first_tokens(Path(folder) / "model.gguf", [who for who in peers if who != "ours"])


if __name__ == "__main__":
    main()
