"""The same model on another array library: nothing comes to the host, and no bit changes."""

import sys
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from numpy_llama import attention as attention_module
from numpy_llama import rope_scaling as rope_scaling_module
from numpy_llama.attention import attend, attend_blocked
from numpy_llama.backend import open_device, to_host
from numpy_llama.errors import InputError, MissingExtraError
from numpy_llama.model import Llama
from numpy_llama.parameters import Weights
from numpy_llama.taps import Recorder
from tests.models import ROPES, random_model, random_tokens, tiny_config
from tests.standin import StandIn


def moved(record: Any) -> Any:
    """A dataclass of weights with every array on the stand-in device."""

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(moved(layer) for layer in value)
        return None if value is None else StandIn(value)

    return type(record)(**{f.name: move(getattr(record, f.name)) for f in fields(record)})


def on_device(model: Llama) -> Llama:
    weights: Weights = moved(model.weights)
    return replace(model, weights=weights)


def run(model: Llama, tokens: list[int]) -> dict[str, np.ndarray]:
    """Logits, cache and every tap of a prefill in two chunks and two steps of decoding."""
    cache = model.new_cache(len(tokens))
    out: dict[str, np.ndarray] = {}
    for start, stop in [(0, 5), (5, 8), (8, 9), (9, 10)]:
        recorder = Recorder(model.config)
        logits = model.forward(tokens[start:stop], cache, recorder)
        out |= {f"{name} from {start}": array for name, array in recorder.arrays.items()}
        out[f"returned from {start}"] = to_host(logits)
    return out | {"keys": to_host(cache.k), "values": to_host(cache.v)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("attention", [attend, partial(attend_blocked, block=2)])
@pytest.mark.parametrize("rope", ROPES)
def test_the_model_runs_on_device_arrays_to_the_bit(rope: str, attention: Any, dtype: str) -> None:
    config = tiny_config(
        rope_scaling=ROPES[rope], max_context=7, attention_bias=True, mlp_bias=True
    )
    model = random_model(config, 0, dtype, attention)
    tokens = random_tokens(config, 10)
    host, device = run(model, tokens), run(on_device(model), tokens)
    assert host.keys() == device.keys()
    for name, array in host.items():
        assert device[name].dtype == array.dtype == dtype
        assert np.array_equal(device[name], array), name


def test_logits_cache_and_taps_stay_on_the_device() -> None:
    model = on_device(random_model(tiny_config(tied_head=True)))
    cache = model.new_cache(4)
    seen = []
    logits = model.forward([1, 2], cache, lambda name, array: seen.append(type(array)))
    assert {type(logits), type(cache.k), type(cache.v), *seen} == {StandIn}
    assert type(model.forward([3], cache, last_only=True)) is StandIn


def host_mask(L: int, S: int, like: Any) -> np.ndarray:
    return np.tril(np.ones((L, S), bool), S - L)


def host_rotations(f: Any, positions: Any, magnitude: float, like: Any) -> np.ndarray:
    return np.zeros((len(positions), len(f), 2, 2))


def host_softmax(scores: Any) -> np.ndarray:
    return np.asarray(scores)


def promoting_softmax(scores: Any) -> Any:
    return scores * np.sqrt(2.0)


def deciding_softmax(scores: Any) -> Any:
    return scores if scores.max() > 0 else -scores


@pytest.mark.parametrize(
    "module, name, broken",
    [
        (attention_module, "causal_mask", host_mask),
        (attention_module, "softmax", host_softmax),
        (attention_module, "softmax", promoting_softmax),
        (attention_module, "softmax", deciding_softmax),
        (rope_scaling_module, "rotation_matrices", host_rotations),
    ],
)
def test_what_leaves_the_device_is_caught(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Any
) -> None:
    """The test above can fail: an array left or made on the host is a TypeError."""
    model = on_device(random_model(tiny_config()))
    model.forward([1, 2, 3])
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(TypeError):
        model.forward([1, 2, 3])


def test_an_id_that_a_device_would_wrap_is_refused_on_the_host() -> None:
    model = on_device(random_model(tiny_config()))
    assert np.array_equal(model.embed(np.array([61])).get(), model.embed(np.array([0])).get())
    with pytest.raises(InputError, match="token id 61"):
        model.forward([61])


def test_to_host_gives_the_array() -> None:
    array = np.arange(6.0).reshape(2, 3)
    for there in (array, StandIn(array)):
        assert np.array_equal(to_host(there), array)
        assert type(to_host(there)) is np.ndarray


def test_the_cpu_is_always_there() -> None:
    backend = open_device("cpu")
    array = np.ones(3, np.float32)
    assert backend.name == "cpu"
    assert backend.to_device(array) is array


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(InputError, match="device 'tpu' is not known; known are cpu, cuda, auto"):
        open_device("tpu")


def fake_cupy(**parts: Any) -> SimpleNamespace:
    """A module in the place of CuPy whose arrays are stand-ins."""
    working = {
        "ones": lambda shape, dtype: StandIn(np.ones(shape, dtype)),
        "matmul": lambda a, b: a @ b,
        "asarray": StandIn,
    }
    return SimpleNamespace(**(working | parts))


def no_driver(*_: Any) -> None:
    raise RuntimeError("cudaErrorInsufficientDriver: the driver is too old\nmore lines")


def test_cuda_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cupy-cuda12x\[ctk\]'"):
        open_device("cuda")
    assert open_device("auto").name == "cpu"


@pytest.mark.parametrize("part", ["ones", "matmul"])
def test_cuda_that_does_not_work_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(**{part: no_driver}))
    with pytest.raises(InputError) as caught:
        open_device("cuda")
    assert "the driver is too old)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert open_device("auto").name == "cpu"


def test_cuda_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    for name in ("cuda", "auto"):
        backend = open_device(name)
        assert backend.name == "cuda"
        assert type(backend.to_device(np.ones(3))) is StandIn
