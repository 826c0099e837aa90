"""What the chapters state that follows from configs, counts and pairs alone: no model is needed."""

import math

import numpy as np

from docs.learn.figures import costs, seen, small, variants
from numpy_llama.feed_forward import swish
from numpy_llama.norm import rms
from numpy_llama.rope import base_frequencies
from tests.chapters.chapters import Stated

BIG, SMOLLM2 = costs.FAMILY["Llama 2 70B"], costs.SMOLLM2
LLAMA_7B, LLAMA_8B = costs.FAMILY["Llama 1 7B"], costs.FAMILY["Llama 3 8B"]
TABLE = SMOLLM2.vocab_size * SMOLLM2.dim
SLOWEST = float(base_frequencies(1e4, 128)[-1])
GB, GIB, KIB = 1e9, 2**30, 1024


def kib(config, kv_heads=None):
    return costs.cache_bytes(config, kv_heads) / KIB


def gflop(T, cached):
    return costs.generation_flops(SMOLLM2, T, cached) / 1e9


def times_less(T):
    return gflop(T, False) / gflop(T, True)


def prefill_intensity(L):
    return costs.forward_flops(SMOLLM2, L, L) / (2 * costs.parameters(SMOLLM2))


def eps_effect(size):
    """By how many per cent the two ε change the norm of a row of this RMS."""
    row = np.full((1, 64), size)
    return float(rms(row, 1e-5)[0] / rms(row, 1e-6)[0] - 1) * 100


def bound(*distances):
    return [float(b) for b in seen.decay_bound(1e4, 128, np.array(distances))]


def falling():
    return float((np.diff(seen.decay_bound(1e4, 128, np.arange(4097))) < 0).mean()) * 100


def memory(L):
    return [peak / 1e6 for peak in small.attention_memory(L)]


def sigmoid(z):
    return float(variants.sigmoid(z))


def normed(*row):
    x = np.array([row])
    return [float(v) for v in (x / rms(x, 0.0)[:, None])[0]]


def roots_at_2():
    return [p**0.5 for p in (0.5, 0.25, 0.15, 0.1)]


def mean_square(c):
    row = np.array([-1.0, 0.0, 1.0]) + c
    return [float(row.var()), float(np.square(row).mean())]


def least_swish():
    z = np.linspace(-2, 0, 200_001)
    at = swish(z).argmin()
    return [float(z[at]), float(swish(z)[at])]


def params_of(config):
    c = config
    attention, network = 4 * c.dim * c.dim, 3 * c.dim * c.hidden_dim
    return attention, network, attention + network + 2 * c.dim


