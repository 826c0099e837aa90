"""A Llama in float32, token by token, that shares no code with the package; parts can be narrow.

Plain RoPE, adjacent pairs, turned as complex numbers. Each part that may be narrow is a function
of arrays, and does nothing by default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from numpy_llama.config import LlamaConfig

Narrow = Callable[[np.ndarray], np.ndarray]


def as_it_is(x: np.ndarray) -> np.ndarray:
    return x


def to_bits(x: np.ndarray, dropped: int) -> np.ndarray:
    """float32 without its last bits, to the nearest: 16 of them make bfloat16."""
    whole = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    odd = (whole >> np.uint64(dropped)) & np.uint64(1)
    whole += np.uint64((1 << (dropped - 1)) - 1) + odd
    return ((whole >> np.uint64(dropped)) << np.uint64(dropped)).astype(np.uint32).view(np.float32)


def bfloat16(x: np.ndarray) -> np.ndarray:
    return to_bits(x, 16)


def float16(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def eight_bits(x: np.ndarray, size: int = 0) -> np.ndarray:
    """Whole numbers up to 127 times a scale, for each vector or for each `size` of its values."""
    out = np.empty_like(x, np.float32)
    flat, into = x.reshape(-1, size or x.shape[-1]), out.reshape(-1, size or x.shape[-1])
    for row, to in zip(flat, into, strict=True):
        scale = np.float32(max(np.abs(row).max(), 1e-30) / np.float32(127))
        to[:] = np.round(row / scale).astype(np.int8).astype(np.float32) * scale
    return out


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


Attend = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def attend_in_half(q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One head, of which every product has two factors in float16."""
    scores = np.array([float16(q) @ float16(key) for key in keys]) / np.float32(np.sqrt(len(q)))
    return float16(softmax(scores)) @ float16(values)


def flash_in_half(q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One head, key after key, what was summed so far in float16."""
    highest, total, summed = -np.inf, np.float32(0), np.zeros(len(q), np.float16)
    for key, value in zip(float16(keys), float16(values), strict=True):
        score = float16(q) @ key / np.float32(np.sqrt(len(q)))
        if score > highest:
            shrink = np.exp(np.float32(highest - score))
            summed, total = (summed.astype(np.float32) * shrink).astype(np.float16), total * shrink
            highest = score
        weight = np.exp(score - highest, dtype=np.float32)
        summed = (summed.astype(np.float32) + weight * value).astype(np.float16)
        total += weight
    return summed.astype(np.float32) / total


@dataclass(frozen=True)
class Parts:
    """What is done in fewer bits."""

    cached: Narrow = as_it_is  # a head's key or value, when it is stored
    softmax: Narrow = softmax
    attend: Attend | None = None  # a head, instead of what these two do
    normed: Narrow = as_it_is  # what a norm is given, and what it gives before the gain
    stream: Narrow = as_it_is  # the residual stream, each time that something was added
    fed: Narrow = as_it_is  # what a matrix is multiplied by


def logits_of(
    config: LlamaConfig,
    tensors: Mapping[str, np.ndarray],
    tokens: Sequence[int],
    parts: Parts | None = None,
) -> np.ndarray:
    """The logits after each token: (T, V)."""
    p, w = parts or Parts(), {n: np.asarray(t, np.float32) for n, t in tensors.items()}
    hd, K, G = config.head_dim, config.n_kv_heads, config.n_heads // config.n_kv_heads
    cache: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(config.n_layers)]
    turns = config.rope_theta ** (-np.arange(0, hd, 2) / hd)

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        x = p.normed(x)
        mean = np.float32(np.dot(x, x) / np.float32(len(x)) + np.float32(config.norm_eps))
        return p.normed(x / np.sqrt(mean)) * gain

    def turned(heads: np.ndarray, position: int) -> np.ndarray:
        angle = np.exp(1j * position * turns).astype(np.complex64)
        return (np.ascontiguousarray(heads).view(np.complex64) * angle).view(np.float32)

    rows = []
    for position, token in enumerate(tokens):
        x = p.stream(w["tok_embeddings"][token])
        for i, seen in enumerate(cache):
            layer = {name.rpartition(".")[2]: t for name, t in w.items() if f"layers.{i}." in name}
            h = p.fed(norm(x, layer["attn_norm"]))
            q = turned((layer["wq"] @ h).reshape(-1, hd), position)
            k = turned((layer["wk"] @ h).reshape(-1, hd), position)
            seen.append((p.cached(k), p.cached((layer["wv"] @ h).reshape(-1, hd))))
            heads = []
            for head in range(K * G):
                keys = np.stack([pair[0][head // G] for pair in seen])
                values = np.stack([pair[1][head // G] for pair in seen])
                if p.attend:
                    heads.append(p.attend(q[head], keys, values))
                    continue
                heads.append(p.softmax(keys @ q[head] / np.float32(np.sqrt(hd))) @ values)
            x = p.stream(x + layer["wo"] @ p.fed(np.concatenate(heads)))
            h = p.fed(norm(x, layer["ffn_norm"]))
            gate, up = layer["w_gate"] @ h, layer["w_up"] @ h
            x = p.stream(x + layer["w_down"] @ p.fed(gate / (1 + np.exp(-gate)) * up))
        head = w["tok_embeddings" if config.tied_head else "lm_head"]
        rows.append(head @ p.fed(norm(x, w["final_norm"])))
    return np.array(rows, np.float32)


def permuted(
    tensors: Mapping[str, np.ndarray], D: np.ndarray, F: np.ndarray
) -> dict[str, np.ndarray]:
    """The same model with the features of its stream, and of its hidden layers, in other orders."""
    columns = {"wq": D, "wk": D, "wv": D, "w_gate": D, "w_up": D, "w_down": F, "lm_head": D,
               "tok_embeddings": D}  # fmt: skip
    rows = {"wo": D, "bo": D, "w_down": D, "b_down": D, "attn_norm": D, "ffn_norm": D,
            "final_norm": D, "w_gate": F, "w_up": F, "b_gate": F, "b_up": F}  # fmt: skip
    out = {}
    for name, tensor in tensors.items():
        part = name.rpartition(".")[2]
        tensor = tensor[rows[part]] if part in rows else tensor
        out[name] = tensor[..., columns[part]] if part in columns else tensor
    return out
