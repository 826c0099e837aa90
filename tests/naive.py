"""The whole Llama a second time, in plain Python: floats, lists and loops, and no NumPy.

It shares no code with the package and takes no short cut: no cache, no blocks, no groups folded
into a matrix; a pair is turned as a complex number. Slow, and easy to believe. From the config it
reads values only.
"""

import cmath
import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy_llama.config import LlamaConfig

Vector = list[float]
Matrix = list[list[float]]


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def add(a: Vector, b: Vector) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def affine(x: Vector, w: Matrix, b: Vector | None) -> Vector:
    """One output for each row of w."""
    y = [dot(row, x) for row in w]
    return y if b is None else add(y, b)


def root_mean_square(x: Vector, eps: float) -> float:
    return math.sqrt(math.fsum(value * value for value in x) / len(x) + eps)


def normalise(x: Vector, gain: Vector, eps: float) -> Vector:
    size = root_mean_square(x, eps)
    return [value / size * g for value, g in zip(x, gain, strict=True)]


def silu(z: float) -> float:
    """z · sigmoid(z), the sigmoid through tanh, which cannot overflow."""
    return z * 0.5 * (1 + math.tanh(z / 2))


def soft_maximum(scores: Vector) -> Vector:
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = math.fsum(powers)
    return [power / total for power in powers]


def llama3_frequency(f: float, config: LlamaConfig) -> float:
    """By wavelength, as the model's authors published it."""
    scaling = config.rope_scaling
    context = scaling.original_context or config.max_context
    wavelength = 2 * math.pi / f
    if wavelength < context / scaling.high_freq_factor:
        return f
    if wavelength > context / scaling.low_freq_factor:
        return f / scaling.factor
    share = context / wavelength - scaling.low_freq_factor
    share /= scaling.high_freq_factor - scaling.low_freq_factor
    return (1 - share) * f / scaling.factor + share * f


def yarn_frequency(f: float, pair: int, config: LlamaConfig) -> float:
    """A blend between the pair that turns beta_fast times in the context and that of beta_slow."""
    scaling, half = config.rope_scaling, config.head_dim / 2
    context = scaling.original_context or config.max_context
    start = half * math.log(context / (2 * math.pi * scaling.beta_fast), config.rope_theta)
    stop = half * math.log(context / (2 * math.pi * scaling.beta_slow), config.rope_theta)
    if scaling.truncate:
        start, stop = math.floor(start), math.ceil(stop)
    start, stop = max(start, 0), min(stop, config.head_dim - 1)
    if start == stop:
        stop += 0.001
    slowed = min(max((pair - start) / (stop - start), 0.0), 1.0)
    return f * (1 - slowed) + f / scaling.factor * slowed


def frequency(pair: int, length: int, config: LlamaConfig) -> float:
    """Radians per position of one pair, in a sequence of `length` tokens."""
    scaling, theta, hd = config.rope_scaling, config.rope_theta, config.head_dim
    if scaling.type == "dynamic" and length > config.max_context:
        excess = scaling.factor * length / config.max_context - scaling.factor + 1
        theta = theta * math.pow(excess, hd / (hd - 2))
    f = 1 / math.pow(theta, 2 * pair / hd)
    if scaling.type == "linear":
        return f / scaling.factor
    if scaling.type == "llama3":
        return llama3_frequency(f, config)
    if scaling.type == "yarn":
        return yarn_frequency(f, pair, config)
    return f


def stretch(config: LlamaConfig) -> float:
    """The factor on every rotated query and key: 1, but for YaRN."""
    scaling = config.rope_scaling
    if scaling.type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    log = math.log(scaling.factor) if scaling.factor > 1 else 0.0
    if scaling.mscale is not None and scaling.mscale_all_dim is not None:
        return (1 + 0.1 * scaling.mscale * log) / (1 + 0.1 * scaling.mscale_all_dim * log)
    return 1 + 0.1 * log


