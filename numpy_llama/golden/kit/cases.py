"""The models of the conformance kit: small, and of shapes that cannot hide a fault.

In each, the numbers that a program may mix up are pairwise different, where a model can have that:
D / H, H, K, G, hd, N, F, D, V, the length of the prompt and that of all rows. Gains are away from
1; and each is the smallest that shows what it is for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import LlamaConfig, RopeScaling
from ..faults.position.padding import PADS
from .weights import kit_tensors, token_ids

# Of a long run, the intermediates that are small, and where it first goes wrong.
BRIEF = ("embed", "*.rms", "layers.*.q_rot", "layers.*.k_rot", "layers.*.heads", "*.resid_post")


@dataclass(frozen=True)
class Case:
    """One model, and the run that its golden is of."""

    name: str
    sentence: str  # what it is for
    config: LlamaConfig
    prompt: int = 12  # tokens
    decode: int = 4
    chunk: int | None = None  # the prompt is fed in pieces of this size
    taps: Sequence[str] = ("all",)
    stream: int = 0  # exponents of two; see kit_weights.scale_exponent
    sharpness: int = 0
    pads: int = 0  # before the prompt that a program is given; the golden has none
    slow: bool = False  # a run takes seconds, not milliseconds: what others show is not tried

    @property
    def tokens(self) -> tuple[int, ...]:
        """The prompt."""
        return token_ids(f"{self.name}/tokens", self.prompt, self.config.vocab_size)

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights, by our names, RoPE's pairs adjacent, float32."""
        return kit_tensors(self.name, self.config, self.stream, self.sharpness)


def small(**overrides: Any) -> LlamaConfig:
    """A config of 3 blocks in which H = 8, K = 2, G = 4, hd = 6, H·hd = D = 48, F = 44, V = 53."""
    values: dict[str, Any] = {
        "dim": 48,
        "n_layers": 3,
        "n_heads": 8,
        "n_kv_heads": 2,
        "head_dim": 6,
        "hidden_dim": 44,
        "vocab_size": 53,
        "max_context": 64,
    }
    return LlamaConfig(**(values | overrides))


CASES = (
    Case(
        "gqa",
        "Grouped queries, three layers: every part once, nothing unusual.",
        small(),
    ),
    Case(
        "mha",
        "As many key heads as query heads (Llama 1 and 2 7B).",
        small(dim=40, n_layers=2, n_heads=5, n_kv_heads=5, head_dim=8, hidden_dim=56),
    ),
    Case(
        "mqa-tied",
        "One key head for all query heads, and the embeddings as the head.",
        small(dim=32, n_layers=2, n_heads=4, n_kv_heads=1, head_dim=8, hidden_dim=72,
              tied_head=True),
    ),
    Case(
        "head-dim",
        "Heads that are not dim / n_heads wide (Llama 3.2 cut down, Mistral Nemo); Llama 3's θ.",
        small(dim=40, head_dim=12, hidden_dim=56, rope_theta=5e5),
        prompt=13,
    ),
    Case(
        "biases",
        "Biases on all projections.",
        small(attention_bias=True, mlp_bias=True, rope_theta=1e6),
    ),
    Case(
        "tiny-norms",
        "A residual stream of the size of √ε, so that ε and its place decide.",
        small(norm_eps=1e-6),
        stream=-10,
    ),
    Case(
        "tiny-norms-1e-5",
        "The same with ε = 1e-5, the only one that llama2.c's format has.",
        small(norm_eps=1e-5),
        stream=-8,
    ),
    Case(
        "large-norms",
        "A residual stream in the thousands, and scores that overflow without their maximum.",
        small(),
        stream=12,
        sharpness=3,
    ),
    Case(
        "rope-linear",
        "Positions divided by a factor.",
        small(rope_scaling=RopeScaling("linear", factor=2.5)),
    ),
    Case(
        "rope-dynamic",
        "NTK-aware scaling that depends on the length: one run past the context of 16.",
        small(max_context=16, rope_scaling=RopeScaling("dynamic", factor=4.0)),
        prompt=40,
        decode=0,  # keys once cached keep their angles: a decode step depends on the steps before
    ),
    Case(
        "rope-llama3",
        "Llama 3.1's scaling of a context of 32: pairs that are kept, blended and slowed.",
        small(
            dim=96,
            n_layers=1,
            n_heads=6,
            head_dim=16,
            rope_theta=500.0,
            max_context=256,
            rope_scaling=RopeScaling("llama3", 8.0, 32, low_freq_factor=1.0, high_freq_factor=4.0),
        ),
        prompt=24,
    ),
    Case(
        "rope-yarn",
        "YaRN's scaling of a context of 512, and its factor on queries and keys.",
        small(
            n_layers=1,
            n_heads=6,
            head_dim=16,
            rope_theta=1000.0,
            max_context=2048,
            rope_scaling=RopeScaling("yarn", 4.0, 512),
        ),
        prompt=24,
    ),
    Case(
        "one-token",
        "A prompt of one token: everything else is decoding.",
        small(),
        prompt=1,
        decode=8,
    ),
    Case(
        "chunks",
        "A prompt of 37 tokens in pieces of 16, then decoding.",
        small(),
        prompt=37,
        chunk=16,
    ),
    Case(
        "left-padded",
        "Pads before the prompt, as in a batch: no row sees them, no position counts them.",
        small(dim=12, n_layers=2, n_heads=3, n_kv_heads=1, head_dim=4, hidden_dim=20,
              vocab_size=17),
        prompt=11,
        taps=BRIEF,
        pads=PADS,
    ),
    Case(
        "45-tokens",
        "45 tokens at once: longer than a small window of attention (Mistral); Llama 3's θ.",
        small(rope_theta=5e5),
        prompt=45,
        taps=BRIEF,
    ),
    Case(
        "64-wide",
        "Rows of weights that are multiples of 64: groups of 32 and 64 fit (quantised weights).",
        small(dim=128, n_layers=1, head_dim=16, hidden_dim=64, vocab_size=29),
        prompt=13,
    ),
    Case(
        "500-tokens",
        "A prompt of 500 tokens: small errors of an angle grow with the position.",
        small(max_context=512),
        prompt=500,
        taps=BRIEF,
    ),
    Case(
        "4100-tokens",
        "A prompt longer than a window of 4096, in pieces of 512.",
        small(dim=24, n_layers=1, n_heads=3, n_kv_heads=1, head_dim=8, hidden_dim=40,
              vocab_size=32, max_context=4352),
        prompt=4100,
        chunk=512,
        taps=("logits",),
        slow=True,
    ),
)  # fmt: skip
