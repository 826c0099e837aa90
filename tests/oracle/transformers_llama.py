"""The same model in transformers, and a dump of what its modules take in and give out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM

from numpy_llama.config import LlamaConfig

from .torch_records import Records, joined

# Our names of a block's tensors, and the module of theirs that holds each.
MODULES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip


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


def their_config(config: LlamaConfig) -> TheirConfig:
    """The same model as transformers is told of it."""
    return TheirConfig(
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

    Written here with indices, and not taken from the package.
    """
    order = [*range(0, hd, 2), *range(1, hd, 2)]
    return tensor[[head + i for head in range(0, len(tensor), hd) for i in order]]


def their_tensors(config: LlamaConfig, tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Our tensors under their names, in their layout of RoPE's pairs."""
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


def transformers_llama(
    config: LlamaConfig,
    tensors: dict[str, np.ndarray],
    dtype: torch.dtype = torch.float64,
    attention: str = "eager",
) -> LlamaForCausalLM:
    """A LlamaForCausalLM with these weights."""
    theirs = their_config(config)
    theirs._attn_implementation = attention
    model = LlamaForCausalLM(theirs).eval()
    frequencies = model.model.rotary_emb.inv_freq
    model = model.double()
    model.load_state_dict(their_tensors(config, tensors))
    model.to(dtype=dtype)
    model.model.rotary_emb.inv_freq = frequencies  # from_pretrained keeps float32; `to` does not
    return model


def dump(
    model: LlamaForCausalLM, chunks: tuple[tuple[int, ...], ...], answer: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """What hooks see, by our names: queries and keys in half-split layout, heads merged."""
    records: Records = []
    hooks = [hook for part in hook_points(model) for hook in attach(records, *part)]
    past = None
    with torch.no_grad():
        for tokens in [*chunks, *((token,) for token in answer)]:
            records.append({})
            out = model(torch.tensor([tokens]), past_key_values=past, use_cache=True)
            past = out.past_key_values
            for i, probs in enumerate(out.attentions or ()):
                records[-1][f"layers.{i}.probs"] = probs[0]
    for hook in hooks:
        hook.remove()
    return joined(records)


def hook_points(
    model: LlamaForCausalLM,
) -> list[tuple[torch.nn.Module, str | None, str | None]]:
    """Modules, with our names of what goes in (if it has one) and what comes out."""
    points: list[tuple[torch.nn.Module, str | None, str | None]] = [
        (model.model.embed_tokens, None, "embed"),
        (model.model.norm, None, "final_norm"),
        (model.lm_head, None, "logits"),
    ]
    names = {"o": ("heads", "attn_out"), "down": ("swiglu", "ffn_out")}
    for i, layer in enumerate(model.model.layers):
        points.append((layer, None, f"layers.{i}.resid_post"))
        for ours, module in MODULES.items():
            into, out = names.get(ours, (None, ours))
            into = into and f"layers.{i}.{into}"
            points.append((layer.get_submodule(module), into, f"layers.{i}.{out}"))
        points.append((layer.post_attention_layernorm, f"layers.{i}.resid_mid", None))
    return points


def attach(
    records: Records, module: torch.nn.Module, into: str | None, out: str | None
) -> list[Any]:
    """Record what a module takes in and gives out, without the batch axis."""

    def before(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if into and inputs:
            records[-1][into] = inputs[0][0]

    def after(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        if out:
            records[-1][out] = (output[0] if isinstance(output, tuple) else output)[0]

    hooks: list[Callable[[], None] | Any] = [
        module.register_forward_pre_hook(before),
        module.register_forward_hook(after),
    ]
    return hooks
