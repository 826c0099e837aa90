"""LlamaConfig: every hyper-parameter of the architecture, validated once, where it is made."""

import math
from dataclasses import dataclass

from .errors import ConfigError

ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")

# Bounds that no Llama comes near. They keep a hostile file from asking for terabytes.
MAX_COUNTS = {
    "dim": 1 << 20,
    "n_layers": 1 << 12,
    "n_heads": 1 << 14,
    "n_kv_heads": 1 << 14,
    "head_dim": 1 << 14,
    "hidden_dim": 1 << 24,
    "vocab_size": 1 << 24,
    "max_context": 1 << 31,
}

MAX_NUMBER = 1e15  # likewise for real numbers: with 1e300, a power overflows, and so does float32


def require_count(name: str, value: object, most: int) -> None:
    """Raise ConfigError unless `value` is a whole number in 1 … `most` (True is not a number)."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, not {value!r}")
    if not 1 <= value <= most:
        raise ConfigError(f"{name} must be in 1 … {most}, not {value}")


def require_positive(name: str, value: object, or_zero: bool = False) -> None:
    """Raise ConfigError unless `value` is a number above zero (or zero, where allowed)."""
    # Compared, not passed to math.isfinite, which raises OverflowError for an int of 400 digits.
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not -math.inf < value < math.inf
    ):
        raise ConfigError(f"{name} must be a finite number, not {value!r}")
    if value < 0 or (value == 0 and not or_zero):
        raise ConfigError(f"{name} must be above zero, not {value}")
    if value > MAX_NUMBER:
        raise ConfigError(f"{name} must be at most {MAX_NUMBER:g}, not {value}")


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies were changed to extend a context; see rope_scaling.py."""

    type: str = "default"
    factor: float = 1.0  # how many times longer the context became
    original_context: int | None = None  # positions before the extension; None: max_context
    low_freq_factor: float = 1.0  # llama3: fewer turns than this, and a pair is slowed …
    high_freq_factor: float = 4.0  # … more than this, and it is kept
    beta_fast: float = 32.0  # yarn: pairs that turn more often are kept …
    beta_slow: float = 1.0  # … less often, are slowed
    attention_factor: float | None = None  # yarn: None computes it from `factor`
    mscale: float | None = None  # yarn: an alternative source of the attention factor
    mscale_all_dim: float | None = None
    truncate: bool = True  # yarn: whether the ends of the ramp are rounded outwards

    def __post_init__(self) -> None:
        if self.type not in ROPE_TYPES:
            raise ConfigError(
                f"rope type {self.type!r} is not supported; supported are {', '.join(ROPE_TYPES)}"
            )
        for name in ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow"):
            require_positive(f"rope {name}", getattr(self, name))
        for name in ("attention_factor", "mscale", "mscale_all_dim"):
            if getattr(self, name) is not None:
                require_positive(f"rope {name}", getattr(self, name))
        if self.original_context is not None:
            require_count("rope original_context", self.original_context, MAX_COUNTS["max_context"])
        if self.type == "llama3" and self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError(
                f"rope low_freq_factor {self.low_freq_factor} must be below "
                f"high_freq_factor {self.high_freq_factor}"
            )
        if not isinstance(self.truncate, bool):
            raise ConfigError(f"rope truncate must be true or false, not {self.truncate!r}")


@dataclass(frozen=True)
class LlamaConfig:
    """The hyper-parameters of one Llama. Raises ConfigError when they contradict each other."""

    dim: int  # D, width of the residual stream
    n_layers: int  # N
    n_heads: int  # H query heads
    n_kv_heads: int  # K key/value heads, each shared by G = H / K query heads
    head_dim: int  # hd; usually D / H, but not always
    hidden_dim: int  # F, width of the feed-forward network
    vocab_size: int  # V
    max_context: int  # positions that the model was made for
    norm_eps: float = 1e-5  # ε of RMSNorm: 1e-6 in Llama 1, 1e-5 since
    rope_theta: float = 10000.0  # θ of RoPE: 1e4 in Llama 1 and 2, 5e5 in Llama 3
    rope_scaling: RopeScaling = RopeScaling()
    tied_head: bool = False  # whether lm_head is tok_embeddings
    attention_bias: bool = False  # biases on wq, wk, wv and wo
    mlp_bias: bool = False  # biases on w_gate, w_up and w_down

    def __post_init__(self) -> None:
        for name, most in MAX_COUNTS.items():
            require_count(name, getattr(self, name), most)
        require_positive("norm_eps", self.norm_eps, or_zero=True)
        require_positive("rope_theta", self.rope_theta)
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(
                f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim {self.head_dim} is odd: RoPE rotates pairs of features")
        if self.rope_scaling.type == "dynamic" and self.head_dim < 4:
            raise ConfigError(f"rope type 'dynamic' needs head_dim ≥ 4, not {self.head_dim}")
        if self.rope_scaling.type == "yarn" and self.rope_theta <= 1:
            raise ConfigError(f"rope type 'yarn' needs rope_theta > 1, not {self.rope_theta}")
        for name in ("tied_head", "attention_bias", "mlp_bias"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {getattr(self, name)!r}")

    def __str__(self) -> str:
        """Two lines for people."""
        head = "tied to the embeddings" if self.tied_head else "of its own"
        heads = f"{self.n_heads} heads of head_dim {self.head_dim} on {self.n_kv_heads} key/value"
        rope = f"RoPE {self.rope_scaling.type}, theta {self.rope_theta:g}"
        return (
            f"{self.n_layers} layers of dim {self.dim}, hidden_dim {self.hidden_dim}, "
            f"vocabulary {self.vocab_size:,}, head {head}\n"
            f"{heads} heads, context {self.max_context:,}, {rope}"
        )

    @property
    def group_size(self) -> int:
        """G: how many query heads share one key/value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def axis_sizes(self) -> dict[str, int]:
        """The length of each axis that does not depend on the tokens, by its letter in taps.py."""
        return {
            "D": self.dim,
            "F": self.hidden_dim,
            "V": self.vocab_size,
            "H": self.n_heads,
            "K": self.n_kv_heads,
            "hd": self.head_dim,
        }
