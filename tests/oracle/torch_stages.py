"""The stages of the PyTorch Llama, each with the ways in which a person gets it wrong.

Nothing here is shared with numpy_llama: this file is what numpy_llama is judged by. `bugs` holds
the ids of the faults to commit; without any, each stage does what transformers does.

    L new tokens   S cached + new positions   D dim
    H query heads  K key/value heads          hd head_dim
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Bugs = frozenset[str]


def norm_epsilon(eps: float, bugs: Bugs) -> float:
    """ε of the norm."""
    if "norm-eps-1e-5" in bugs:
        return 1e-5
    if "norm-eps-1e-6" in bugs:
        return 1e-6
    if "norm-eps-zero" in bugs:
        return 0.0
    return 1e-3 if "invented-eps-1e-3" in bugs else eps


def mean_square(x: Tensor, bugs: Bugs) -> Tensor:
    """What stands under the root, before ε: (L, D) to (L, 1)."""
    if "norm-sum-not-mean" in bugs:
        return (x * x).sum(-1, keepdim=True)
    if "invented-norm-mean-absolute" in bugs:
        return x.abs().mean(-1, keepdim=True) ** 2
    return (x * x).mean(-1, keepdim=True)


def reciprocal_root(x: Tensor) -> Tensor:
    """1/√x. PyTorch on a CPU rounds a narrow root before it inverts it; here, as on a GPU, not."""
    narrow = x.dtype in (torch.bfloat16, torch.float16)
    return torch.rsqrt(x.float()).to(x.dtype) if narrow else torch.rsqrt(x)


def rms_norm(
    x: Tensor, gain: Tensor, eps: float, wide_dtype: torch.dtype, bugs: Bugs
) -> tuple[Tensor, Tensor]:
    """The normalised rows (L, D), and the statistic that they were divided by (L,)."""
    eps = norm_epsilon(eps, bugs)
    if "norm-bf16" in bugs:
        wide_dtype = torch.bfloat16
    if "norm-float16" in bugs:
        wide_dtype = torch.float16
    wide = x.to(wide_dtype)
    if "norm-mean-centred" in bugs:
        wide = wide - wide.mean(-1, keepdim=True)

    inverse = reciprocal_root(mean_square(wide, bugs) + eps)
    if "norm-variance" in bugs:
        inverse = reciprocal_root(wide.var(-1, keepdim=True, correction=0) + eps)
    if "norm-eps-outside-sqrt" in bugs:
        inverse = 1 / (mean_square(wide, bugs).sqrt() + eps)
    if "norm-inverted" in bugs:
        inverse = 1 / inverse
    if "invented-norm-clamped" in bugs:
        inverse = inverse.clamp(max=10)
    y = wide * inverse
    if "norm-twice" in bugs:
        y = y * reciprocal_root(mean_square(y, bugs) + eps)

    y = y.to(x.dtype)
    if "norm-one-plus-weight" in bugs:
        y = y * (1 + gain)
    elif "norm-weight-missing" not in bugs:
        y = y * gain
    if "invented-gain-squared" in bugs:
        y = y * gain
    return y, 1 / inverse[:, 0].to(x.dtype)


def inverse_frequencies(config: dict[str, Any], wide: torch.dtype, bugs: Bugs) -> Tensor:
    """Radians per position of each pair: (hd/2,), in the dtype `wide`."""
    hd, theta = config["head_dim"], config["rope_theta"]
    if "rope-theta-1e4" in bugs:
        theta = 10000.0
    if "rope-theta-5e5" in bugs:
        theta = 500000.0
    if "rope-theta-1e6" in bugs:
        theta = 1000000.0
    if "invented-theta-doubled" in bugs:
        theta *= 2

    step = 1 if "rope-exponent" in bugs else 2
    pairs = torch.arange(0, step * (hd // 2), step, dtype=torch.int64).to(wide)
    if "rope-dim" in bugs:
        hd = config["dim"]
    if "rope-head-dim-assumed" in bugs:
        hd = config["dim"] / config["n_heads"]
    f = 1.0 / (theta ** (pairs / hd))
    if "rope-scaling-missing" not in bugs:
        if config["rope_scaling"]["type"] == "yarn" and "rope-scaling-linear" not in bugs:
            f = extended_by_yarn(f, config, bugs)
        else:
            f = scaled(f, config["rope_scaling"], config["max_context"], bugs)
    return f.bfloat16().to(wide) if "rope-inv-freq-bf16" in bugs else f


def scaled(f: Tensor, scaling: dict[str, Any], max_context: int, bugs: Bugs) -> Tensor:
    """The frequencies after the extension of the context: none, linear, or Llama 3.1's."""
    if scaling["type"] == "default":
        return f
    if scaling["type"] == "linear" or "rope-scaling-linear" in bugs:
        return f / scaling["factor"]
    if scaling["type"] != "llama3":
        raise NotImplementedError(scaling["type"])

    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    whole = "rope-original-context-missing" in bugs
    old_context = max_context if whole else scaling["original_context"] or max_context
    wavelength = 2 * math.pi / f
    turns = old_context / wavelength
    if "rope-scaling-2pi" in bugs:
        turns = old_context * f / 2 * math.pi  # C reads this from the left: (… / 2) · π
        wavelength = old_context / turns
    smooth = (turns - low) / (high - low)
    blend = (1 - smooth) * f / scaling["factor"] + smooth * f
    slowed = torch.where(wavelength > old_context / low, f / scaling["factor"], f)
    between = (wavelength <= old_context / low) & (wavelength >= old_context / high)
    return torch.where(between, blend, slowed)


