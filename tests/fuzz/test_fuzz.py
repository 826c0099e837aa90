"""Each format a few hundred times; `make fuzz` does it 20,000 times. And that it would be seen."""

import os
import random
from pathlib import Path

import pytest

from numpy_llama.errors import InputError
from tests.fuzz.format import Format, attack
from tests.fuzz.formats import FORMATS
from tests.fuzz.mutate import mutated_bytes, mutated_json

EACH = int(os.environ.get("LLAMA_NP_FUZZ", "200"))
NEEDS = {
    "tiktoken": "tokenizers",
    "tokenizer.json": "tokenizers",
    "the hub's answer": "huggingface_hub",
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_content_is_a_result_or_one_sentence(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    tally = attack(name, FORMATS[name], EACH)
    assert not tally.wrong, tally.wrong[0]
    assert tally.tried == EACH and tally.refused > 0


def test_there_are_at_least_28_formats() -> None:
    assert len(FORMATS) >= 28


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (KeyError("x"), "KeyError"),
        (InputError("two\nlines"), "no sentence"),
        (InputError("x" * 3000), "no sentence"),
        (RuntimeWarning("overflow"), "RuntimeWarning"),
        (SystemExit(1), "SystemExit"),
    ],
)
def test_anything_else_is_seen(error: BaseException, what: str) -> None:
    def use(folder: Path, content: bytes) -> None:
        if content != b"valid":
            raise error

    tally = attack("example", lambda folder: Format(b"valid", use), 50)
    assert len(tally.wrong) > 40 and what in tally.wrong[0][0]


def test_the_same_seed_gives_the_same_damage_and_most_of_it_is_damage() -> None:
    seed = b'{"a": [1, 2, {"b": "c"}], "d": null}'
    for mutate in (mutated_bytes, mutated_json):
        one, two = ([mutate(rng, seed) for _ in range(200)] for rng in map(random.Random, (1, 1)))
        assert one == two and sum(each == seed for each in one) < 20
