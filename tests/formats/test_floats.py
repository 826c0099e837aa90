"""The 16-bit floats: all 65,536 patterns, against arithmetic written from the formats."""

import struct

import numpy as np
import pytest

from numpy_llama.formats.storage.floats import BLOCK, bf16_to_f32, f16_to_f32, f32_to_bf16

ALL = np.arange(1 << 16, dtype=np.uint16)


def value_of(pattern: int, exponent_bits: int) -> float:
    """What IEEE 754 says that 16 bits mean, in Python's own (double) arithmetic."""
    fraction_bits = 15 - exponent_bits
    sign = -1.0 if pattern >> 15 else 1.0
    exponent = pattern >> fraction_bits & ((1 << exponent_bits) - 1)
    fraction = pattern & ((1 << fraction_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    if exponent == (1 << exponent_bits) - 1:
        return sign * float("nan") if fraction else sign * float("inf")
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias - fraction_bits)
    return sign * (1 + fraction / (1 << fraction_bits)) * 2.0 ** (exponent - bias)


def f32_bits(value: float) -> int:
    """The bits of a Python number as float32."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def check_all(got: np.ndarray, exponent_bits: int) -> None:
    """`got` holds the value of each pattern to the last bit; a NaN need only be one."""
    for pattern, bits in enumerate(got.view(np.uint32).tolist()):
        want = value_of(pattern, exponent_bits)
        if want == want:
            assert bits == f32_bits(want), hex(pattern)
        else:
            assert bits & 0x7FFFFFFF > 0x7F800000, hex(pattern)


def test_every_f16() -> None:
    """Subnormals, infinities and NaNs among them."""
    check_all(f16_to_f32(ALL.view(np.float16)), 5)


def test_every_bf16() -> None:
    """The same for bfloat16, whose exponent has 8 bits."""
    check_all(bf16_to_f32(ALL), 8)


@pytest.mark.parametrize("pattern", [0x7C00, 0xFC00, 0x7FFF, 0xFFFF, 0x7C01, 0xFC01])
def test_a_special_value_alone_in_its_block(pattern: int) -> None:
    """Whatever its sign, it is found among values that are none."""
    bits = np.array([0x3C00, pattern, 0xBC00], np.uint16).view(np.float16)
    assert np.array_equal(f16_to_f32(bits), bits.astype(np.float32), equal_nan=True)


def test_payloads_of_nan_are_kept() -> None:
    """A NaN keeps its sign and payload, signalling or not: the bits are moved, not computed."""
    nans = ALL[(ALL & 0x7FFF) > 0x7C00]
    got = f16_to_f32(nans.view(np.float16)).view(np.uint32)
    sign, payload = (nans & 0x8000).astype(np.uint32), (nans & 0x3FF).astype(np.uint32)
    assert np.array_equal(got, sign << 16 | 0x7F800000 | payload << 13)
    assert np.array_equal(bf16_to_f32(ALL).view(np.uint32) >> 16, ALL)


@pytest.mark.parametrize("shape", [(0,), (), (3, 5), (2, BLOCK + 7)])
def test_shapes_and_blocks(shape: tuple[int, ...]) -> None:
    """Nothing, a scalar, and arrays that are no multiple of a block; specials in the last one."""
    bits = np.resize(ALL[::-1], shape)
    for got, want in (
        (f16_to_f32(bits.view(np.float16)), bits.view(np.float16).astype(np.float32)),
        (bf16_to_f32(bits), (bits.astype(np.uint32) << 16).view(np.float32)),
    ):
        assert got.dtype == np.float32 and got.shape == shape
        assert np.array_equal(got, want, equal_nan=True)


def test_rows_that_are_not_contiguous() -> None:
    """A transposed matrix is as good as another."""
    bits = ALL[:6000].reshape(60, 100).T
    assert np.array_equal(bf16_to_f32(bits), bf16_to_f32(bits.copy()))
    assert np.array_equal(f16_to_f32(bits.view(np.float16)), f16_to_f32(bits.copy()))


def test_out_is_written_and_returned() -> None:
    """`out` must be contiguous: anything else is refused, not written to a copy."""
    for expand in (bf16_to_f32, f16_to_f32):
        out = np.zeros((4, 8), np.float32)
        assert expand(ALL[9000:9032].reshape(4, 8), out) is out
        assert np.array_equal(out, expand(ALL[9000:9032].reshape(4, 8)))
        with pytest.raises(ValueError):
            expand(ALL[:32].reshape(4, 8), np.zeros((8, 4), np.float32).T)


def test_every_bf16_comes_back() -> None:
    """A value that bfloat16 has is rounded to itself; a NaN to a NaN of the same sign."""
    got = f32_to_bf16(bf16_to_f32(ALL))
    nan = (ALL & 0x7FFF) > 0x7F80
    assert np.array_equal(got[~nan], ALL[~nan])
    assert np.array_equal(got[nan], ALL[nan] | 0x40)  # quiet, as every conversion makes it


def test_rounding_to_bf16() -> None:
    """Each float32 goes to the nearer of its two neighbours, a tie to the even one."""
    finite = ALL[(ALL & 0x7FFF) < 0x7F7F].astype(np.uint32)
    for lower, up in ((0, 0), (1, 0), (0x7FFF, 0), (0x8000, finite & 1), (0x8001, 1), (0xFFFF, 1)):
        got = f32_to_bf16((finite << 16 | lower).view(np.float32))
        assert np.array_equal(got, finite + up), hex(lower)


def test_nan_with_a_payload_in_the_lower_half() -> None:
    """Cutting it off would leave an infinity; rounding it up could leave zero."""
    nans = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.array_equal(f32_to_bf16(nans), np.array([0x7FC0, 0xFFC0, 0x7FFF, 0xFFFF]))


@pytest.mark.oracle
def test_against_torch() -> None:
    """All patterns both ways, and a million random float32 patterns rounded."""
    torch = pytest.importorskip("torch")
    signed = torch.from_numpy(ALL.view(np.int16))
    for dtype, got in ((torch.float16, f16_to_f32(ALL)), (torch.bfloat16, bf16_to_f32(ALL))):
        want = signed.view(dtype).to(torch.float32).numpy()
        assert np.array_equal(got, want, equal_nan=True)
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1_000_000, np.uint32)
    x = bits.view(np.float32)
    want = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    number = ~np.isnan(x)
    assert np.array_equal(f32_to_bf16(x)[number], want[number])
    assert np.isnan(bf16_to_f32(f32_to_bf16(x)))[~number].all()