def turn(head: Vector, position: int, length: int, config: LlamaConfig) -> Vector:
    """Each pair of features is a complex number, multiplied by e^(i · angle)."""
    out = []
    for pair in range(config.head_dim // 2):
        z = complex(head[2 * pair], head[2 * pair + 1])
        z *= stretch(config) * cmath.exp(1j * position * frequency(pair, length, config))
        out += [z.real, z.imag]
    return out


def heads_of(x: Vector, hd: int) -> Matrix:
    return [x[start : start + hd] for start in range(0, len(x), hd)]


def attention(stream: Matrix, layer: Mapping[str, Any], config: LlamaConfig) -> dict[str, Any]:
    """Every intermediate by its name. Head h of position i reads head h // G of 0 … i."""
    hd, length = config.head_dim, len(stream)
    group = config.n_heads // config.n_kv_heads
    positions, heads = range(length), range(config.n_heads)
    q = [heads_of(affine(x, layer["wq"], layer.get("bq")), hd) for x in stream]
    k = [heads_of(affine(x, layer["wk"], layer.get("bk")), hd) for x in stream]
    v = [heads_of(affine(x, layer["wv"], layer.get("bv")), hd) for x in stream]
    q_rot = [[turn(head, i, length, config) for head in q[i]] for i in positions]
    k_rot = [[turn(head, i, length, config) for head in k[i]] for i in positions]

    def score(h: int, i: int, j: int) -> float:
        return dot(q_rot[i][h], k_rot[j][h // group]) / math.sqrt(hd)

    def average(h: int, i: int, c: int) -> float:
        return math.fsum(probs[h][i][j] * v[j][h // group][c] for j in range(i + 1))

    scores = [[[score(h, i, j) for j in positions] for i in positions] for h in heads]
    probs = [
        [soft_maximum(scores[h][i][: i + 1]) + [0.0] * (length - 1 - i) for i in positions]
        for h in heads
    ]
    mixed = [[[average(h, i, c) for c in range(hd)] for h in heads] for i in positions]
    out = [affine([y for head in row for y in head], layer["wo"], layer.get("bo")) for row in mixed]
    return {"q": q, "k": k, "v": v, "q_rot": q_rot, "k_rot": k_rot} | {
        "scores": scores,
        "probs": probs,
        "heads": mixed,
        "attn_out": out,
    }


def feed_forward(stream: Matrix, layer: Mapping[str, Any]) -> dict[str, Matrix]:
    """Every intermediate by its name."""
    gate = [affine(x, layer["w_gate"], layer.get("b_gate")) for x in stream]
    up = [affine(x, layer["w_up"], layer.get("b_up")) for x in stream]
    hidden = [
        [silu(g) * u for g, u in zip(*rows, strict=True)] for rows in zip(gate, up, strict=True)
    ]
    out = [affine(x, layer["w_down"], layer.get("b_down")) for x in hidden]
    return {"gate": gate, "up": up, "swiglu": hidden, "ffn_out": out}


def norm(stream: Matrix, gain: Vector, eps: float, name: str) -> dict[str, Any]:
    """Every intermediate by its name."""
    sizes = [root_mean_square(x, eps) for x in stream]
    return {f"{name}.rms": sizes, name: [normalise(x, gain, eps) for x in stream]}


def block(stream: Matrix, layer: Mapping[str, Any], config: LlamaConfig) -> dict[str, Any]:
    """Every intermediate by its name."""
    seen = norm(stream, layer["attn_norm"], config.norm_eps, "attn_norm")
    seen |= attention(seen["attn_norm"], layer, config)
    seen["resid_mid"] = [add(x, y) for x, y in zip(stream, seen["attn_out"], strict=True)]
    seen |= norm(seen["resid_mid"], layer["ffn_norm"], config.norm_eps, "ffn_norm")
    seen |= feed_forward(seen["ffn_norm"], layer)
    after = [add(x, y) for x, y in zip(seen["resid_mid"], seen["ffn_out"], strict=True)]
    return seen | {"resid_post": after}


def forward(
    config: LlamaConfig, tensors: Mapping[str, Any], tokens: Sequence[int]
) -> dict[str, Any]:
    """Every intermediate by its name. `tensors`: the NumPy arrays of `random_tensors`, by name."""
    lists = {name: array.tolist() for name, array in tensors.items()}
    stream = [lists["tok_embeddings"][token] for token in tokens]
    seen: dict[str, Any] = {"embed": stream}
    for i in range(config.n_layers):
        prefix = f"layers.{i}."
        layer = {n.removeprefix(prefix): t for n, t in lists.items() if n.startswith(prefix)}
        inside = block(stream, layer, config)
        seen |= {prefix + name: value for name, value in inside.items()}
        stream = inside["resid_post"]
    seen |= norm(stream, lists["final_norm"], config.norm_eps, "final_norm")
    head = lists["tok_embeddings" if config.tied_head else "lm_head"]
    return seen | {"logits": [affine(x, head, None) for x in seen["final_norm"]]}
