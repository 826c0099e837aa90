"""JSON from strangers: no name twice, no NaN, no number or nesting that Python chokes on."""

import json
import math
import reprlib
from typing import Any

from ...errors import LlamaError

MAX_DIGITS = 20  # 2⁶⁴ has 20; Python itself refuses more than 4,300 with a ValueError
MAX_VALUES = 200_000  # each may cost a hundred bytes once it is parsed
MAX_SHOWN = 200  # characters: a list of lists is not short when each of them is
CHUNK = 1 << 20

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100
_short.maxlist = 8


def shown(value: object) -> str:
    """A value for an error message: short whatever its size, control characters escaped."""
    text = _short.repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def whole(digits: str) -> int:
    """An integer literal; ValueError when it is too long to mean anything."""
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"has a number of {len(digits)} digits")
    return int(digits)


def real(literal: str) -> float:
    """A number with a point or an exponent; ValueError when it overflows to infinity."""
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"has a number that is too large: {shown(literal)}")
    return value


def no_constant(name: str) -> None:
    """Python's parser lets NaN and Infinity through; JSON has neither."""
    raise ValueError(f"has {name}, which is not JSON")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError when a name occurs twice (Python would take the last)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the name {shown(twice)} twice")
    return found


def check_values(raw: bytes | memoryview, where: str, error: type[LlamaError], most: int) -> None:
    """Raise `error` if the text can hold more than `most`: each needs a comma or a bracket."""
    pieces = (bytes(raw[i : i + CHUNK]) for i in range(0, len(raw), CHUNK))
    if sum(piece.count(mark) for piece in pieces for mark in (b",", b"{", b"[")) > most:
        raise error(f"{where}: has more than {most:,} values, and no real one has as many")


def parse_json(
    raw: bytes | memoryview, where: str, error: type[LlamaError], most: int = MAX_VALUES
) -> Any:
    """What `raw` says, or `error` with one sentence that begins with `where`.

    The number of values is bounded before anything is built: memory stays a small multiple of the
    text. UTF-8 without a byte-order mark is the only encoding.
    """
    check_values(raw, where, error, most)
    try:
        return json.loads(
            str(raw, "utf-8"),
            object_pairs_hook=unique,
            parse_int=whole,
            parse_float=real,
            parse_constant=no_constant,
        )
    except UnicodeDecodeError as wrong:
        raise error(f"{where}: is not UTF-8 text (byte {wrong.start})") from None
    except json.JSONDecodeError as wrong:
        raise error(f"{where}: is not JSON: {wrong}") from None
    except ValueError as wrong:
        raise error(f"{where}: {wrong}") from None
    except RecursionError:
        raise error(f"{where}: is nested too deeply") from None
