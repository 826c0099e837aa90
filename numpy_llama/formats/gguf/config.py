"""From the metadata of a GGUF file to a LlamaConfig.

Its keys begin with the architecture, "llama."; below they are written without. A key that is
there and not understood is refused: it may change what the model computes.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from ...config import LlamaConfig, RopeScaling, require_positive
from ...errors import ConfigError
from ...rope import base_frequencies
from ...rope_scaling import llama3_frequencies
from ..storage.strict_json import shown
from .header import GGUFHeader

PREFIX = "llama."
UNDERSTOOD = {
    "vocab_size",
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",  # an old name of rope.scaling.factor
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",  # says how the model was trained, changes nothing
}
# Keys of other variants, and the values with which they describe a plain Llama.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "attention.sliding_window": (0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "tensor_data_layout": ("Meta AI original pth", "reference"),
}
LLAMA3_CONTEXT = 8192  # of every model whose scaling is stored as divisors


def shortest(x: float) -> float:
    """The number that was meant by a float32: 9.99999974e-06 is 1e-5; float64s are kept."""
    with np.errstate(over="ignore"):
        rounded = np.float32(x)
    return float(str(rounded)) if float(rounded) == x else x


def number(header: GGUFHeader, name: str, default: Any = None) -> Any:
    """The number `name`, or `default`; ConfigError when it is missing or not a number."""
    value = header.metadata.get(PREFIX + name, default)
    if value is None:
        raise ConfigError(f"the metadata {PREFIX + name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(
            f"the metadata {PREFIX + name} must be one number for all layers, "
            f"not of the type {type(value).__name__}"
        )
    return shortest(value) if isinstance(value, float) else value


def check_architecture(header: GGUFHeader) -> None:
    """Raise ConfigError unless the file says that it is a Llama."""
    architecture = header.get("general.architecture", str)
    if architecture != "llama":
        raise ConfigError(
            f"{header.path}: general.architecture is {shown(architecture)}; "
            "only 'llama' is supported here"
        )


def check_keys(header: GGUFHeader) -> None:
    """Raise ConfigError unless every key about the model is understood."""
    for key, value in header.metadata.items():
        name = key.removeprefix(PREFIX)
        if name == key or name in UNDERSTOOD:
            continue
        if not isinstance(value, list | np.ndarray) and value in NEUTRAL.get(name, ()):
            continue
        raise ConfigError(
            f"the metadata {shown(key)} has a value that a plain Llama does not have "
            f"({shown(value)}), so the model cannot be run as one"
        )


def llama3_scaling(divisors: np.ndarray, theta: float, context: int) -> RopeScaling:
    """Recover Llama 3's scaling from what `rope_freqs.weight` divides the frequencies by.

    Converters store base / scaled frequencies, (hd/2,) in float32, instead of the parameters. The
    factor is the largest divisor; the bounds on the turns are 1 and 4 in every Llama 3.
    ConfigError when the divisors are not those of such a scaling, to 1e-5 relative.
    """
    if (divisors == 1).all():
        return RopeScaling()
    factor = shortest(float(divisors.max()))
    scaling = RopeScaling("llama3", factor, context)
    require_positive("rope.freq_base", theta)
    with np.errstate(all="ignore"):  # an absurd base overflows, and then nothing matches
        f = base_frequencies(theta, 2 * len(divisors))
        expected = f / llama3_frequencies(f, scaling, context)
    if not np.allclose(expected, divisors, rtol=1e-5, atol=0):
        raise ConfigError(
            f"the divisors of the RoPE frequencies in rope_freqs.weight (up to {factor}) are not "
            f"those of Llama 3's scaling of {context} positions, nor of any other known one"
        )
    return scaling


def yarn_scaling(header: GGUFHeader, factor: float, context: int) -> RopeScaling:
    """YaRN, with the meanings that llama.cpp's converter gives the keys.

    attn_factor multiplies the usual factor on q and k, 0.1 · ln(factor) + 1; yarn_attn_factor is
    Hugging Face's `attention_factor` and takes its place, and the yarn_beta_* are its betas.
    The surprise: llama.cpp itself reads no yarn_* key of a Llama, and runs it with the defaults.
    """
    names = ("rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor")
    total, extra = (number(header, n) if PREFIX + n in header.metadata else None for n in names)
    if total is None and extra is not None and extra != 1:
        total = extra * (0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return RopeScaling(
        "yarn",
        factor,
        context,
        beta_fast=number(header, "rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=number(header, "rope.scaling.yarn_beta_slow", 1.0),
        attention_factor=total,
    )


def rope_scaling(header: GGUFHeader, theta: float, divisors: np.ndarray | None) -> RopeScaling:
    """What the metadata and `rope_freqs.weight` (the divisors) say of the frequencies."""
    factor = number(header, "rope.scaling.factor", number(header, "rope.scale_linear", 1.0))
    factor = factor or 1.0  # llama.cpp: zero is none
    type_ = header.get(PREFIX + "rope.scaling.type", str, "linear" if factor != 1 else "none")
    original = "rope.scaling.original_context_length"
    if divisors is not None:
        if type_ != "none":
            raise ConfigError("both rope.scaling.type and rope_freqs.weight change the frequencies")
        return llama3_scaling(divisors, theta, number(header, original, LLAMA3_CONTEXT))
    if type_ != "yarn" and number(header, "rope.scaling.attn_factor", 1.0) != 1:
        raise ConfigError(f"rope.scaling.attn_factor is not supported with the type {type_!r}")
    match type_:
        case "none":
            return RopeScaling()
        case "linear":
            return RopeScaling("linear", factor)
        case "yarn":
            context = number(header, original, number(header, "context_length"))
            return yarn_scaling(header, factor, context)
    raise ConfigError(f"rope.scaling.type must be 'none', 'linear' or 'yarn', not {shown(type_)}")


def head_dim(header: GGUFHeader) -> int:
    """hd: `attention.key_length`, else dim / n_heads; everything that names it must agree."""
    dim, heads = number(header, "embedding_length"), number(header, "attention.head_count")
    if not isinstance(dim, int) or not isinstance(heads, int) or heads < 1:
        raise ConfigError(f"embedding_length and head_count must be whole, not {dim} and {heads}")
    hd: int = number(header, "attention.key_length", dim // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if number(header, name, hd) != hd:
            raise ConfigError(f"{PREFIX}{name} is {number(header, name)}, but head_dim is {hd}")
    if "llama.attention.key_length" not in header.metadata and dim % heads:
        raise ConfigError(f"embedding_length {dim} is not a multiple of head_count {heads}")
    return hd


def build_config(
    header: GGUFHeader, names: Collection[str], vocab_size: int, divisors: np.ndarray | None
) -> LlamaConfig:
    """`config_of`, but that the errors do not name the file yet."""
    check_keys(header)
    if number(header, "vocab_size", vocab_size) != vocab_size:
        raise ConfigError(
            f"vocab_size is {number(header, 'vocab_size')}, "
            f"but the embedding table has {vocab_size} rows"
        )
    hd, theta = head_dim(header), number(header, "rope.freq_base", 10000.0)
    if divisors is not None and divisors.shape != (hd // 2,):
        raise ConfigError(f"rope_freqs.weight has {divisors.shape}, not head_dim / 2 = {hd // 2}")
    heads = number(header, "attention.head_count")
    return LlamaConfig(
        dim=number(header, "embedding_length"),
        n_layers=number(header, "block_count"),
        n_heads=heads,
        n_kv_heads=number(header, "attention.head_count_kv", heads),
        head_dim=hd,
        hidden_dim=number(header, "feed_forward_length"),
        vocab_size=vocab_size,
        max_context=number(header, "context_length"),
        norm_eps=number(header, "attention.layer_norm_rms_epsilon"),
        rope_theta=theta,
        rope_scaling=rope_scaling(header, theta, divisors),
        tied_head="lm_head" not in names,
        attention_bias="layers.0.bq" in names,
        mlp_bias="layers.0.b_gate" in names,
    )


def config_of(
    header: GGUFHeader, names: Collection[str], vocab_size: int, divisors: np.ndarray | None
) -> LlamaConfig:
    """The config that `header` describes. Raises ConfigError, which names the file.

    names: of the tensors, ours; vocab_size: rows of the embedding table; divisors: (hd/2,), the
    tensor `rope_freqs.weight`, if there is one.
    """
    try:
        return build_config(header, names, vocab_size, divisors)
    except ConfigError as error:
        raise ConfigError(f"{header.path}: {error}") from None
