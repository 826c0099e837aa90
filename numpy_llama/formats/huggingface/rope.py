"""RoPE in config.json, and back.

Two spellings are in the wild: `rope_theta` with `rope_scaling` (transformers 4), whose kind is
under `type` or `rope_type`; and `rope_parameters` (transformers 5), which has it all.
"""

from collections.abc import Mapping
from typing import Any

from ...config import MAX_COUNTS, LlamaConfig, RopeScaling, require_count
from ...errors import ConfigError
from ..storage.strict_json import shown

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
