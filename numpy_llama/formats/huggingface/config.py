"""config.json of Hugging Face to LlamaConfig and back.

Two spellings of RoPE are in the wild: `rope_theta` with `rope_scaling` (transformers 4), whose kind
is under `type` or `rope_type`; and `rope_parameters` (transformers 5), which has it all. Fields
that change the mathematics in a way that is not Llama's are refused by name; others, such as
`use_cache`, are none of our business.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import MAX_COUNTS, LlamaConfig, RopeScaling, require_count, require_positive
from ...errors import ConfigError
from ..storage.strict_json import shown

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

# What each rope type reads besides its name and theta: required, and optional fields.
ROPE_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ()),
    "yarn": (
        ("factor",),
        ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate"),
    ),
}
ORIGINAL = "original_max_position_embeddings"
# Read by other code than the forward pass, or by no code at all.
ROPE_IGNORED = ("type", "rope_type", "rope_theta", "partial_rotary_factor", "finetuned", ORIGINAL)


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


def same(a: object, b: object) -> bool:
    """Equality that does not take 0 for False."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def rope_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The RoPE fields of either spelling in one table, without nulls; their `type` as rope_type."""
    found: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        fields = raw.get(key)
        if fields is None:
            continue
        if not isinstance(fields, dict):
            raise ConfigError(f"{key} must be a table or null, not {shown(fields)}")
        for name, value in fields.items():
            if value is not None:
                put(found, "rope_type" if name == "type" else name, value, key)
    for name in ("rope_theta", ORIGINAL):
        if raw.get(name) is not None:
            put(found, name, raw[name], "the top level")
    return found


def put(found: dict[str, Any], name: str, value: Any, place: str) -> None:
    """Add one field; raise ConfigError if another place gave it another value."""
    if not same(found.setdefault(name, value), value):
        raise ConfigError(
            f"{name} is given twice: {shown(value)} in {place}, {shown(found[name])} elsewhere"
        )


def rope_from_hf(raw: Mapping[str, Any]) -> tuple[float, RopeScaling]:
    """θ and the scaling. Absent fields have the defaults of transformers: θ = 10⁴, no scaling."""
    fields = rope_fields(raw)
    kind = fields.get("rope_type", "default")
    if not isinstance(kind, str) or kind not in ROPE_FIELDS:
        supported = ", ".join(ROPE_FIELDS)
        raise ConfigError(f"rope type {shown(kind)} is not supported; supported are {supported}")
    if not same(fields.get("partial_rotary_factor", 1), 1):
        raise ConfigError(
            f"partial_rotary_factor {shown(fields['partial_rotary_factor'])} is not supported"
        )
    required, optional = ROPE_FIELDS[kind]
    if ORIGINAL in fields:
        require_count(ORIGINAL, fields[ORIGINAL], MAX_COUNTS["max_context"])
    if kind == "yarn" and "factor" not in fields and ORIGINAL in fields:
        fields["factor"] = raw["max_position_embeddings"] / fields[ORIGINAL]
    for name in required:
        if name not in fields:
            raise ConfigError(f"rope type {kind!r} needs {name}")
    given = {name: value for name, value in fields.items() if name not in ROPE_IGNORED}
    for name in given:
        if name not in required + optional:
            raise ConfigError(f"rope type {kind!r} does not have {shown(name)}")
    original = fields.get(ORIGINAL) if kind in ("llama3", "yarn") else None
    return fields.get("rope_theta", 10000.0), RopeScaling(kind, original_context=original, **given)


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


def rope_to_hf(config: LlamaConfig) -> dict[str, Any] | None:
    """The rope_scaling of config.json: what the type reads, and no more; None for the default."""
    scaling = config.rope_scaling
    if scaling.type == "default":
        return None
    required, optional = ROPE_FIELDS[scaling.type]
    fields: dict[str, Any] = {"rope_type": scaling.type}
    for name in required + optional:
        if getattr(scaling, name) is not None:
            fields[name] = getattr(scaling, name)
    if scaling.type in ("llama3", "yarn"):
        fields[ORIGINAL] = scaling.original_context or config.max_context
    return fields


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
