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

pytestmark = pytest.mark.oracle

BAR = {"float64": 2e-5, "float32": 1e-4}
PARTS = {
    "attn_norm": "input_layernorm.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "wq": "self_attn.q_proj.weight",
    "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight",
    "wo": "self_attn.o_proj.weight",
    "w_gate": "mlp.gate_proj.weight",
    "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight",
    "bq": "self_attn.q_proj.bias",
    "bk": "self_attn.k_proj.bias",
    "bv": "self_attn.v_proj.bias",
    "bo": "self_attn.o_proj.bias",
    "b_gate": "mlp.gate_proj.bias",
    "b_up": "mlp.up_proj.bias",
    "b_down": "mlp.down_proj.bias",
}
TOP = {
    "tok_embeddings": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "lm_head": "lm_head.weight",
}
ROPE_KEYS = {
    "linear": ["factor"],
    "dynamic": ["factor"],
    "llama3": ["factor", "low_freq_factor", "high_freq_factor"],
    "yarn": ["factor", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"]
    + ["truncate"],
}


def rope_parameters(config: LlamaConfig) -> dict[str, Any]:
    """The RoPE part of a config.json, with no key that its type does not have."""
    scaling = config.rope_scaling
    values = {key: getattr(scaling, key) for key in ROPE_KEYS.get(scaling.type, [])}
    if scaling.type in ("llama3", "yarn"):
        values["original_max_position_embeddings"] = scaling.original_context
    values = {key: value for key, value in values.items() if value is not None}
    return {"rope_type": scaling.type, "rope_theta": config.rope_theta} | values


def their_config(config: LlamaConfig) -> Any:
    return transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        intermediate_size=config.hidden_dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_context,
        rms_norm_eps=config.norm_eps,
        rope_parameters=rope_parameters(config),
        tie_word_embeddings=config.tied_head,
        attention_bias=config.attention_bias,
        mlp_bias=config.mlp_bias,
    )


def their_rows(tensor: np.ndarray, hd: int) -> np.ndarray:
    """Rows of wq or wk in transformers' order: of each head the even features, then the odd ones.

    Written again here, with indices, and not taken from the package.
    """
    order = [*range(0, hd, 2), *range(1, hd, 2)]
    return tensor[[head + i for head in range(0, len(tensor), hd) for i in order]]


def their_tensors(config: LlamaConfig, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    out = {}
    for name, tensor in tensors.items():
        part = name.rpartition(".")[2]
        if part in ("wq", "wk", "bq", "bk"):
            tensor = their_rows(tensor, config.head_dim)
        _, _, rest = name.partition("layers.")
        key = f"model.layers.{rest.split('.')[0]}.{PARTS[part]}" if rest else TOP[name]
        out[key] = torch.from_numpy(tensor.copy())
    if config.tied_head:
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    return out


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