def extended_by_yarn(f: Tensor, config: dict[str, Any], bugs: Bugs) -> Tensor:
    """YaRN's frequencies: a pair that turns 32 times in the old context stays, one that turns
    once is slowed, and between them the share goes by the number of the pair."""
    hd, scaling = config["head_dim"], config["rope_scaling"]
    radians = [2 * math.pi * turns for turns in (scaling["beta_fast"], scaling["beta_slow"])]
    whole = "rope-original-context-missing" in bugs
    old_context = config["max_context"] if whole else scaling["original_context"]
    pairs = [math.log(old_context / r) / math.log(config["rope_theta"]) * hd / 2 for r in radians]
    first, last = max(math.floor(pairs[0]), 0), min(math.ceil(pairs[1]), hd - 1)
    slowed = [min(max((i - first) / (last - first), 0.0), 1.0) for i in range(hd // 2)]
    if "rope-yarn-ramp-reversed" in bugs:
        slowed = [1 - share for share in slowed]
    share = torch.tensor(slowed, dtype=f.dtype)
    return torch.lerp(f, f / scaling["factor"], share)


def cos_sin(
    config: dict[str, Any], positions: Tensor, wide: torch.dtype, bugs: Bugs
) -> tuple[Tensor, Tensor]:
    """cos and sin of every angle, written twice: (L, hd), for features i and i + hd/2."""
    if "rope-from-1" in bugs:
        positions = positions + 1
    if "rope-positions-bf16" in bugs:
        positions = positions.bfloat16()
    angle = positions.to(wide)[:, None] * inverse_frequencies(config, wide, bugs)
    angle = torch.cat([angle, angle], -1)
    cos, sin = angle.cos(), angle.sin()
    if config["rope_scaling"]["type"] == "yarn" and "rope-scaling-missing" not in bugs:
        sharper = 1 + 0.1 * math.log(config["rope_scaling"]["factor"])
        cos, sin = cos * sharper, sin * sharper
    if "rope-backwards" in bugs:
        sin = -sin
    if "invented-last-pair-not-rotated" in bugs:
        last = [config["head_dim"] // 2 - 1, config["head_dim"] - 1]
        cos[:, last], sin[:, last] = 1.0, 0.0
    if "rope-table-bf16" in bugs:
        cos, sin = cos.bfloat16(), sin.bfloat16()
    return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor, bugs: Bugs) -> Tensor:
    """Rotate feature i of each head with feature i + hd/2: (H, L, hd)."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    if "rope-table-half-split" in bugs:  # turns neighbours, and undoes that of the weights
        pairs = torch.stack(x.chunk(2, -1), -1).flatten(-2)
        crossed = torch.stack([-pairs[..., 1::2], pairs[..., 0::2]], -1).flatten(-2)
        turned = pairs * cos + crossed * sin
        return torch.cat([turned[..., 0::2], turned[..., 1::2]], -1)
    if "rope-adjacent" in bugs:
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = cos.chunk(2, -1)[0], sin.chunk(2, -1)[0]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def score_scale(config: dict[str, Any], bugs: Bugs) -> float:
    """What q·k is multiplied by."""
    hd = config["head_dim"]
    if "scale-missing" in bugs:
        return 1.0
    if "scale-dim" in bugs:
        return 1 / math.sqrt(config["dim"])
    if "scale-head-dim" in bugs:
        return 1 / hd
    if "scale-heads" in bugs:
        return 1 / math.sqrt(config["n_heads"])
    if "scale-head-dim-assumed" in bugs:
        return 1 / math.sqrt(config["dim"] / config["n_heads"])
    return 1 / math.sqrt(hd)


def visible(start: int, L: int, S: int, bugs: Bugs) -> Tensor:
    """Which keys each query may see: (L, S), True where it may."""
    query = torch.arange(start, start + L)[:, None]
    key = torch.arange(S)[None, :]
    if "mask-upper-left-decode" in bugs or ("mask-upper-left" in bugs and L > 1):
        query = query - start  # as if the chunk were the whole sequence
    if "mask-missing" in bugs or ("mask-skipped-with-cache" in bugs and start > 0):
        return torch.ones(L, S, dtype=torch.bool)
    if "mask-one-ahead" in bugs:
        return key <= query + 1
    if "mask-not-self" in bugs:
        return key < query
    seen = key <= query
    return seen & (query - key < 4096) if "window-4096" in bugs else seen


def probabilities(scores: Tensor, seen: Tensor, wide: torch.dtype, bugs: Bugs) -> Tensor:
    """Softmax of the scores that may be seen, in the dtype `wide`: (H, L, S)."""
    masked = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).to(wide)
    if "invented-softmax-plus-one" in bugs:
        nothing = torch.zeros_like(masked[..., :1])  # a key of score 0 and no value
        return torch.softmax(torch.cat([masked, nothing], -1), -1)[..., :-1].to(scores.dtype)
    if "invented-sigmoid-for-softmax" in bugs:
        return masked.sigmoid().to(scores.dtype)
    if "invented-best-keys-only" in bugs:
        fourth = masked.sort(-1, descending=True).values[..., :4][..., -1:]
        masked = masked.masked_fill(masked < fourth, torch.finfo(scores.dtype).min)
    axis = -2 if "softmax-over-queries" in bugs else -1
    return torch.softmax(masked, axis).to(scores.dtype)


def repeated(x: Tensor, H: int, bugs: Bugs) -> Tensor:
    """Give each query head its key/value head: (K, S, hd) to (H, S, hd)."""
    group = H // len(x)
    if "gqa-tiled" in bugs:
        return x.repeat(group, 1, 1)  # 0 1 0 1, where it should be 0 0 1 1
    return x.repeat_interleave(group, 0)


def activation(gate: Tensor, up: Tensor, bugs: Bugs) -> Tensor:
    """SwiGLU: (L, F) and (L, F) to (L, F)."""
    if "gate-up-swapped" in bugs:
        gate, up = up, gate
    if "silu-of-product" in bugs:
        return functional.silu(gate * up)
    if "gelu-tanh" in bugs:
        return functional.gelu(gate, approximate="tanh") * up
    if "gelu-erf" in bugs:
        return functional.gelu(gate) * up
    if "silu-identity" in bugs:
        open_ = gate.sigmoid()
        return (gate * open_ + (1 - open_) * gate) * up
    if "relu" in bugs:
        return gate.relu() * up
    if "sigmoid" in bugs:
        return gate.sigmoid() * up
    if "gate-missing" in bugs:
        return up
    if "up-missing" in bugs:
        return functional.silu(gate)
    if "invented-tanh-gate" in bugs:
        return gate.tanh() * up
    if "invented-up-plus-one" in bugs:
        return functional.silu(gate) * (up + 1)
    return functional.silu(gate) * up
