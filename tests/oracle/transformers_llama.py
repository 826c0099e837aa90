"""The same model in transformers, and a dump of what its modules take in and give out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM

from numpy_llama.config import LlamaConfig
from numpy_llama.rope import half_split_from_adjacent

from .torch_records import Records, joined

# Our names of a block's tensors, and the module of theirs that holds each.
MODULES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip


def rope_parameters(config: LlamaConfig) -> dict[str, Any]:
    """RoPE as a config.json of transformers 5 says it."""
    scaling = config.rope_scaling
    parameters: dict[str, Any] = {"rope_type": scaling.type, "rope_theta": config.rope_theta}
    if scaling.type != "default":
        parameters["factor"] = scaling.factor
    if scaling.type == "llama3":
        parameters |= {
            "original_max_position_embeddings": scaling.original_context,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
        }
    return parameters


def their_tensors(config: LlamaConfig, tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Our tensors under their names, in their layout of RoPE's pairs."""
    state = {
        "model.embed_tokens.weight": tensors["tok_embeddings"],
        "model.norm.weight": tensors["final_norm"],
        "lm_head.weight": tensors.get("lm_head", tensors["tok_embeddings"]),
    }
    heads = {"q": config.n_heads, "k": config.n_kv_heads}
    for i in range(config.n_layers):
        for ours, module in MODULES.items():
            weight = ours if ours.endswith("norm") else f"w{'_' * (len(ours) > 1)}{ours}"
            bias = f"b{'_' * (len(ours) > 1)}{ours}"
            for name, kind in ((weight, "weight"), (bias, "bias")):
                tensor = tensors.get(f"layers.{i}.{name}")
                if tensor is not None:
                    if ours in heads:
                        tensor = half_split_from_adjacent(tensor, heads[ours])
                    state[f"model.layers.{i}.{module}.{kind}"] = tensor
    return {name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()}


def transformers_llama(
    config: LlamaConfig,
    tensors: dict[str, np.ndarray],
    dtype: torch.dtype = torch.float64,
    attention: str = "eager",
) -> LlamaForCausalLM:
    """A LlamaForCausalLM with these weights."""
    theirs = TheirConfig(
        hidden_size=config.dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.hidden_dim,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_context,
        rms_norm_eps=config.norm_eps,
        rope_parameters=rope_parameters(config),
        tie_word_embeddings=config.tied_head,
        attention_bias=config.attention_bias,
        mlp_bias=config.mlp_bias,
    )
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
