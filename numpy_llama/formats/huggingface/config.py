"""config.json of Hugging Face to LlamaConfig and back.

Fields that change the mathematics in a way that is not Llama's are refused by name; others, such as
`use_cache`, are none of our business.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import MAX_COUNTS, LlamaConfig, require_count, require_positive
from ...errors import ConfigError
from ..storage.strict_json import shown
from .rope import rope_from_hf, rope_to_hf, same

# A Mistral whose window covers everything is a Llama.
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "LLaMAForCausalLM"),
    "mistral": ("MistralForCausalLM",),
}

# Fields that change the forward pass, and the values with which it remains Llama's.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "sliding_window": (None,),
    "use_sliding_window": (None, False),
    "attention_chunk_size": (None,),
    "quantization_config": (None,),
    "partial_rotary_factor": (None, 1),
    "rope_interleaved": (None, False),
    "no_rope_layers": (None,),
    "no_rope_layer_interval": (None,),
    "alibi": (None, False),
    "use_qk_norm": (None, False),
    "qk_norm": (None, False),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "query_pre_attn_scalar": (None,),
    "attention_multiplier": (None,),
    "embedding_multiplier": (None, 1),
    "residual_multiplier": (None, 1),
    "logits_scaling": (None, 1),
    "logit_scale": (None, 1),
    "num_local_experts": (None, 0),
    "num_experts": (None, 0),
    "per_layer_config": (None,),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
}


def check_architecture(raw: Mapping[str, Any]) -> None:
    """Raise ConfigError for a model that is not a Llama, or is one with something added."""
    model_type, names = raw.get("model_type"), raw.get("architectures") or []
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise ConfigError(
            f"model_type {shown(model_type)} is not supported; "
            f"supported are {', '.join(ARCHITECTURES)}"
        )
    allowed = ARCHITECTURES[model_type]
    if not isinstance(names, list) or any(name not in allowed for name in names):
        raise ConfigError(f"architectures {shown(names)} is not supported; only {allowed[0]} is")
    for field, values in NEUTRAL.items():
        if field in raw and not any(same(raw[field], value) for value in values):
            raise ConfigError(f"{field} {shown(raw[field])} is not supported: it changes the model")
    layers = raw.get("layer_types")
    if layers is not None and (
        not isinstance(layers, list) or layers != ["full_attention"] * len(layers)
    ):
        raise ConfigError(f"layer_types {shown(layers)} is not supported, only full_attention is")


def head_dim_from_hf(raw: Mapping[str, Any]) -> int:
    """head_dim, or what is left to each head of hidden_size."""
    if raw.get("head_dim") is not None:
        given: int = raw["head_dim"]
        return given
    dim: int = raw["hidden_size"]
    heads: int = raw["num_attention_heads"]
    if dim % heads:
        raise ConfigError(
            f"hidden_size {dim} is not a multiple of num_attention_heads {heads}, "
            "and head_dim is not given"
        )
    return dim // heads


def flag(raw: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false; absent or null is false, as in transformers."""
    value = raw.get(name)
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {shown(value)}")
    return bool(value)


# Counts that a config must give, and the names that they have in MAX_COUNTS.
COUNTS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_context",
}


def read_fields(raw: Mapping[str, Any]) -> LlamaConfig:
    """`config_from_hf` without the name of the file in its errors."""
    check_architecture(raw)
    if "max_position_embeddings" not in raw and "max_sequence_length" in raw:
        raw = {**raw, "max_position_embeddings": raw["max_sequence_length"]}  # before April 2023
    for name in (*COUNTS, "rms_norm_eps"):
        if name not in raw:
            raise ConfigError(f"{name} is missing")
    for name, ours in COUNTS.items():
        require_count(name, raw[name], MAX_COUNTS[ours])
    for name in ("num_key_value_heads", "head_dim"):
        if raw.get(name) is not None:
            require_count(name, raw[name], MAX_COUNTS["max_context"])
    require_positive("rms_norm_eps", raw["rms_norm_eps"], or_zero=True)
    theta, scaling = rope_from_hf(raw)
    kv_heads = raw.get("num_key_value_heads")
    if raw["model_type"] == "mistral" and flag(raw, "attention_bias"):
        raise ConfigError("attention_bias is true, which model_type 'mistral' does not have")
    return LlamaConfig(
        **{ours: raw[name] for name, ours in COUNTS.items()},
        n_kv_heads=raw["num_attention_heads"] if kv_heads is None else kv_heads,
        head_dim=head_dim_from_hf(raw),
        norm_eps=raw["rms_norm_eps"],
        rope_theta=theta,
        rope_scaling=scaling,
        tied_head=flag(raw, "tie_word_embeddings"),
        attention_bias=flag(raw, "attention_bias"),
        mlp_bias=flag(raw, "mlp_bias"),
    )


def config_from_hf(raw: Mapping[str, Any], where: str) -> LlamaConfig:
    """The config that a parsed config.json describes; ConfigError names `where` and the field."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: must be a table, not {shown(raw)}")
    try:
        return read_fields(raw)
    except ConfigError as wrong:
        raise ConfigError(f"{where}: {wrong}") from None


def config_to_hf(
    config: LlamaConfig,
    dtype: str = "float32",
    bos_id: int | None = None,
    eos_ids: Sequence[int] = (),
) -> dict[str, Any]:
    """config.json for transformers 4 and 5 (which still reads the older spelling) and their kin.

    `dtype` is torch's name for what the weights are stored in. Unknown token ids are written as
    null, because absent ones would be taken for 1 and 2.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope_to_hf(config),
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_head,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": bos_id,
        "eos_token_id": eos_ids[0] if len(eos_ids) == 1 else list(eos_ids) or None,
        "torch_dtype": dtype,
    }
