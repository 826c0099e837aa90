"""Random weights that are the same bits everywhere: whole numbers, hashed, times powers of two.

NumPy promises no stable stream for `normal` or `uniform`, and logarithms differ between machines
in the last bit. Here every number is exact: element i of a tensor is

    x = ⌊h(i + 2³² · crc32(name)) / 2⁴⁰⌋ - 2²³,   w = scale · x / 2²³,   scale a power of two

with h the hash of 64 bits below: 24 bits of it, uniform in [-1, 1), which float32 holds. A few
lines make the same weights in any language.
"""

import math
import zlib

import numpy as np

from ...config import LlamaConfig
from ...formats.checkpoint import expected_shapes

STEP = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio
FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def hashed(counter: np.ndarray) -> np.ndarray:
    """64 well-mixed bits of each counter (uint64): SplitMix64. Steele et al. 2014, figure 17."""
    z = (counter + np.uint64(1)) * STEP  # modulo 2⁶⁴, as all of it
    z = (z ^ (z >> SHIFTS[0])) * FACTORS[0]
    z = (z ^ (z >> SHIFTS[1])) * FACTORS[1]
    return z ^ (z >> SHIFTS[2])


def bits(name: str, count: int) -> np.ndarray:
    """The hash of `count` counters of the stream `name`: (count,) of uint64."""
    stream = np.uint64(zlib.crc32(name.encode()) << 32)
    return hashed(stream + np.arange(count, dtype=np.uint64))


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 2⁻²³ in [-1, 1), float32."""
    whole = (bits(name, math.prod(shape)) >> np.uint64(40)).astype(np.int64) - (1 << 23)
    return (whole.astype(np.float32) / np.float32(1 << 23)).reshape(shape)


def token_ids(name: str, count: int, vocab_size: int) -> tuple[int, ...]:
    """Random ids. The first is 1, which is the beginning of a sequence in Llama 1 and 2."""
    rest = (bits(name, count) >> np.uint64(32)) % np.uint64(vocab_size)
    return (1, *rest.tolist()[1:])


def keeping(width: int) -> int:
    """The exponent of the power of two that is near √(3 / width), and not above.

    A matrix of uniform elements of that scale keeps the size of what it multiplies.
    """
    return -((width // 3).bit_length() // 2)


def scale_exponent(part: str, width: int, stream: int, sharpness: int) -> int:
    """The power of two that scales a tensor.

    `stream` scales all that is added to the residual stream. `sharpness` scales queries and keys,
    which are twice as large as what keeps their size: else attention is all but uniform.
    """
    if part == "tok_embeddings":
        return stream
    if part in ("wo", "w_down"):
        return keeping(width) + stream
    if part in ("bo", "b_down"):
        return stream - 1
    if part.startswith("b"):
        return -1
    return keeping(width) + (1 + sharpness if part in ("wq", "wk") else 0)


def tensor(
    case: str, name: str, shape: tuple[int, ...], stream: int = 0, sharpness: int = 0
) -> np.ndarray:
    """One tensor of the model `case`. Gains of norms are 1 + x / 2²⁴: in [0.5, 1.5]."""
    x = uniform(f"{case}/{name}", shape)
    part = name.rpartition(".")[2]
    if part.endswith("norm"):
        return np.float32(1) + x / np.float32(2)
    exponent = scale_exponent(part, shape[-1], stream, sharpness)
    return x * np.float32(2.0**exponent)


def kit_tensors(
    case: str, config: LlamaConfig, stream: int = 0, sharpness: int = 0
) -> dict[str, np.ndarray]:
    """Every tensor of the model `case`, by our names, RoPE's pairs adjacent, float32."""
    return {
        name: tensor(case, name, shape, stream, sharpness)
        for name, shape in expected_shapes(config)
    }
