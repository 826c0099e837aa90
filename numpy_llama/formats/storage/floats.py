"""The two 16-bit floats of checkpoints, to float32 and back, exactly and at the speed of memory.

NumPy has no bfloat16, and its own float16 conversion is several times slower than these bits.
A block stays in the cache over all passes on it: that is most of the speed.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 1 << 17  # elements; 512 kB of float32: below that, the calls of NumPy begin to count


def blocks(source: np.ndarray, target: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Matching flat blocks of two arrays of the same size; those of `target` are views."""
    flat, out = source.reshape(-1), target.reshape(-1, copy=False)
    for start in range(0, flat.size, BLOCK):
        yield flat[start : start + BLOCK], out[start : start + BLOCK]


def bf16_to_f32(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """bfloat16, given as its bits in uint16, to float32: the same bits with 16 zeros after them.

    `out`, contiguous float32 of the same shape, saves the cost of fresh memory.
    """
    out = np.empty(bits.shape, np.float32) if out is None else out
    for source, target in blocks(bits, out.view(np.uint32)):
        np.copyto(target, source)
        target <<= 16
    return out


def f16_to_f32(h: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """float16 to float32, exactly: subnormals, infinities, NaNs and their payloads included.

    Shifting the bits by 13 puts exponent and fraction in place, but leaves the exponent counted
    from 15, not from 127; multiplying by 2¹¹² mends that, and normalises subnormals on the way.
    """
    out = np.empty(h.shape, np.float32) if out is None else out
    for source, target in blocks(h.view(np.int16), out):
        bits = target.view(np.int32)
        np.copyto(bits, source)  # the sign fills the upper half …
        bits <<= 13
        bits &= np.int32(-0x70002000)  # … and all but one bit of it goes: 0x8FFFE000
        target *= np.float32(2.0**112)
        if source.max() >= 0x7C00 or source.view(np.uint16).max() >= 0xFC00:
            special = (source & 0x7C00) == 0x7C00  # ±∞ and NaN: the exponent is all ones
            bits[special] |= 0x7F800000
    return out


def f32_to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16 in uint16, rounded to nearest, ties to even.

    A NaN stays a NaN: without the extra bit, one whose payload is in the lower half would become ∞.
    """
    out = np.empty(x.shape, np.uint16)
    for source, target in blocks(np.ascontiguousarray(x).view(np.uint32), out):
        odd = (source >> 16) & 1
        np.copyto(target, (source + (odd + 0x7FFF)) >> 16, casting="same_kind")
        nan = (source & 0x7FFFFFFF) > 0x7F800000
        if nan.any():
            target[nan] = (source[nan] >> 16) | 0x40
    return out


def f64_to_f32_odd(x: np.ndarray) -> np.ndarray:
    """float64 to float32, rounded to odd: towards zero, then the last bit set where inexact.

    Rounding that once more gives what a single rounding would; rounding to nearest twice does not.
    Boldo & Melquiond 2005.
    """
    with np.errstate(over="ignore"):  # ∞ is among the values that are stepped back from
        near = x.astype(np.float32)
    bits = near.view(np.uint32)
    inexact, too_far = near != x, np.abs(near) > np.abs(x)
    bits -= too_far
    bits |= inexact
    return near
