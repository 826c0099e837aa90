"""What the faults are tested on: their ids, and models small enough for a test.

The ids are written out here, and not read from the catalogue: a fault lost from there is noticed.
"""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from numpy_llama.config import LlamaConfig, RopeScaling
from tests.models import random_tensors, random_tokens, tiny_config

from .torch_llama import TorchLlama
from .torch_records import joined

FAULTS = """
norm-eps-1e-5 norm-eps-1e-6 norm-eps-zero norm-eps-outside-sqrt norm-sum-not-mean norm-mean-centred
norm-weight-missing norm-one-plus-weight norm-twice norm-bf16 norm-final-missing norm-swapped
norm-post
rope-half-split rope-backwards rope-theta-1e4 rope-theta-5e5 rope-exponent rope-dim
rope-scaling-missing rope-scaling-2pi rope-missing rope-q-only rope-k-only rope-on-v
rope-inv-freq-bf16 rope-table-bf16 rope-from-1
decode-position-plus-1 decode-position-plus-1-gap decode-position-zero decode-position-doubled
decode-later-layers-plus-1 cache-misses-self cache-stale
scale-missing scale-dim scale-twice scale-head-dim mask-missing mask-one-ahead mask-not-self
mask-upper-left softmax-over-queries gqa-tiled heads-not-transposed k-v-swapped wq-transposed
wo-transposed attention-bias-missing window-4096
gate-up-swapped silu-of-product gelu-tanh gelu-erf relu sigmoid gate-missing
residual-after-norm residual-missing-attention residual-missing-ffn parallel-residual head-tied
embed-scaled layer-last-missing layer-first-repeated logits-previous-row bos-missing bos-doubled
""".split()

HARMLESS = {"rope-from-1"}

# Faults that the catalogue does not have, and the first stage that each makes wrong.
INVENTED = {
    "invented-embedding-next": "embed",
    "invented-eps-1e-3": "attn_norm.rms",
    "invented-norm-mean-absolute": "attn_norm.rms",
    "invented-theta-doubled": "q_rot",
    "invented-alibi": "scores",
    "invented-score-softcap": "scores",
    "invented-softmax-plus-one": "probs",
    "invented-half-residual": "resid_mid",
    "invented-tanh-gate": "swiglu",
    "invented-up-plus-one": "swiglu",
    "invented-logit-softcap": "logits",
}

LLAMA3 = RopeScaling("llama3", factor=8.0, original_context=24, high_freq_factor=2.0)

CONFIGS = {
    # D ≠ H·hd, K ≠ G, untied, θ and ε that are none of the usual ones
    "grouped": tiny_config(rope_theta=20000.0, norm_eps=3e-5),
    # D = H·hd, so that a transposed matrix fits; biases; Llama 3.1's frequencies
    "square": tiny_config(
        dim=48, rope_theta=50000.0, norm_eps=2e-4, rope_scaling=LLAMA3, attention_bias=True
    ),
}
NEEDS_SQUARE = {
    "wq-transposed", "wo-transposed", "attention-bias-missing",
    "rope-scaling-missing", "rope-scaling-2pi",
}  # fmt: skip

EMBEDDING_SIZE = 0.05  # so small that the ε of the first norm is seen


@dataclass(frozen=True)
class Case:
    """A model, a prompt in two chunks, and an answer."""

    config: LlamaConfig
    tensors: dict[str, np.ndarray]
    chunks: tuple[tuple[int, ...], ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> list[int]:
        """The prompt and the answer."""
        return [*(token for chunk in self.chunks for token in chunk), *self.answer]


@cache
def case(name: str) -> Case:
    """The case of a name in CONFIGS."""
    config = CONFIGS[name]
    tensors = random_tensors(config, seed=3)
    tensors["tok_embeddings"] = tensors["tok_embeddings"] * EMBEDDING_SIZE
    tokens = random_tokens(config, 24, seed=4)
    return Case(config, tensors, (tuple(tokens[:11]), tuple(tokens[11:18])), tuple(tokens[18:]))


def case_for(fault: str) -> str:
    """The name of a case that shows a fault."""
    return "square" if fault in NEEDS_SQUARE else "grouped"


def candidate(
    case: Case, *bugs: str, dtype: torch.dtype = torch.float32, **options: Any
) -> dict[str, np.ndarray]:
    """All taps of the PyTorch model on a case, with faults or without."""
    model = TorchLlama(asdict(case.config), case.tensors, dtype, bugs, **options)
    return joined(model.run(case.chunks, case.answer))
