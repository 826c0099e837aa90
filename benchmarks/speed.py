"""`make bench`: speed and memory on the real model, each against its bar.

A speed is a ratio: the model against its own matrix products alone, run in turn in this process,
so that a machine that is slow, or slows down, slows both. Needs weights/smollm2-135m.
"""

import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from numpy_llama import Llama, LlamaConfig, Weights, attend_blocked, load_model
from numpy_llama.formats.checkpoint import layer_shapes
from numpy_llama.loading.fast.layout import ForTexts, for_texts
from numpy_llama.loading.memory import keep_freed_memory
from numpy_llama.parameters import LayerWeights
from numpy_llama.store.find import DEFAULT_MODEL, find_model

MATRICES = ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down")
ROUNDS = 9
DECODED = 16  # tokens a round …
CACHED = 64  # … after so many
PREFILLED = 512


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(bare: Callable[[], object], whole: Callable[[], object]) -> tuple[float, float, float]:
    """The speed of `whole` relative to `bare`, and the seconds of each: medians of pairs."""
    bare()  # warm: pages of the weights, threads of the BLAS
    whole()
    pairs = [(seconds(bare), seconds(whole)) for _ in range(ROUNDS)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return statistics.median(x / y for x, y in pairs), a, b


INPUTS: dict[tuple[int, int], np.ndarray] = {}


def weight_products(model: Llama, L: int) -> None:
    """Every product of a weight matrix in a forward of L tokens, logits of the last one only."""
    for layer in model.weights.layers:
        for name in MATRICES:
            w = getattr(layer, name)
            INPUTS[L, w.shape[1]] @ w.T
    INPUTS[1, model.config.dim] @ model.weights.lm_head.T


def attention_products(model: Llama, L: int, S: int) -> None:
    """The two products of attention in every layer, in the blocks of `attend_blocked`."""
    c = model.config
    k = INPUTS[S, c.hidden_dim][:, : c.n_kv_heads * c.head_dim]
    k = k.reshape(S, c.n_kv_heads, c.head_dim).transpose(1, 0, 2).copy()  # (K, S, hd)
    q = INPUTS[S, c.hidden_dim][:, : c.n_heads * c.head_dim]
    q = q.reshape(S, c.n_heads, c.head_dim).transpose(1, 0, 2).reshape(c.n_kv_heads, -1, c.head_dim)
    for _ in range(c.n_layers):
        for first in range(0, L, 64):
            rows = c.group_size * min(64, L - first)
            seen = k[:, : S - L + first + min(64, L - first)]
            (q[:, :rows] @ seen.transpose(0, 2, 1)) @ seen


def make_inputs(model: Llama) -> None:
    """Random activations to multiply, made beforehand: one for each length and width."""
    rng = np.random.default_rng(0)
    c = model.config
    for L in (1, CACHED, PREFILLED):
        for width in {c.dim, c.hidden_dim, c.n_heads * c.head_dim}:
            INPUTS[L, width] = rng.standard_normal((L, width), dtype=np.float32)


def decode_speed(model: Llama, tokens: int = DECODED) -> tuple[float, float, float]:
    """As texts are decoded, against the products in the layout that is best for them."""
    texts = for_texts(model)
    assert isinstance(texts, ForTexts) and texts.later is not None
    layout = texts.later.model
    cache = texts.new_cache(CACHED + tokens)
    texts.forward(list(range(CACHED)), cache)
    layers = [each for b in layout.blocks for each in (b.qkv, b.out, b.gate_up, b.down)]
    matrices = [layer.A for layer in (*layers, layout.head)]
    inputs = {len(A): np.ones(len(A), np.float32) for A in matrices}

    def bare() -> None:
        for _ in range(tokens):
            for A in matrices:
                inputs[len(A)] @ A

    def whole() -> None:
        cache.truncate(CACHED)
        for token in range(tokens):
            texts.forward([token], cache)

    return ratio(bare, whole)


def least_call() -> float:
    """The seconds of a call of NumPy that has nothing to do."""
    zero, calls = np.zeros(1, np.float32), 10_000
    return statistics.median(
        seconds(lambda: [np.add(zero, zero, zero) for _ in range(calls)]) / calls for _ in range(9)
    )


def prefill_speed(model: Llama, attention: bool) -> tuple[float, float, float]:
    """Against the weights' products alone, or with those of attention."""
    tokens = list(range(PREFILLED))
    cache = model.new_cache(PREFILLED)

    def whole() -> None:
        cache.truncate(0)
        model.forward(tokens, cache, last_only=True)

    def bare() -> None:
        weight_products(model, PREFILLED)
        if attention:
            attention_products(model, PREFILLED, PREFILLED)

    return ratio(bare, whole)


# A model with head_dim 64 that is small enough for a prefill of 8,192 tokens; and one of the shape
# of stories260K, the smallest of llama2.c's.
SMALL = LlamaConfig(256, 2, 4, 2, 64, 512, 1000, 8192, tied_head=True)
SMALLEST = LlamaConfig(64, 5, 8, 4, 8, 172, 512, 512, tied_head=True)


def random_model(config: LlamaConfig) -> Llama:
    """A model of float32 without a meaning."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) / np.float32(16)

    def layer() -> LayerWeights:
        return LayerWeights(**{name: draw(*shape) for name, shape in layer_shapes(config).items()})

    table = draw(config.vocab_size, config.dim)
    layers = tuple(layer() for _ in range(config.n_layers))
    return Llama(config, Weights(table, layers, draw(config.dim), table), attend_blocked)


def prefill_memory(model: Llama, L: int) -> int:
    """The most bytes that a prefill of L tokens holds, beyond the weights and the cache."""
    cache = model.new_cache(L)
    tokens = [i % 1000 for i in range(L)]
    tracemalloc.start()
    model.forward(tokens, cache, last_only=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def whole_process(*args: str) -> float:
    """The median wall time of a command of the command line, its file cache warm."""
    command = [sys.executable, "-m", "numpy_llama", *args]
    run = lambda: subprocess.run(command, capture_output=True, check=True)  # noqa: E731
    run()
    return statistics.median(seconds(run) for _ in range(5))


def make_quick() -> float:
    """The wall time of the tests for each save; what they need is installed beforehand."""
    subprocess.run(["make", "-s", ".venv/test"], check=True)
    return seconds(lambda: subprocess.run(["make", "-s", "quick"], capture_output=True, check=True))


def report(what: str, figure: str, bar: str, met: bool) -> None:
    print(f"{'ok  ' if met else 'FAIL'}  {what:<58} {figure:<26} bar {bar}", flush=True)


def main() -> None:
    keep_freed_memory()  # as the commands do
    model = load_model(find_model(DEFAULT_MODEL))
    make_inputs(model)

    speed, a, b = decode_speed(model)
    figure = f"{speed:.2f} ({DECODED / b:.0f} of {DECODED / a:.0f} tokens/s)"
    report("decode, of its matrix-vector products alone", figure, "≥ 0.85", speed >= 0.85)
    speed, a, b = decode_speed(random_model(SMALLEST), 200)
    figure = f"{speed:.2f} ({200 / b:.0f} of {200 / a:.0f} tokens/s)"
    print(f"      (stories260K's shape: {figure}; a token takes as long as", end=" ")
    print(f"{b / 200 / least_call():.0f} calls of NumPy that do nothing)", flush=True)

    speed, a, b = prefill_speed(model, attention=True)
    figure = f"{speed:.2f} ({PREFILLED / b:.0f} of {PREFILLED / a:.0f} tokens/s)"
    report("prefill of 512 tokens, of its matrix products alone", figure, "≥ 0.55", speed >= 0.55)
    speed, a, b = prefill_speed(model, attention=False)
    print(f"      (of the weights' products, attention's not counted: {speed:.2f})", flush=True)

    small = random_model(SMALL)
    short, long = prefill_memory(small, 1024), prefill_memory(small, 8192)
    figure = f"{long / short:.2f} ({short >> 20} → {long >> 20} MiB)"
    report("memory of a prefill of 8,192 tokens over 1,024", figure, "≤ 8.5", long / short <= 8.5)

    path = str(find_model(DEFAULT_MODEL))
    first = whole_process("generate", "The capital of France is", "-n", "1", "-m", path)
    report("load to first token of 5, whole process", f"{first:.2f} s", "≤ 1.5 s", first <= 1.5)

    quick = whole_process("--help")
    report("llama-np --help, whole process", f"{quick:.2f} s", "≤ 0.4 s", quick <= 0.4)

    saved = make_quick()
    report("make quick, on 2 idle cores", f"{saved:.1f} s", "≤ 20 s", saved <= 20)


if __name__ == "__main__":
    main()
