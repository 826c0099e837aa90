"""Attention of the PyTorch Llama: heads, positions, the cache; each with its faults in place."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .torch_stages import Bugs, cos_sin, probabilities, repeated, rotate, score_scale, visible


@dataclass
class Step:
    """One call of the model: a chunk of the prompt, or one token of the answer."""

    start: int  # positions before it
    prompt_length: int
    decode: bool
    tap: Callable[[str, Tensor], None]


def linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """x wᵀ + b."""
    return torch.nn.functional.linear(x, w, b)


@dataclass
class Attention:
    """Attention of all blocks, with their cache: keys and values (K, S, hd) by block."""

    config: dict[str, Any]
    wide: torch.dtype
    bugs: Bugs
    cache: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    window: int = 0  # how many keys a query sees, where it does not see all

    @property
    def order(self) -> Tensor:
        """Where each feature of a half-split head comes from: 0 2 4 … 1 3 5 …"""
        hd = self.config["head_dim"]
        if "rope-half-split" in self.bugs:
            return torch.arange(hd)  # forgot that these weights need it
        return torch.cat([torch.arange(0, hd, 2), torch.arange(1, hd, 2)])

    def half_split(self, w: Tensor) -> Tensor:
        """Re-order the rows of each head of a projection, or of a bias."""
        heads = w.reshape(-1, self.config["head_dim"], *w.shape[1:])
        return heads[:, self.order].reshape(w.shape)

    def permuted_for_queries(self, w: Tensor) -> Tensor:
        """A key projection, turned from Hugging Face's order as if it had H heads; and back."""
        theirs = self.half_split(w)
        as_queries = theirs.reshape(self.config["n_heads"], 2, -1, *w.shape[1:])
        return as_queries.transpose(1, 2).reshape(w.shape)

    def adjacent(self, x: Tensor) -> Tensor:
        """Heads (H, L, hd) as a tap shows them: (L, H, hd), pairs adjacent."""
        return x.transpose(0, 1)[..., torch.argsort(self.order)]

    def __call__(self, x: Tensor, layer: dict[str, Tensor], i: int, step: Step) -> Tensor:
        """Attention over the cache and the chunk: (L, D) to (L, D)."""
        name, L = f"layers.{i}", len(x)
        q = self.heads(linear(x, layer["wq"], layer.get("bq")))
        k = self.heads(linear(x, layer["wk"], layer.get("bk")))
        v = self.heads(linear(x, layer["wv"], layer.get("bv")))
        step.tap(f"{name}.q", self.adjacent(q))
        step.tap(f"{name}.k", self.adjacent(k))
        step.tap(f"{name}.v", v.transpose(0, 1))

        q, k, v = self.positioned(q, k, v, i, step)
        step.tap(f"{name}.q_rot", self.adjacent(q))
        step.tap(f"{name}.k_rot", self.adjacent(k))

        keys, values = self.remembered(k, v, i, step)
        heads = self.attended(q, keys, values, name, step)  # (H, L, hd)
        if "invented-heads-gated" in self.bugs:
            heads = heads * heads.sigmoid()
        merged = heads.transpose(0, 1).reshape(L, -1)
        if "heads-not-transposed" in self.bugs:
            merged = heads.reshape(L, -1)
        step.tap(f"{name}.heads", merged.reshape(L, len(heads), -1))
        out = linear(merged, layer["wo"], layer.get("bo"))
        if "invented-attention-halved-again" in self.bugs:
            out = out / 2
        step.tap(f"{name}.attn_out", out)
        return out

    def heads(self, x: Tensor) -> Tensor:
        """(L, H · hd) to (H, L, hd)."""
        return x.reshape(len(x), -1, self.config["head_dim"]).transpose(0, 1)

    def positioned(
        self, q: Tensor, k: Tensor, v: Tensor, i: int, step: Step
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotate queries and keys by their positions."""
        cos, sin = cos_sin(self.config, self.positions(q.shape[1], i, step), self.wide, self.bugs)
        if "scale-twice" in self.bugs:
            q = q / math.sqrt(q.shape[-1])
        if "rope-missing" in self.bugs:
            return q, k, v
        if "rope-on-v" in self.bugs:  # whose pairs are adjacent: nothing has re-ordered them
            turned = rotate(v[..., self.order], cos, sin, self.bugs)
            v = turned[..., torch.argsort(self.order)]
        if "rope-k-only" not in self.bugs:
            q = rotate(q, cos, sin, self.bugs)
        if "rope-q-only" not in self.bugs:
            k = rotate(k, cos, sin, self.bugs)
        return q, k, v

    def positions(self, L: int, i: int, step: Step) -> Tensor:
        """The positions of a chunk."""
        positions = torch.arange(step.start, step.start + L)
        if "invented-positions-halved" in self.bugs:
            return positions / 2
        if not step.decode:
            return positions
        if {"decode-position-plus-1", "decode-position-plus-1-gap"} & self.bugs:
            return positions + 1
        if "decode-position-minus-1" in self.bugs:
            return positions - 1
        if "left-padding-decode-positions" in self.bugs:
            return positions + 3
        if "decode-position-zero" in self.bugs:
            return positions * 0
        if "decode-position-doubled" in self.bugs:
            return positions + step.prompt_length
        if "decode-later-layers-plus-1" in self.bugs and i > 0:
            return positions + 1
        return positions

    def remembered(self, k: Tensor, v: Tensor, i: int, step: Step) -> tuple[Tensor, Tensor]:
        """Append to the cache; return what the chunk attends to: (K, S, hd) twice."""
        past = self.cache.get(i)
        if past is None:
            self.cache[i] = k, v
            return k, v
        old_k, old_v = past
        if "decode-position-plus-1-gap" in self.bugs and step.start == step.prompt_length:
            gap = torch.zeros_like(old_k[:, :1])
            old_k, old_v = torch.cat([old_k, gap], 1), torch.cat([old_v, gap], 1)
        if "cache-prompt-end-lost" in self.bugs and step.start == step.prompt_length:
            old_k, old_v = old_k[:, :-1], old_v[:, :-1]
        now = torch.cat([old_k, k], 1), torch.cat([old_v, v], 1)
        self.cache[i] = now
        if "cache-misses-self" in self.bugs and step.decode:
            return old_k, old_v
        return now

    def attended(self, q: Tensor, k: Tensor, v: Tensor, name: str, step: Step) -> Tensor:
        """softmax(q kᵀ / √hd) v, each query over the keys before it: (H, L, hd)."""
        H, L, S = len(q), q.shape[1], k.shape[1]
        v = repeated(v, H, self.bugs)
        k = repeated(
            k, H, self.bugs | {"gqa-tiled"} if "gqa-tiled-keys" in self.bugs else self.bugs
        )
        scores = q @ k.transpose(1, 2) * score_scale(self.config, self.bugs)
        if "invented-score-softcap" in self.bugs:
            scores = 2 * torch.tanh(scores / 2)
        if "invented-alibi" in self.bugs:
            behind = torch.arange(S)[None] - torch.arange(S - L, S)[:, None]
            scores = scores + behind * 0.1
        start = S - 1 if step.decode else step.start
        seen = visible(start, L, S, self.bugs)
        if "window" in self.bugs:
            seen = seen & (torch.arange(S) > start + torch.arange(L)[:, None] - self.window)
        probs = probabilities(scores, seen, self.wide, self.bugs)
        step.tap(f"{name}.scores", scores)
        step.tap(f"{name}.probs", probs)
        return probs @ v
