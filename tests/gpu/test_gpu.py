"""The model on a GPU against the same model on the CPU; `make gpu`.

Where there is CuPy and no GPU, only the first test runs. Both sides compute in the same dtype and
differ in the order of their sums: so each tap is held to a multiple of the dtype's epsilon,
relative to its largest value, that grows with the depth only through the values themselves.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.backend import open_device, to_host
from numpy_llama.config import LlamaConfig
from numpy_llama.errors import LlamaError
from numpy_llama.model import Llama
from numpy_llama.taps import Recorder
from tests import standin
from tests.models import ROPES, random_model, random_tensors, random_tokens, tiny_config, weights_of

cupy = pytest.importorskip("cupy")

pytestmark = pytest.mark.gpu

# Sums of D = 24 to 64 products of values near 1, through 3 layers. An error in the mathematics is
# thousands of times as large.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}


@pytest.fixture(scope="module")
def to_device() -> Any:
    try:
        return open_device("cuda").to_device
    except LlamaError as error:
        pytest.skip(str(error))


def on_gpu(config: LlamaConfig, seed: int, dtype: str, to_device: Any) -> Llama:
    tensors = random_tensors(config, seed, dtype)
    return Llama(config, weights_of(config, {n: to_device(t) for n, t in tensors.items()}))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_cupy_has_what_the_stand_in_allows() -> None:
    for name in standin.CREATORS | standin.FUNCTIONS | standin.UFUNCS:
        assert callable(getattr(cupy, name)), name


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rope", ROPES)
def test_every_tap_of_prefill_and_decode(rope: str, dtype: str, to_device: Any) -> None:
    config = tiny_config(
        rope_scaling=ROPES[rope], max_context=7, attention_bias=True, mlp_bias=True
    )
    cpu, gpu = random_model(config, 0, dtype), on_gpu(config, 0, dtype, to_device)
    caches = cpu.new_cache(10), gpu.new_cache(10)
    tokens = random_tokens(config, 10)
    for start, stop in [(0, 5), (5, 9), (9, 10)]:
        recorders = Recorder(config), Recorder(config)
        cpu.forward(tokens[start:stop], caches[0], recorders[0])
        logits = gpu.forward(tokens[start:stop], caches[1], recorders[1])
        assert isinstance(logits, cupy.ndarray)
        assert recorders[0].arrays.keys() == recorders[1].arrays.keys()
        for name, array in recorders[0].arrays.items():
            there = recorders[1].arrays[name]
            assert there.dtype == array.dtype == dtype, name
            assert relative(there, array) <= TOLERANCE[dtype], name
    assert relative(to_host(caches[1].k), caches[0].k) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_blocked_attention(dtype: str, to_device: Any) -> None:
    config = tiny_config()
    tokens = random_tokens(config, 40)
    expected = random_model(config, 0, dtype, attend).forward(tokens)
    gpu = on_gpu(config, 0, dtype, to_device)
    for block in (1, 7, 64):
        blocked = replace(gpu, attention=partial(attend_blocked, block=block))
        assert relative(to_host(blocked.forward(tokens)), expected) <= TOLERANCE[dtype]


def greedy(model: Llama, prompt: list[int], steps: int) -> tuple[list[int], float]:
    """The continuation, and the smallest lead of a chosen logit over the next."""
    cache = model.new_cache(len(prompt) + steps)
    ids, lead, new = [], np.inf, prompt
    for _ in range(steps):
        logits = to_host(model.forward(new, cache, last_only=True))[0]
        second, first = np.sort(logits)[-2:]
        lead = min(lead, float((first - second) / np.abs(logits).max()))
        new = [int(logits.argmax())]
        ids += new
    return ids, lead


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_ids_are_the_same(seed: int, dtype: str, to_device: Any) -> None:
    """Each choice has a lead well over the tolerance: so it is no matter of rounding."""
    config = tiny_config(dim=64)
    prompt = random_tokens(config, 6, seed)
    ids, lead = greedy(random_model(config, seed, dtype), prompt, 30)
    assert lead > 2 * TOLERANCE[dtype]
    assert greedy(on_gpu(config, seed, dtype, to_device), prompt, 30)[0] == ids
