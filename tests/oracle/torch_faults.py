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
norm-weight-missing norm-one-plus-weight norm-twice norm-final-missing norm-swapped
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

norm-inverted norm-float16
rope-adjacent rope-permute-k-with-q-heads rope-theta-1e6 rope-head-dim-assumed rope-scaling-linear
rope-positions-bf16 scale-heads mask-upper-left-decode mask-skipped-with-cache
gate-up-weights-swapped up-missing mlp-bias-missing head-zero

norm-variance norm-post-sum rope-table-half-split decode-position-minus-1 cache-prompt-end-lost
prompt-end-repeated left-padding-seen left-padding-decode-positions scale-head-dim-assumed window
gqa-tiled-keys attention-output-bias-missing wq-zero wk-zero wv-zero wo-zero
silu-identity gate-zero up-zero down-zero

rope-yarn-ramp-reversed rope-original-context-missing
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
    "invented-embedding-position": "embed",
    "invented-norm-clamped": "attn_norm.rms",
    "invented-gain-squared": "attn_norm",
    "invented-last-pair-not-rotated": "q_rot",
    "invented-positions-halved": "q_rot",
    "invented-sigmoid-for-softmax": "probs",
    "invented-best-keys-only": "probs",
    "invented-heads-gated": "heads",
    "invented-attention-halved-again": "attn_out",
    "invented-network-scaled": "ffn_out",
    "invented-logit-bias": "logits",
}
# Of those, wrong numbers: as what they are named, and the number.
ESTIMATED = {
    "invented-eps-1e-3": ("norm-eps", 1e-3),
    "invented-theta-doubled": ("rope-theta", 40000.0),
}

# Of a head's 6 pairs the first is kept, the second blended, and the others are slowed.
LLAMA3 = RopeScaling("llama3", factor=8.0, original_context=48, high_freq_factor=2.0)

SQUARE = tiny_config(
    dim=72,
    head_dim=12,
    rope_theta=50000.0,
    norm_eps=2e-4,
    rope_scaling=LLAMA3,
    attention_bias=True,
    mlp_bias=True,
)
CONFIGS = {
    # D ≠ H·hd, K ≠ G, untied, θ and ε that are none of the usual ones
    "grouped": tiny_config(n_layers=2, rope_theta=20000.0, norm_eps=3e-5),
    # D = H·hd ≠ hd², so that a transposed matrix fits; biases; Llama 3.1's frequencies
    "square": SQUARE,
    # the same, its blocks adding little to the residual stream, as those of a trained model do
    "calm": SQUARE,
    # YaRN: of a head's 6 pairs one is kept, two are blended, three slowed
    "yarn": tiny_config(
        n_layers=2,
        head_dim=12,
        rope_theta=10001.0,
        rope_scaling=RopeScaling("yarn", 4.0, 512),
        max_context=2048,
    ),
    # more than the 256 positions that bfloat16 tells apart
    "long": tiny_config(n_layers=1, max_context=300),
    # more than the 4096 positions of a sliding window
    "endless": tiny_config(n_layers=1, n_heads=1, n_kv_heads=1, max_context=4200),
}
NEEDS_SQUARE = {
    "wq-transposed", "wo-transposed", "attention-bias-missing", "mlp-bias-missing",
    "rope-scaling-missing", "rope-scaling-2pi", "rope-scaling-linear",
    "rope-permute-k-with-q-heads", "attention-output-bias-missing",
}  # fmt: skip

# Sizes of the embeddings, and of what a block adds; where the first is small, ε of a norm is seen.
SIZES = {
    "grouped": (0.05, 1.0),
    "square": (0.05, 1.0),
    "calm": (0.3, 0.1),
    "yarn": (0.05, 1.0),
    "long": (1.0, 1.0),
    "endless": (1.0, 1.0),
}

PROMPT = {
    "grouped": 18,
    "square": 18,
    "calm": 18,
    "yarn": 18,
    "long": 290,
    "endless": 4100,
}  # tokens
CHUNK = {"grouped": 11, "square": 11, "calm": 11, "yarn": 11, "long": 290, "endless": 4100}
DECODE = 3


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
    """The case of a name in CONFIGS; the answer is what the model itself says."""
    config, (embedding, branch) = CONFIGS[name], SIZES[name]
    tensors = random_tensors(config, seed=3)
    tensors["tok_embeddings"] *= embedding
    for i in range(config.n_layers):
        tensors[f"layers.{i}.wo"] *= branch
        tensors[f"layers.{i}.w_down"] *= branch
    tokens = random_tokens(config, PROMPT[name], seed=4)
    chunks = tuple(
        tuple(tokens[at : at + CHUNK[name]]) for at in range(0, len(tokens), CHUNK[name])
    )
    answer = TorchLlama(asdict(config), tensors).greedy(chunks, DECODE)
    return Case(config, tensors, chunks, tuple(answer))


def case_for(fault: str) -> str:
    """The name of a case that shows a fault."""
    if fault == "rope-positions-bf16":
        return "long"
    if fault == "window-4096":
        return "endless"
    if fault in ("rope-yarn-ramp-reversed", "rope-original-context-missing"):
        return "yarn"
    return "square" if fault in NEEDS_SQUARE else "grouped"


def candidate(
    case: Case, *bugs: str, dtype: torch.dtype = torch.float32, **options: Any
) -> dict[str, np.ndarray]:
    """All taps of the PyTorch model on a case, with faults or without."""
    model = TorchLlama(asdict(case.config), case.tensors, dtype, bugs, **options)
    return joined(model.run(case.chunks, case.answer))