SMALL = [
    Stated(0, "× 4,096: {} numbers", lambda: params_of(LLAMA_7B)[0]),
    Stated(0, "× 11,008: {}. Two norms", lambda: params_of(LLAMA_7B)[1]),
    Stated(0, "That is {} in a block", lambda: params_of(LLAMA_7B)[2]),
    Stated(0, "(K = {} of H = {})", lambda: [BIG.n_kv_heads, BIG.n_heads]),
    Stated(0, "among {} query heads each", lambda: BIG.group_size),
    Stated(0, "{} KiB a token for 70B", lambda: kib(BIG)),
    Stated(0, "where 13B needs {}.", lambda: kib(costs.FAMILY["Llama 2 13B"])),
    Stated(0, "from {} to {} positions", lambda: [LLAMA_7B.max_context, BIG.max_context]),
    Stated(0, "{} · 10¹² where", lambda: costs.TRAINED_ON["Llama 2 70B"]),
    Stated(
        0,
        "Llama 1 had {} to {} · 10¹²",
        lambda: [costs.TRAINED_ON["Llama 1 7B"], costs.TRAINED_ON["Llama 1 65B"]],
    ),
    Stated(1, "the table holds {} of its {} numbers", lambda: [TABLE, costs.parameters(SMOLLM2)]),
    Stated(1, "{} for the small model that is used here", lambda: SMOLLM2.vocab_size),
    Stated(1, "{} tokens for Llama 3", lambda: LLAMA_8B.vocab_size),
    Stated(1, "about {} for Llama 1 and 2", lambda: LLAMA_7B.vocab_size),
    Stated(2, "their mean is {}, and", lambda: 12.5),
    Stated(2, "the root of that is {}:", lambda: 12.5**0.5),
    Stated(2, "(3, 4) / 3.5355 = ({}, {})", lambda: normed(3.0, 4.0)),
    Stated(2, "whose RMS is 1 the two differ by {} %", lambda: eps_effect(1.0)),
    Stated(2, "for one of 0.01 by {} %", lambda: eps_effect(0.01)),
    Stated(2, "(-1, 0, 1) + c is {} whatever c is", lambda: mean_square(7)[0]),
    Stated(2, "goes from {} to {}.", lambda: [mean_square(0)[1], mean_square(10)[1]]),
    Stated(2, "our RMSNorm makes {} steps", lambda: small.norm_steps(4096)[0]["elementwise"]),
    Stated(2, "LayerNorm makes {} and", lambda: small.norm_steps(4096)[1]["elementwise"]),
    Stated(2, "1/576, which is {} %", lambda: 100 / SMOLLM2.dim),
    Stated(3, "by one radian, becomes ({}, {})", lambda: [math.cos(1), math.sin(1)]),
    Stated(3, "{} numbers, of which {} are not", lambda: [64 * 64, 32 * 4]),
    Stated(3, "the distances, {} pairs of them", lambda: 1000 * 1000),
    Stated(
        3,
        "It is {} at distance 1, {} at 256, {} at 2,048 and {}, more again",
        lambda: bound(1, 256, 2048, 4096),
    ),
    Stated(3, "it falls at only {} % of the steps", falling),
    Stated(4, "for the second are 0 and {}, which is ln 3", lambda: math.log(3)),
    Stated(4, "{} · 10 + {} · 20 = {}", lambda: [0.25, 0.75, 0.25 * 10 + 0.75 * 20]),
    Stated(5, "SmolLM2 needs {} GFLOP", lambda: gflop(128, False)),
    Stated(5, "with a cache {}, which is {} times", lambda: [gflop(128, True), times_less(128)]),
    Stated(
        5, "At 8 tokens it is {} times, at 32 tokens {}", lambda: [times_less(8), times_less(32)]
    ),
    Stated(5, "SmolLM2 keeps {} KiB a token", lambda: kib(SMOLLM2)),
    Stated(5, "Llama 2 70B {} KiB, so", lambda: kib(BIG)),
    Stated(5, "of the latter are {} GiB", lambda: 4096 * costs.cache_bytes(BIG) / GIB),
    Stated(5, "At 32 tokens there are {} times fewer", lambda: times_less(32)),
    Stated(
        6, "H = {} and K = {}, so G = {}", lambda: [32, LLAMA_8B.n_kv_heads, LLAMA_8B.group_size]
    ),
    Stated(6, "{} operations in the time of one byte", lambda: 312 / 2),
    Stated(6, "SmolLM2 makes {} operations for each byte", lambda: prefill_intensity(128)),
    Stated(6, "decoding with a cache, {}. The cache", lambda: prefill_intensity(1)),
    Stated(6, "{} GB of weights", lambda: 2 * costs.parameters(BIG) / GB),
    Stated(6, "4,096 positions {} GB of cache", lambda: 4096 * costs.cache_bytes(BIG) / GB),
    Stated(6, "its intensity is {}. A batch", lambda: costs.step_intensity(BIG, 8, 1, 4096)),
    Stated(6, "32 caches are {} GB", lambda: 32 * 4096 * costs.cache_bytes(BIG, 64) / GB),
    Stated(6, "an intensity of {} with K = 8", lambda: costs.step_intensity(BIG, 8, 32, 4096)),
    Stated(
        6,
        "For one text alone, {}, {}, {}:",
        lambda: [costs.step_intensity(BIG, K, 1, 4096) for K in (64, 8, 1)],
    ),
    Stated(
        6,
        "For 32 texts, {} with K = 64, {} with K = 8, {} with K = 1",
        lambda: [costs.step_intensity(BIG, K, 32, 4096) for K in (64, 8, 1)],
    ),
    Stated(
        6,
        "the intensity is {}, {} and {}: G",
        lambda: [costs.attention_intensity(BIG, K) for K in (64, 8, 1)],
    ),
    Stated(
        6,
        "Llama 2 70B {} KiB as MHA, {} as built, {} as MQA",
        lambda: [kib(BIG, K) for K in (64, 8, 1)],
    ),
    Stated(6, "Llama 3 8B {}, {}, {};", lambda: [kib(LLAMA_8B, K) for K in (32, 8, 1)]),
    Stated(6, "SmolLM2 {}, {}, {}.", lambda: [kib(SMOLLM2, K) for K in (9, 3, 1)]),
    Stated(7, "σ(1) = {}, so swish(1) = {}", lambda: [sigmoid(1), float(swish(np.float64(1)))]),
    Stated(7, "and {} · 4 = {}.", lambda: [sigmoid(1), 4 * sigmoid(1)]),
    Stated(
        7, "σ(4) = {}, swish(4) = {}, times 1 is {}", lambda: [sigmoid(4)] + [4 * sigmoid(4)] * 2
    ),
    Stated(7, "the formula above gave {} and {}", lambda: [4 * sigmoid(1), 4 * sigmoid(4)]),
    Stated(7, "of 4 D are {}, rounded", lambda: 8 * 4096 / 3),
    Stated(7, "a multiple of 256: {},", lambda: LLAMA_7B.hidden_dim),
    Stated(7, "took more: {} in Llama 3 8B, {} · D", lambda: [14336, LLAMA_8B.hidden_dim / 4096]),
    Stated(7, "σ(3) = {}, and", lambda: sigmoid(3)),
    Stated(7, "3 · {} + {} · 3 = 3", lambda: [sigmoid(3), 1 - sigmoid(3)]),
    Stated(7, "it goes from {} to as far", lambda: least_swish()[1]),
    Stated(7, "(near z = {})", lambda: least_swish()[0]),
    Stated(7, "a blind guess among {} tokens", lambda: SMOLLM2.vocab_size),
    Stated(7, "tokens would have {}. *", lambda: math.log(SMOLLM2.vocab_size)),
    Stated(8, "reads a normalised copy, ({}, {})", lambda: normed(1.0, 2.0)),
    Stated(8, "normalised copy of *that*, ({}, {})", lambda: normed(1.5, 1.0)),
    Stated(8, "one more at the very end, {} in SmolLM2", lambda: 2 * SMOLLM2.n_layers + 1),
    Stated(8, "the first place of {}.", lambda: SMOLLM2.vocab_size),
    Stated(9, "becomes its root, {}, {}, {}, {}, and", roots_at_2),
    Stated(9, "become {} and {}. *Top-p", lambda: [0.5 / 0.75, 0.25 / 0.75]),
    Stated(9, "A forward pass gives {} scores", lambda: SMOLLM2.vocab_size),
    Stated(9, "the {} tokens that are not in the picture", lambda: SMOLLM2.vocab_size - 9),
    Stated(10, "the fastest pair turns {} times", lambda: 4096 / (2 * math.pi)),
    Stated(10, "The slowest turns {} radians a position", lambda: SLOWEST),
    Stated(
        10, "are {} radians, {} degrees", lambda: [4096 * SLOWEST, math.degrees(4096 * SLOWEST)]
    ),
    Stated(10, "it stands at {} degrees", lambda: math.degrees(16384 * SLOWEST)),
    Stated(10, "0.1 · ln 4 + 1 = {}", lambda: 0.1 * math.log(4) + 1),
    Stated(10, "slowed most (here {} times)", lambda: 4.0 * 4 - 3),
    Stated(
        10,
        "Llama 2 has {} and Llama 3 {}:",
        lambda: [int(BIG.rope_theta), int(LLAMA_8B.rope_theta)],
    ),
    Stated(10, "its θ is {} from the start", lambda: int(SMOLLM2.rope_theta)),
    Stated(10, "context of {}: its loss", lambda: SMOLLM2.max_context),
    Stated(10, "doubled, {} to {},", lambda: [LLAMA_7B.max_context, BIG.max_context]),
    Stated(
        10,
        "At {} positions the cache of Llama 3.1 405B is {} GiB",
        lambda: [131072, 131072 * costs.cache_bytes(costs.FAMILY["Llama 3.1 405B"]) / GIB],
    ),
    Stated(11, "the variance is {}, the mean square {}", lambda: mean_square(10)),
    Stated(11, "2 · 30 + 1 = {} in", lambda: 2 * SMOLLM2.n_layers + 1),
    Stated(11, "from {} at 2,048 to {} at 4,096", lambda: bound(2048, 4096)),
    Stated(11, "{} vectors for 1,000 tokens. The distances are {},", lambda: [2 * 1000, 1000**2]),
    Stated(11, "SmolLM2 makes {} operations for", lambda: prefill_intensity(128)),
    Stated(11, "and {} in a decode step", lambda: prefill_intensity(1)),
    Stated(11, "70B {} GB of weights", lambda: 2 * costs.parameters(BIG) / GB),
    Stated(11, "and {} GB of keys and values", lambda: 4096 * costs.cache_bytes(BIG) / GB),
    Stated(
        11,
        "makes {} operations a byte where one text makes {}",
        lambda: [costs.step_intensity(BIG, 8, b, 4096) for b in (32, 1)],
    ),
    Stated(
        11,
        "With F = {} in the place of 4 · 4,096 = {} the three hold {} numbers and the two {}:",
        lambda: [11008, 16384, 3 * 4096 * LLAMA_7B.hidden_dim, 2 * 4096 * 4 * 4096],
    ),
    Stated(
        11, "{} KiB of cache a token where 64 heads would need {}", lambda: [kib(BIG), kib(BIG, 64)]
    ),
]

# Memory as Python counts it: the same to about a per cent on all machines.
MEMORY = [
    Stated(4, "it holds {} MB at its peak", lambda: memory(1024)[0]),
    Stated(4, "at 256 tokens it is {}:", lambda: memory(256)[0]),
    Stated(4, "throws away: {} MB and {}.", lambda: [memory(1024)[1], memory(256)[1]]),
]
