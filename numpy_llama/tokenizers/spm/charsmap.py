"""The table by which SentencePiece normalises text, followed before C++ code follows it.

precompiled_charsmap: uint32 n, then n bytes of a double-array trie, then texts that end with NUL.
The trie is a list of uint32 units. From the state b, the byte c leads to the unit at b ^ c if that
has the label c, and on to the state (b ^ c) ^ offset; a unit that has a leaf says at that state
which text takes the place of the bytes so far. sentencepiece before 0.2.3 follows offsets that
lead out of the list (CVE-2026-1260).
"""

from pathlib import Path

import numpy as np

from ...errors import TokenizerError

MAX_BYTES = 1 << 20  # that of Unicode's NFKC with case folding has 0.3 million
LEAF = 1 << 31  # of a unit that is a value, not a step
BYTES = np.arange(256, dtype=np.int64)


def offsets(units: np.ndarray) -> np.ndarray:
    """How far units lead: 22 bits, in steps of 1 or of 256."""
    return (units >> 10) << ((units & (1 << 9)) >> 6)


def check_states(states: np.ndarray, size: int, where: str) -> None:
    """Raise TokenizerError unless every byte stays in the list at each of these states."""
    if states.size and int(states.max()) | 0xFF >= size:
        raise TokenizerError(f"{where}: leads out of itself")


def step(units: np.ndarray, states: np.ndarray, texts: int, where: str) -> np.ndarray:
    """The states one byte after `states`. Raises TokenizerError for a leaf without a text."""
    at = (states[:, None] ^ BYTES).reshape(-1)
    found = units[at]
    fits = (found & (LEAF | 0xFF)) == np.tile(BYTES, len(states))
    found, at = found[fits], at[fits]
    following = at ^ offsets(found)
    check_states(following, len(units), where)
    leaves = units[following[(found >> 8 & 1).astype(bool)]] & (LEAF - 1)
    if leaves.size and int(leaves.max()) >= texts:
        raise TokenizerError(f"{where}: names a text beyond its end")
    return np.unique(following)


def check_charsmap(data: bytes, source: Path) -> None:
    """Raise TokenizerError unless every text can be looked up in the table within its bounds."""
    where = f"{source}: the table of characters (precompiled_charsmap) of {len(data)} bytes"
    if not data:
        return  # as Llama's: text stays as it is
    size = int.from_bytes(data[:4], "little")
    texts = len(data) - 4 - size
    if len(data) > MAX_BYTES or size % 1024 or not size or texts < 1 or data[-1]:
        raise TokenizerError(f"{where}: is cut off, or is none")
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
    seen = np.zeros(len(units), bool)
    states = offsets(units[:1])
    check_states(states, len(units), where)
    while states.size:
        seen[states] = True
        states = step(units, states, texts, where)
        states = states[~seen[states]]
