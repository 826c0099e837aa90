"""How long the model's files take to read aloud, and that the count counts what it says."""

from pathlib import Path

import pytest

from benchmarks.read_aloud import FILES, minutes, words

ROOT = Path(__file__).resolve().parent.parent
BARS = {"model": 5.0, "rope": 4.0, "attention": 4.6}


@pytest.mark.parametrize("name", BARS)
def test_a_file_is_read_in_its_time(name: str) -> None:
    assert minutes(ROOT / "numpy_llama" / f"{name}.py") <= BARS[name]


SOURCE = '''
"""Two words.

    a ──→ drawing

Example: not read.

>>> 1 + 1
2
"""
x_1 = f"{silent} text" + 'more' * 0.5  # the model's end
# ┌ not ┐
def fast(a): return -a
'''


def test_names_numbers_and_prose_are_words_and_the_rest_is_silent() -> None:
    said = ["Two", "words", "x", "1", "05", "the", "model's", "end"]
    assert list(words(SOURCE)) == [*said, "def", "fast", "a", "return", "a"]


def test_the_files_are_there() -> None:
    assert all((ROOT / file).exists() for file in FILES)
