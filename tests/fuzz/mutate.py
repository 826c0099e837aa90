"""Valid content, damaged at random: bytes anywhere, or JSON in its tree."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Mutate = Callable[[random.Random, bytes], bytes]

# What a field of JSON may hold that nobody expects.
ODD: tuple[Any, ...] = (None, True, False, -1, 0, 1, 1.5, 1e308, -1e-320, 2**31, 2**63, 10**30,
    "", "..", "../x", "\ud800", "\x1b[1m", "nan", [], [[]], [None], {}, {"": [0]})  # fmt: skip
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def damage(rng: random.Random, data: bytearray, most: int) -> None:
    """One change in the first `most` bytes."""
    at, count = rng.randrange(max(1, min(len(data), most))), rng.randint(1, 16)
    match rng.randrange(8):
        case 0:
            data[at : at + 1] = bytes(b ^ 1 << rng.randrange(8) for b in data[at : at + 1])
        case 1:
            data[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
        case 2:
            width = rng.choice((2, 4, 8))
            value = rng.choice(NUMBERS) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, "little")
        case 3:
            del data[at : at + count]
        case 4:
            data[at:at] = data[at : at + count]
        case 5:
            data[at:at] = rng.randbytes(count)
        case 6:
            other = rng.randrange(max(1, len(data)))
            data[at : at + count] = data[other : other + count]
        case 7 if rng.randrange(4) == 0:
            del data[at:]


def mutated_bytes(rng: random.Random, original: bytes) -> bytes:
    """One to four changes, half of the time near the beginning, where headers are."""
    data = bytearray(original)
    most = rng.choice((64, 1024, len(data)))
    for _ in range(rng.randint(1, 4)):
        damage(rng, data, most)
    return bytes(data)


def change_value(rng: random.Random, at: Any) -> None:
    """Somewhere below `at`, a value is replaced, left out, or given a second time."""
    while True:
        key = rng.choice(sorted(at) if isinstance(at, dict) else range(len(at)))
        if not isinstance(at[key], dict | list) or not at[key] or rng.randrange(3) == 0:
            break
        at = at[key]
    match rng.randrange(5):
        case 0:
            del at[key]
        case 1 if isinstance(at, dict):
            at[rng.choice(("x", "", "..", key.upper()))] = copy.deepcopy(at[key])
        case 1:
            at.append(copy.deepcopy(at[key]))
        case _:
            at[key] = copy.deepcopy(rng.choice(ODD))


def mutated_json(rng: random.Random, original: bytes) -> bytes:
    """A change or two in the tree; one time in four, in the bytes."""
    if rng.randrange(4) == 0:
        return mutated_bytes(rng, original)
    value = json.loads(original)
    for _ in range(rng.randint(1, 2)):
        if value:
            change_value(rng, value)
    return json.dumps(value).encode()
