"""Hostile tables of characters in a tokenizer.model: refused before SentencePiece sees them.

The same of CVE-2026-1260, whatever the version that is installed. A walk in plain Python over the
double array, which shares nothing with ours, says which tables lead out of themselves.
"""

import itertools
import json
import random
import struct
from pathlib import Path

import pytest

from numpy_llama.errors import TokenizerError
from numpy_llama.tokenizers.spm import tokenizer as spm_tokenizer
from numpy_llama.tokenizers.spm.charsmap import check_charsmap
from numpy_llama.tokenizers.spm.proto import field, fields, read_proto
from numpy_llama.tokenizers.spm.tokenizer import read_tokenizer_model
from tests.malformed.limits import refused
from tests.tiny import train_sentencepiece

SOURCE = Path("tokenizer.model")


def trained(rule: str) -> bytes:
    """A model that normalises by one of SentencePiece's own tables."""
    return train_sentencepiece(normalization_rule_name=rule)


def table_of(model: bytes) -> bytes:
    normalizer = dict(fields(model, SOURCE))[3]
    assert isinstance(normalizer, bytes)
    table = dict(fields(normalizer, SOURCE)).get(2, b"")
    assert isinstance(table, bytes)
    return table


def with_table(table: bytes, number: int = 3) -> bytes:
    """A model file with one more spec of normalising: protobuf merges it into the first."""
    return train_sentencepiece() + field(number, field(2, table))


def table(units: list[int], texts: bytes = b"a\0") -> bytes:
    padded = units + [0] * (-len(units) % 256)
    return struct.pack(f"<I{len(padded)}I", 4 * len(padded), *padded) + texts


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
def test_the_tables_of_sentencepiece_are_in_order(rule: str) -> None:
    assert len(table_of(trained(rule))) > 200_000
    check_charsmap(table_of(trained(rule)), SOURCE)


def test_a_model_with_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(trained("nmt_nfkc_cf"))
    tokenizer = read_tokenizer_model(tmp_path / "tokenizer.model")
    assert (
        tokenizer.encode("ONCE ½", special=False)[:1] == tokenizer.encode("once", special=False)[:1]
    )


FAR = 0x1FFFFF << 10  # an offset; with one bit more, the unit would be a value
HOSTILE = {
    "no size": b"\0\0",
    "of nothing": table([])[:4],
    "cut off": table([0])[:500],
    "a size past the end": b"\xff\xff\xff\x7f" + table([0])[4:],
    "no texts": table([0], b""),
    "texts without an end": table([0], b"abc"),
    "a root that leads out": table([FAR]),
    "a step that leads out": table([1 << 10, *[0] * ((ord("a") ^ 1) - 1), FAR | ord("a")]),
    "too large": table([0] * (1 << 18), b"a\0"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("number", [3, 5])
def test_a_hostile_table_is_refused_before_sentencepiece_sees_it(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the normaliser, and in the denormaliser that nobody thinks of."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(with_table(HOSTILE[name], number))
    monkeypatch.setattr(
        spm_tokenizer, "build_processor", lambda *args: pytest.fail("SentencePiece saw it")
    )
    refused(lambda: read_tokenizer_model(path), str(path), "table of characters")


def test_a_text_beyond_the_end_is_refused() -> None:
    """The state after the byte a is 0x300, whose unit is the value 2 of two bytes of texts."""
    units = [0] * 1024
    units[0] = 0x100 << 10  # the root is the state 0x100
    units[0x100 ^ ord("a")] = ((0x300 ^ 0x100 ^ ord("a")) << 10) | 1 << 8 | ord("a")
    units[0x300] = 1
    check_charsmap(table(units, b"a\0"), SOURCE)
    units[0x300] = 2
    with pytest.raises(TokenizerError, match="names a text beyond its end"):
        check_charsmap(table(units, b"a\0"), SOURCE)


def stays_inside(data: bytes) -> bool:
    """Whether a lookup of any bytes stays in the table, byte by byte."""
    size = int.from_bytes(data[:4], "little")
    units, texts = struct.unpack_from(f"<{size // 4}I", data, 4), len(data) - 4 - size

    def offset(unit: int) -> int:
        return unit >> 10 << ((unit >> 9 & 1) * 8)

    waiting, seen = [offset(units[0])], set()
    while waiting:
        state = waiting.pop()
        seen.add(state)
        for byte in range(256):
            at = state ^ byte
            if at >= len(units):
                return False
            unit = units[at]
            if unit & 0x800000FF != byte:
                continue
            after = at ^ offset(unit)
            if after >= len(units) or (unit >> 8 & 1 and units[after] & 0x7FFFFFFF >= texts):
                return False
            if after not in seen:
                waiting.append(after)
    return True


def test_damaged_tables_are_refused_where_a_lookup_leads_out_of_them() -> None:
    """150 of 512 units, random or with plausible steps."""
    rng, answers = random.Random(0), {True: 0, False: 0}
    for _ in range(150):
        units = [rng.choice([0, 0, 0, rng.getrandbits(19) & ~(1 << 9)]) for _ in range(512)]
        units[0] = rng.choice([0, 0x100]) << 10
        for byte in itertools.islice(iter(lambda: rng.randrange(256), None), rng.randrange(4)):
            units[0x100 ^ byte] = (rng.randrange(520) << 10) | rng.choice([0, 1 << 8]) | byte
        data = table(units, bytes(rng.choice([2, 1 << 18])))
        inside = stays_inside(data)
        answers[inside] += 1
        if inside:
            check_charsmap(data, SOURCE)
        else:
            with pytest.raises(TokenizerError, match="table of characters"):
                check_charsmap(data, SOURCE)
    assert min(answers.values()) > 15, answers


def test_more_pieces_than_any_vocabulary_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numpy_llama.tokenizers.spm.proto.MAX_PIECES", 100)
    with pytest.raises(TokenizerError, match="more than 100 pieces"):
        read_proto(train_sentencepiece(), SOURCE)


@pytest.mark.parametrize("token", [{}, [], None, True, "7", 1.5, -1, 10**30])
def test_added_tokens_whose_id_is_no_number(token: object, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece())
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": token}))
    refused(lambda: read_tokenizer_model(tmp_path / "tokenizer.model"), "has the id")


def test_an_id_of_ten_thousand_digits(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece())
    many = '{"added_tokens_decoder": {"%s": {"content": "x"}}}' % ("1" * 10_000)
    (tmp_path / "tokenizer_config.json").write_text(many)
    refused(lambda: read_tokenizer_model(tmp_path / "tokenizer.model"), "added_tokens_decoder has")
