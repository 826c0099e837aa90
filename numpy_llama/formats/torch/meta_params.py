"""params.json, the config of Meta's own checkpoints: what it says, and what it leaves out.

Wherever it is silent, the rule is a function of this file, with its reason.
Source: Meta, llama-models, models/llama3/args.py and model.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import MAX_COUNTS, RopeScaling, require_count, require_positive
from ...errors import ConfigError
from ..storage.files import read_small
from ..storage.strict_json import parse_json, shown

PARAMS = "params.json"
MAX_PARAMS = 1 << 16  # bytes

# The parameters of a text model. max_batch_size only sized Meta's cache.
KNOWN = {
    "dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "norm_eps", "rope_theta",
    "multiple_of", "ffn_dim_multiplier", "use_scaled_rope", "max_seq_len", "max_batch_size",
}  # fmt: skip

# (dim, n_layers) of Llama 3.2 1B and 3B, whose long context needs another factor than 3.1's.
LLAMA_3_2 = {(2048, 16), (3072, 28)}


@dataclass(frozen=True)
class Params:
    """What params.json says, checked, and Meta's default where a field may be absent."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int  # -1: as many as the embeddings have
    norm_eps: float
    rope_theta: float
    multiple_of: int | None  # None: any hidden size is taken
    ffn_dim_multiplier: float | None
    use_scaled_rope: bool
    max_seq_len: int | None

    @property
    def hidden_dim(self) -> int | None:
        """The width that Meta's code computes: ⌈m · ⌊8·dim/3⌋⌉ to a multiple of `multiple_of`."""
        if self.multiple_of is None:
            return None
        width = int(2 * (4 * self.dim) / 3)
        if self.ffn_dim_multiplier is not None:
            width = int(self.ffn_dim_multiplier * width)
        return -(-width // self.multiple_of) * self.multiple_of


def max_context(params: Params) -> int:
    """The context that a model was made for, which params.json does not hold.

    2048 Llama 1 · 4096 Llama 2 · 8192 Llama 3 · 16384 Code Llama · 131072 Llama 3.1 and later.
    Only θ and scaled RoPE tell them apart; Llama 1 from 2 only ε = 1e-6, which its 65B model
    shares with Llama 2, so that one is known by having no grouped queries at dim 8192. Whoever
    knows better says so with max_seq_len in params.json.
    """
    if params.max_seq_len is not None:
        return params.max_seq_len
    if params.use_scaled_rope:
        return 131072
    if params.rope_theta != 10000:
        return 16384 if params.rope_theta == 1e6 else 8192
    llama_1_65b = params.dim == 8192 and params.n_kv_heads == params.n_heads
    return 2048 if params.norm_eps < 5e-6 or llama_1_65b else 4096


def rope_scaling(params: Params, tied: bool) -> RopeScaling:
    """How `use_scaled_rope` changes the frequencies. Meta's code has no key for the factor.

    It always divides by 8, which its maintainers confirm to be wrong for Llama 3.2 1B and 3B:
    those were trained with 32 (llama-models issues 166 and 241; Hugging Face's config.json). They
    are known by their size, or by a tied head, which only they have.
    """
    if not params.use_scaled_rope:
        return RopeScaling()
    small = tied or (params.dim, params.n_layers) in LLAMA_3_2
    return RopeScaling(
        "llama3",
        factor=32.0 if small else 8.0,
        original_context=8192,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
    )


def check_params(raw: Mapping[str, Any], where: Path) -> Params:
    """Params, or ConfigError for a field that is missing, wrong, or not understood."""
    unknown = sorted(set(raw) - KNOWN)
    if unknown:
        raise ConfigError(
            f"{where}: {shown(unknown[0])} is not a parameter of a Llama text model "
            "(quantised, multimodal and mixture-of-experts models are not supported)"
        )
    given = {name: value for name, value in raw.items() if value is not None}
    for name in ("dim", "n_layers", "n_heads", "norm_eps"):
        if name not in given:
            raise ConfigError(f"{where}: {name} is missing")
    given.setdefault("n_kv_heads", given["n_heads"])
    given.setdefault("vocab_size", -1)
    given.setdefault("rope_theta", 10000.0)  # Llama 1 and 2 do not state it; all later ones do
    given.setdefault("use_scaled_rope", False)
    for name in ("dim", "n_layers", "n_heads", "n_kv_heads"):
        require_count(name, given[name], MAX_COUNTS[name])
    for name in ("norm_eps", "rope_theta"):
        require_positive(name, given[name])
    if given["vocab_size"] != -1:
        require_count("vocab_size", given["vocab_size"], MAX_COUNTS["vocab_size"])
    if "multiple_of" in given:
        require_count("multiple_of", given["multiple_of"], MAX_COUNTS["hidden_dim"])
    if "ffn_dim_multiplier" in given:
        require_positive("ffn_dim_multiplier", given["ffn_dim_multiplier"])
    if "max_seq_len" in given:
        require_count("max_seq_len", given["max_seq_len"], MAX_COUNTS["max_context"])
    if not isinstance(given["use_scaled_rope"], bool):
        raise ConfigError(f"use_scaled_rope must be true or false, not {given['use_scaled_rope']}")
    if given["dim"] % given["n_heads"]:
        raise ConfigError(f"dim {given['dim']} is not a multiple of n_heads {given['n_heads']}")
    fields: dict[str, Any] = {name: given.get(name) for name in Params.__dataclass_fields__}
    return Params(**fields)


def read_params(path: Path) -> Params:
    """The parameters in params.json. Raises ConfigError, naming the file."""
    raw = parse_json(read_small(path, MAX_PARAMS, ConfigError), str(path), ConfigError)
    if isinstance(raw, dict) and isinstance(raw.get("model"), dict):
        raw = raw["model"]  # some downloads have the parameters one level down
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a table of parameters, not {shown(raw)}")
    try:
        return check_params(raw, path)
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None
