"""The examples in docstrings print what they show."""

import doctest
from importlib import import_module

import pytest

# Each of these has an example, with data, in its docstring.
WITH_EXAMPLE = {
    "numpy_llama.norm.rms_norm",
    "numpy_llama.rope.rotate",
    "numpy_llama.attention.causal_mask",
    "numpy_llama.attention.attend",
    "numpy_llama.feed_forward.swiglu",
}


def examples() -> list[doctest.DocTest]:
    """All of those files; their names are those that the file itself imports."""
    modules = sorted({name.rpartition(".")[0] for name in WITH_EXAMPLE})
    found = [doctest.DocTestFinder().find(import_module(module)) for module in modules]
    return [test for tests in found for test in tests if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_an_example_prints_what_it_shows(example: doctest.DocTest) -> None:
    said: list[str] = []
    failed, tried = doctest.DocTestRunner().run(example, out=said.append)
    assert tried and not failed, "".join(said)


def test_what_a_student_reads_first_has_examples() -> None:
    assert {test.name for test in examples()} >= WITH_EXAMPLE
