"""The PyTorch Llama with a fault in one place only, by switching its bugs on where that is.

Nothing here is shared with numpy_llama, nor is the way in which it is done: the one model commits
its bugs while it computes one layer, one norm, or one of two arrays.
"""

import contextlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.models import random_tensors, random_tokens, tiny_config

from .torch_attention import Step
from .torch_faults import CONFIGS, DECODE, FAULTS, HARMLESS, Case
from .torch_llama import TorchLlama
from .torch_records import joined

TENSORS = {
    "attn_norm": ("attn_norm",), "ffn_norm": ("ffn_norm",), "final_norm": (),
    "queries": ("wq", "bq"), "keys": ("wk", "bk"), "values": ("wv", "bv"),
    "gate": ("w_gate", "b_gate"), "up": ("w_up", "b_up"), "down": ("w_down", "b_down"),
}  # fmt: skip
TOLD = {
    "attn_norm": "attention's norm", "ffn_norm": "the feed-forward's norm",
    "final_norm": "the final norm", "gate": "the gate",
}  # fmt: skip

# What is no stage of a block, or cannot be seen in a short run.
WHOLE = """
norm-final-missing rope-from-1 rope-positions-bf16 decode-position-plus-1-gap
cache-stale prompt-end-repeated left-padding-seen window-4096 head-tied head-zero embed-scaled
layer-last-missing layer-first-repeated logits-previous-row bos-missing bos-doubled
""".split()
OF_NORMS = """
norm-eps-1e-5 norm-eps-1e-6 norm-eps-zero norm-eps-outside-sqrt norm-sum-not-mean norm-mean-centred
norm-variance norm-weight-missing norm-one-plus-weight norm-twice norm-inverted norm-bf16
norm-float16
""".split()
OF_ROTATION = """
rope-backwards rope-theta-1e4 rope-theta-5e5 rope-theta-1e6 rope-exponent rope-dim
rope-inv-freq-bf16 rope-table-bf16 rope-from-1 rope-adjacent rope-table-half-split
rope-head-dim-assumed rope-scaling-missing rope-scaling-2pi rope-scaling-linear
decode-position-plus-1 decode-position-minus-1 decode-position-zero decode-position-doubled
left-padding-decode-positions
""".split()
OF_WEIGHTS = {
    "attention-bias-missing": ("queries", "keys", "values"),
    "mlp-bias-missing": ("gate", "up", "down"),
    "k-v-swapped": ("keys", "values"),
    "gate-up-weights-swapped": ("gate", "up"),
    "norm-swapped": ("attn_norm", "ffn_norm"),
}


@dataclass(frozen=True)
class Local:
    """A fault, and where alone it is: in a layer, or in a part of all layers."""

    fault: str
    layer: int | None = None
    part: str = ""

    @property
    def place(self) -> str:
        """As a report tells it."""
        if self.layer is not None:
            return f"in layer {self.layer}"
        return f"in {TOLD.get(self.part, self.part)} only"


class LocalLlama(TorchLlama):
    """A model with its bug in one place."""

    def __init__(
        self,
        config: dict[str, Any],
        weights: Mapping[str, np.ndarray],
        dtype: torch.dtype,
        local: Local,
    ):
        self.local = local
        super().__init__(config, weights, dtype)
        if local.part in ("queries", "keys"):
            self.rightly = self.attention.positioned
            self.attention.positioned = self.positioned  # type: ignore[method-assign]

    def positioned(self, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, of which one are rotated wrongly."""
        q, k, v = self.rightly(*inputs)
        with self.committing():
            bad_q, bad_k, _ = self.rightly(*inputs)
        return (bad_q, k, v) if self.local.part == "queries" else (q, bad_k, v)

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """The bug is there as long as this lasts."""
        before = self.bugs
        self.bugs = self.attention.bugs = frozenset({self.local.fault})
        try:
            yield
        finally:
            self.bugs = self.attention.bugs = before

    def layer_weights(self, tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
        right = super().layer_weights(tensors, i)
        if self.local.layer not in (None, i):
            return right
        with self.committing():
            wrong = super().layer_weights(tensors, i)
        if self.local.layer == i:
            return wrong
        changed = {n: wrong.get(n) for n in TENSORS[self.local.part] if n in right}
        return right | changed  # type: ignore[operator]

    def block(self, x: Tensor, i: int, step: Step) -> Tensor:
        if self.local.layer != i:
            return super().block(x, i, step)
        with self.committing():
            return super().block(x, i, step)

    def norm(self, x: Tensor, gain: Tensor, name: str, step: Step) -> Tensor:
        if name.split(".")[-1] != self.local.part:
            return super().norm(x, gain, name, step)
        with self.committing():
            return super().norm(x, gain, name, step)


def every_local(n_layers: int) -> list[Local]:
    """All faults of a stage in all places that this file knows."""
    found = [
        Local(fault, layer=i)
        for fault in FAULTS
        if fault not in WHOLE and fault not in HARMLESS
        for i in range(n_layers)
    ]
    found += [Local(f, part=p) for f in OF_NORMS for p in ("attn_norm", "ffn_norm", "final_norm")]
    found += [Local(f, part=p) for f in OF_ROTATION for p in ("queries", "keys")]
    return found + [Local(f, part=p) for f, parts in OF_WEIGHTS.items() for p in parts]


@cache
def small_case(kind: str, seed: int) -> Case:
    """A random model of three layers and a prompt in two chunks, with the model's own answer.

    grouped: tiny, D ≠ H·hd. square: with biases, scaled RoPE and matrices that a transpose fits.
    """
    config = (
        replace(CONFIGS["square"], n_layers=3)
        if kind == "square"
        else tiny_config(n_layers=3, rope_theta=20000.0, norm_eps=3e-5)
    )
    tensors = random_tensors(config, seed=seed)
    tensors["tok_embeddings"] *= 0.05
    tokens = random_tokens(config, 18, seed=seed)
    chunks = tuple(tokens[:11]), tuple(tokens[11:])
    answer = TorchLlama(asdict(config), tensors).greedy(chunks, DECODE)
    return Case(config, tensors, chunks, tuple(answer))


def local_candidate(case: Case, local: Local) -> dict[str, np.ndarray]:
    """All taps of the PyTorch model in float32 with the fault in its place."""
    model = LocalLlama(asdict(case.config), case.tensors, torch.float32, local)
    return joined(model.run(case.chunks, case.answer))


def drawn(seed: int, applies: Any) -> Iterator[tuple[str, int, Local]]:
    """Random faults in random places of random models, as long as they are asked for."""
    chance = random.Random(seed)
    while True:
        kind, model = chance.choice(("grouped", "square")), chance.randrange(4)
        local = chance.choice(every_local(3))
        if applies(local.fault, small_case(kind, model).config):
            yield kind, model, local
