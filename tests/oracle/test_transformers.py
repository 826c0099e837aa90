"""Live against transformers' LlamaForCausalLM on the CPU: random tiny models, every option crossed.

Even in a float64 model, transformers computes RoPE's frequencies, angles and the RMS norms in
float32: so the bar in float64 is float32's precision, 2e-5. To show that nothing else hides below
it, a second test lets transformers' own code read every `float32` as float64, and the two agree
to 1e-12.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.model import Llama
from tests.models import ROPES, random_tensors, random_tokens, tiny_config, weights_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from .transformers_llama import their_config, their_tensors  # noqa: E402

pytestmark = pytest.mark.oracle

BAR = {"float64": 2e-5, "float32": 1e-4}


def pair(config: LlamaConfig, seed: int, dtype: str) -> tuple[Llama, Any]:
    """The same random weights in our model and in transformers'."""
    tensors = random_tensors(config, seed, dtype)
    theirs = transformers.LlamaForCausalLM(their_config(config)).to(getattr(torch, dtype)).eval()
    theirs.load_state_dict(their_tensors(config, tensors), strict=True)
    return Llama(config, weights_of(config, tensors)), theirs


def their_logits(model: Any, tokens: list[int], past: Any = None) -> np.ndarray:
    with torch.no_grad():
        out = model(torch.tensor([tokens]), past_key_values=past, use_cache=past is not None)
    return out.logits[0].numpy()


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def crossed() -> Iterator[LlamaConfig]:
    """K = H, G and 1; tied or not; each RoPE; each bias; D = H·hd or not: 240 configs."""
    flags = product([False, True], repeat=3)
    for n_kv_heads, rope, dim, (tied, attention_bias, mlp_bias) in product(
        [6, 2, 1], ROPES, [24, 48], flags
    ):
        yield tiny_config(
            n_layers=2,
            dim=dim,
            n_kv_heads=n_kv_heads,
            rope_scaling=ROPES[rope],
            max_context=12 if rope == "dynamic" else 64,
            tied_head=tied,
            attention_bias=attention_bias,
            mlp_bias=mlp_bias,
        )


def name_of(config: LlamaConfig) -> str:
    flags = ("tied_head", "attention_bias", "mlp_bias")
    words = [config.rope_scaling.type, f"{config.n_heads}:{config.n_kv_heads}", f"D{config.dim}"]
    return "-".join(words + [flag for flag in flags if getattr(config, flag)])


CONFIGS = list(crossed())
OTHERS = {
    "attention_factor": RopeScaling("yarn", 4.0, 40, attention_factor=0.7),
    "mscale": RopeScaling("yarn", 4.0, 40, mscale=0.5, mscale_all_dim=1.2),
    "mscale alone": RopeScaling("yarn", 4.0, 40, mscale=0.5),
    "no truncation": RopeScaling("yarn", 4.0, 40, beta_fast=4.0, beta_slow=0.1, truncate=False),
    "no width": RopeScaling("yarn", 4.0, 6),
    "the ramp ends beyond the last pair": RopeScaling("yarn", 4.0, 40, beta_slow=1e-6),
    "no extension": RopeScaling("yarn", 1.0, 40),
    "compressed": RopeScaling("linear", 0.5),
    "llama3 as released": RopeScaling("llama3", 8.0, 8192),
}


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """transformers' own code, reading every float32 as float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_logits(config: LlamaConfig, dtype: str) -> None:
    ours, theirs = pair(config, 1, dtype)
    tokens = random_tokens(config, 20)
    assert relative(ours.forward(tokens), their_logits(theirs, tokens)) <= BAR[dtype]


@pytest.mark.parametrize("config", CONFIGS[::3], ids=name_of)
def test_logits_to_the_last_digits(config: LlamaConfig, in_float64: None) -> None:
    ours, theirs = pair(config, 2, "float64")
    tokens = random_tokens(config, 20)
    assert relative(ours.forward(tokens), their_logits(theirs, tokens)) <= 1e-12


@pytest.mark.parametrize("scaling", OTHERS.values(), ids=OTHERS)
def test_other_options_of_rope_to_the_last_digits(scaling: RopeScaling, in_float64: None) -> None:
    config = tiny_config(rope_scaling=scaling)
    ours, theirs = pair(config, 3, "float64")
    tokens = random_tokens(config, 50)
    assert relative(ours.forward(tokens), their_logits(theirs, tokens)) <= 1e-12


@pytest.mark.parametrize("rope", ROPES)
def test_decoding_with_a_cache(rope: str, in_float64: None) -> None:
    """Two chunks, then token by token; `dynamic` goes past its context on the way."""
    config = tiny_config(rope_scaling=ROPES[rope], max_context=12, attention_bias=True)
    ours, theirs = pair(config, 4, "float64")
    tokens = random_tokens(config, 20)
    cache, past = ours.new_cache(20), transformers.DynamicCache()
    for start, stop in [(0, 6), (6, 10), *((i, i + 1) for i in range(10, 20))]:
        chunk = tokens[start:stop]
        assert relative(ours.forward(chunk, cache), their_logits(theirs, chunk, past)) <= 1e-12


@pytest.mark.parametrize("eps, theta", [(1e-6, 500000.0), (0.1, 100.0)])
def test_epsilon_and_theta(eps: float, theta: float, in_float64: None) -> None:
    config = tiny_config(norm_eps=eps, rope_theta=theta)
    ours, theirs = pair(config, 5, "float64")
    tokens = random_tokens(config, 20)
    assert relative(ours.forward(tokens), their_logits(theirs, tokens)) <= 1e-12
