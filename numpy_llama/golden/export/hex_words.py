"""Numbers as words of hexadecimal digits, for hardware: float32, bfloat16, or fixed point."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...formats.storage.floats import f32_to_bf16

FIXED_POINT = re.compile(r"[qQ](\d{1,2})\.(\d{1,2})")


@dataclass(frozen=True)
class Encoding:
    """How a number becomes a word of hexadecimal digits. `encode` also counts what did not fit."""

    bits: int
    detail: str
    encode: Callable[[np.ndarray], tuple[np.ndarray, int]]

    @property
    def digits(self) -> int:
        """Hexadecimal digits of a word."""
        return -(-self.bits // 4)


def fixed_point(integer: int, fraction: int) -> Encoding:
    """Qm.n: a sign, m bits before the point, n after it, in two's complement.

    word = round(x · 2ⁿ), ties to even, limited to -2^(m+n) … 2^(m+n) - 1.
    """
    bits = 1 + integer + fraction
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def encode(x: np.ndarray) -> tuple[np.ndarray, int]:
        scaled = np.rint(np.asarray(x, np.float64) * 2.0**fraction)
        outside = int(((scaled < least) | (scaled > most)).sum())
        return np.clip(scaled, least, most).astype(np.int64) & (2**bits - 1), outside

    detail = (
        f"Q{integer}.{fraction}: {bits} bits, two's complement: a sign, {integer} integer and "
        f"{fraction} fraction bits; rounded to nearest, ties to even; saturated"
    )
    return Encoding(bits, detail, encode)


def parse_encoding(word: str) -> Encoding:
    """The encoding of a name: float32, bfloat16 or Qm.n. Raises InputError for any other."""
    if word == "float32":
        detail = "IEEE 754 binary32, most significant digit first"
        return Encoding(32, detail, lambda x: (x.view(np.uint32), 0))
    if word == "bfloat16":
        detail = "bfloat16 (the upper half of binary32), rounded to nearest, ties to even"
        return Encoding(16, detail, lambda x: (f32_to_bf16(x), 0))
    found = FIXED_POINT.fullmatch(word)
    if found is None or 1 + int(found[1]) + int(found[2]) > 32:
        raise InputError(
            f"the word {word!r} is not float32, bfloat16, or fixed point of at most 32 bits "
            "like Q7.8 (a sign bit, 7 integer bits, 8 fraction bits)"
        )
    return fixed_point(int(found[1]), int(found[2]))


def hex_words(words: np.ndarray, digits: int) -> bytes:
    """One word a line, as $readmemh takes them."""
    return "".join(f"{word:0{digits}x}\n" for word in words.reshape(-1).tolist()).encode()
