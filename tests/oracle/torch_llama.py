"""A second Llama, in PyTorch, sharing no code with numpy_llama: the oracle, and the culprit.

It differs wherever it can: RoPE rotates feature i with i + hd/2 of re-ordered weights, keys and
values are repeated for their query heads, the cache grows by concatenation. `bugs` holds the ids of
the faults to commit, each written in its place as a person would have written it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .torch_attention import Attention, Step, linear
from .torch_records import Records
from .torch_stages import Bugs, activation, rms_norm

# Tensors of a block that are easily taken for each other, and those that are easily forgotten.
SWAPS = (
    ("k-v-swapped", "wk", "wv"),
    ("k-v-swapped", "bk", "bv"),
    ("norm-swapped", "attn_norm", "ffn_norm"),
    ("gate-up-weights-swapped", "w_gate", "w_up"),
    ("gate-up-weights-swapped", "b_gate", "b_up"),
)
BIASES = {
    "attention-bias-missing": ("bq", "bk", "bv", "bo"),
    "mlp-bias-missing": ("b_gate", "b_up", "b_down"),
    "attention-output-bias-missing": ("bo",),
}
# Matrices that were allocated, and never filled.
UNLOADED = {
    "wq-zero": "wq", "wk-zero": "wk", "wv-zero": "wv", "wo-zero": "wo",
    "gate-zero": "w_gate", "up-zero": "w_up", "down-zero": "w_down",
}  # fmt: skip


class TorchLlama:
    """A model with a cache of its own, that runs one sequence.

    config: the fields of LlamaConfig as a plain dict; weights: by our names, RoPE's pairs adjacent.
    wide: the dtype of norms, angles and softmax. transformers has float32 whatever the model's
    own; so has this, but for a float64 model.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: Mapping[str, np.ndarray],
        dtype: torch.dtype = torch.float64,
        bugs: Sequence[str] | Bugs = (),
        wide: torch.dtype | None = None,
    ):
        self.config, self.bugs = config, frozenset(bugs)
        self.wide = wide or (dtype if dtype == torch.float64 else torch.float32)
        tensors = {name: torch.from_numpy(np.array(w)).to(dtype) for name, w in weights.items()}
        self.attention = Attention(config, self.wide, self.bugs)
        self.embeddings = tensors["tok_embeddings"]
        self.final_gain = tensors["final_norm"]
        self.lm_head = tensors.get("lm_head", self.embeddings)
        if "head-tied" in self.bugs:
            self.lm_head = self.embeddings
        if "head-zero" in self.bugs:
            self.lm_head = torch.zeros_like(self.lm_head)
        self.layers = [self.layer_weights(tensors, i) for i in self.layer_indices()]
        self.records: Records = []
        self.length = self.prompt_length = 0

    def layer_indices(self) -> list[int]:
        """Which block's weights stand at each place."""
        N = self.config["n_layers"]
        if "layer-last-missing" in self.bugs:
            return list(range(N - 1))
        if "layer-first-repeated" in self.bugs:
            return [0] * N
        return list(range(N))

    def layer_weights(self, tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
        """The tensors of one block; the rows of queries and keys in half-split order."""
        prefix = f"layers.{i}."
        layer = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        for bug, biases in BIASES.items():
            if bug in self.bugs:
                layer = {name: t for name, t in layer.items() if name not in biases}
        for bug, one, other in SWAPS:
            if bug in self.bugs and one in layer:
                layer[one], layer[other] = layer[other], layer[one]
        for bug, name in UNLOADED.items():
            if bug in self.bugs:
                layer[name] = torch.zeros_like(layer[name])
        if "wq-transposed" in self.bugs:
            layer["wq"] = layer["wq"].T
        if "wo-transposed" in self.bugs:
            layer["wo"] = layer["wo"].T
        if "rope-permute-k-with-q-heads" in self.bugs:
            layer |= {
                n: self.attention.permuted_for_queries(layer[n]) for n in ("wk", "bk") if n in layer
            }
        for name in ("wq", "wk", "bq", "bk"):
            if name in layer:
                layer[name] = self.attention.half_split(layer[name])
        return layer

    def run(self, prompt: Sequence[Sequence[int]], answer: Sequence[int] = ()) -> Records:
        """The taps of every step: the prompt chunk by chunk, then the answer token by token."""
        self.attention.window = (sum(map(len, prompt)) + len(answer)) // 2
        for _ in range(2 if "cache-stale" in self.bugs else 1):
            self.records = []  # the cache, and the length, are what should be emptied too
            self.prefill(prompt)
            for token in answer:
                self.step([token], decode=True)
        return self.records

    def greedy(self, prompt: Sequence[Sequence[int]], count: int) -> list[int]:
        """The most likely continuation of the prompt."""
        self.attention.window = (sum(map(len, prompt)) + count) // 2
        for _ in range(2 if "cache-stale" in self.bugs else 1):
            self.prefill(prompt)
            answer: list[int] = []
            for _ in range(count):
                answer.append(int(self.records[-1]["logits"][-1].argmax()))
                self.step(answer[-1:], decode=True)
        return answer

    def prefill(self, prompt: Sequence[Sequence[int]]) -> None:
        """Read the prompt, chunk by chunk."""
        chunks = [list(chunk) for chunk in prompt]
        if "bos-missing" in self.bugs:
            chunks[0] = chunks[0][1:]
        if "bos-doubled" in self.bugs:
            chunks[0] = chunks[0][:1] + chunks[0]
        if "left-padding-seen" in self.bugs:
            chunks[0] = [0, 0, 0, *chunks[0]]
        self.prompt_length = self.length + sum(map(len, chunks))
        for chunk in chunks:
            self.step(chunk, decode=False)
        if "prompt-end-repeated" in self.bugs:
            self.step(chunks[-1][-1:], decode=True)

    def step(self, tokens: Sequence[int], decode: bool) -> None:
        """Run a few tokens after those before, and record every tap."""
        record: dict[str, Tensor] = {}
        self.forward(tokens, Step(self.length, self.prompt_length, decode, record.__setitem__))
        self.records.append(record)
        self.length += len(tokens)

    @torch.no_grad()
    def forward(self, tokens: Sequence[int], step: Step) -> Tensor:
        """Logits (L, V) of a chunk."""
        ids = torch.tensor(tokens)
        if "invented-embedding-next" in self.bugs:
            ids = (ids + 1) % len(self.embeddings)
        x = self.embeddings[ids]
        if "embed-scaled" in self.bugs:
            x = x * math.sqrt(self.config["dim"])
        if "invented-embedding-position" in self.bugs:
            x = x + 0.01 * torch.arange(step.start, step.start + len(tokens))[:, None]
        step.tap("embed", x)
        for i in range(len(self.layers)):
            x = self.block(x, i, step)
        if "norm-final-missing" not in self.bugs:
            x = self.norm(x, self.final_gain, "final_norm", step)
        logits = x @ self.lm_head.T
        if "invented-logit-softcap" in self.bugs:
            logits = 30 * torch.tanh(logits / 30)
        if "invented-logit-bias" in self.bugs:
            logits = logits + 0.1 * (torch.arange(logits.shape[1]) % 2)
        if "logits-previous-row" in self.bugs:
            logits = torch.cat([logits[:1], logits[:-1]])
        step.tap("logits", logits)
        return logits

    def block(self, x: Tensor, i: int, step: Step) -> Tensor:
        """Attention and feed-forward, each added to the residual stream: (L, D)."""
        layer, name = self.layers[i], f"layers.{i}"
        if {"norm-post", "norm-post-sum"} & self.bugs:
            return self.post_norm_block(x, i, step)
        normed = self.norm(x, layer["attn_norm"], f"{name}.attn_norm", step)
        attended = self.attention(normed, layer, i, step)
        mid = self.added(x, normed, attended, "residual-missing-attention")
        step.tap(f"{name}.resid_mid", mid)

        source = x if "parallel-residual" in self.bugs else mid
        normed = self.norm(source, layer["ffn_norm"], f"{name}.ffn_norm", step)
        out = self.feed_forward(normed, layer, name, step)
        x = self.added(mid, normed, out, "residual-missing-ffn")
        step.tap(f"{name}.resid_post", x)
        return x

    def added(self, x: Tensor, normed: Tensor, out: Tensor, missing: str) -> Tensor:
        """The residual stream and what a part of the block adds to it."""
        if missing in self.bugs:
            return out
        if "residual-after-norm" in self.bugs:
            return normed + out
        if "invented-half-residual" in self.bugs and missing == "residual-missing-attention":
            return x + out / 2
        return x + out

    def post_norm_block(self, x: Tensor, i: int, step: Step) -> Tensor:
        """The block with its norms after attention and feed-forward.

        They stand after the sums, as in the first Transformer, or before them, as in OLMo 2.
        """
        layer, name = self.layers[i], f"layers.{i}"
        after_sum = "norm-post-sum" in self.bugs

        def added(x: Tensor, out: Tensor, part: str, tap: str) -> Tensor:
            gain = layer[part]
            if after_sum:
                x = self.norm(x + out, gain, f"{name}.{part}", step)
            else:
                x = x + self.norm(out, gain, f"{name}.{part}", step)
            step.tap(f"{name}.{tap}", x)
            return x

        x = added(x, self.attention(x, layer, i, step), "attn_norm", "resid_mid")
        return added(x, self.feed_forward(x, layer, name, step), "ffn_norm", "resid_post")

    def norm(self, x: Tensor, gain: Tensor, name: str, step: Step) -> Tensor:
        """RMSNorm and its taps."""
        y, statistic = rms_norm(x, gain, self.config["norm_eps"], self.wide, self.bugs)
        step.tap(f"{name}.rms", statistic)
        step.tap(name, y)
        return y

    def feed_forward(self, x: Tensor, layer: dict[str, Tensor], name: str, step: Step) -> Tensor:
        """SwiGLU between its projections: (L, D)."""
        gate = linear(x, layer["w_gate"], layer.get("b_gate"))
        up = linear(x, layer["w_up"], layer.get("b_up"))
        hidden = activation(gate, up, self.bugs)
        out = linear(hidden, layer["w_down"], layer.get("b_down"))
        if "invented-network-scaled" in self.bugs:
            out = out * 0.9
        for tap, value in {"gate": gate, "up": up, "swiglu": hidden, "ffn_out": out}.items():
            step.tap(f"{name}.{tap}", value)
        return out
