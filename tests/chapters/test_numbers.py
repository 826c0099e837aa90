"""Each number that the chapters state is derived again from running code."""

import math
import re

import numpy as np
import pytest

from docs.learn.figures import costs, small
from numpy_llama.golden.replay.override import change_arrays
from tests.chapters.chapters import CHAPTERS, NUMBER, chapter, prose, unit, value
from tests.chapters.numbers_small import MEMORY, SMALL
from tests.chapters.numbers_smollm2 import SMOLLM2
from tests.models import random_model, random_tokens, tiny_config

# Facts of papers and of machines, and numbers that are only an example's: nothing measures them.
CITED = {
    0: "500,000 11,008 32,000",
    1: "303 304 4130",
    2: "0.01 576",
    3: "1,005 1,003",
    6: "101 156 312",
    7: "-1,000",
    8: "0.5 1.5",
    9: "0.3 0.6 101 102",
    10: "500,000",
    11: "1,005 1,003 1,001",
}


@pytest.mark.parametrize("stated", SMALL, ids=str)
def test_a_number_follows_from_the_config(stated):
    stated.check()


@pytest.mark.parametrize("stated", MEMORY, ids=str)
def test_a_peak_of_memory_is_what_python_counts(stated):
    for shown, got in zip(stated.shown(), np.atleast_1d(stated.measure()), strict=True):
        assert value(shown) == pytest.approx(got, rel=0.05)


@pytest.mark.smollm2
@pytest.mark.parametrize("stated", SMOLLM2, ids=str)
def test_a_number_follows_from_the_run(stated, run):
    stated.check(run)


NO_NUMBERS = r"`[^`]*`|\b(?:19|20)\d\d[ab]?\b|\bLlama [\d.]+|\b(?:eq|section|chapter)\S* [\d.]+"


def is_round(number: str) -> bool:
    """A power of two or ten: a size that is assumed, and no result."""
    size = abs(value(number))
    return size > 0 and any(log(size).is_integer() for log in (math.log2, math.log10))


def numbers_of(text: str) -> list[str]:
    """The numbers that someone must have measured: not years, equations, names, small counts."""
    text = re.sub(NO_NUMBERS, "", text, flags=re.IGNORECASE)
    found = re.findall(r"(?<![\w.])" + NUMBER + r"(?!B)", text)
    return [n for n in found if ("." in n or abs(value(n)) >= 100) and not is_round(n)]


def is_printed(number: str, outputs: list[float]) -> bool:
    """Whether a program of the chapter prints this number, rounded to its digits."""
    return any(abs(value(number) - out) <= 0.51 * unit(number) for out in outputs)


@pytest.mark.parametrize("number", range(12))
def test_no_number_is_stated_that_nobody_derives(number):
    text = chapter(number)
    outputs = " ".join(re.findall(r"```output\n(.*?)```", text, re.DOTALL))
    printed = [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*\.?\d*", outputs)]
    derived = {n for s in SMALL + MEMORY + SMOLLM2 if s.chapter == number for n in s.shown()}
    free = [
        n
        for n in numbers_of(prose(text.partition("\nSource")[0]))
        if n not in derived
        and n not in CITED.get(number, "").split()
        and not is_printed(n, printed)
    ]
    assert not free, free


def test_the_family_is_what_its_sizes_make():
    rows = re.findall(r"^\| (Llama [^|]*) \|(.*)\|$", chapter(0), re.MULTILINE)
    assert [name for name, _ in rows] == list(costs.FAMILY)
    for name, cells in rows:
        c = costs.FAMILY[name]
        shown = [value(cell.strip()) for cell in cells.split("|")]
        sizes = [c.n_layers, c.dim, c.n_heads, c.n_kv_heads, c.hidden_dim, c.max_context]
        assert shown[:7] == [*sizes, costs.TRAINED_ON[name]]
        assert shown[7] == pytest.approx(costs.parameters(c) / 1e9, abs=0.0055)
        billions = float(name.rpartition(" ")[2][:-1])
        assert costs.parameters(c) / 1e9 == pytest.approx(billions, rel=0.05)  # as it is called


def test_the_operations_are_those_that_a_run_makes():
    """The formula of costs.py against arrays that count their own products."""
    config = tiny_config()
    model = random_model(config)
    tokens = random_tokens(config, 7)

    def counted(compute):
        return small.counted(compute)["products"]

    watched = change_arrays(model, lambda a: a.view(small.Counted))
    assert counted(lambda: watched.forward(tokens)) == costs.forward_flops(config, 7, 7, rows=7)
    got = counted(lambda: watched.forward(tokens, last_only=True))
    assert got == costs.forward_flops(config, 7, 7)


@pytest.mark.smollm2
def test_the_table_of_scalings_is_measured(run):
    rows = re.findall(
        r"^\| (\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", chapter(10), re.MULTILINE
    )
    assert [int(row[0]) for row in rows] == [2, 4, 8]
    for factor, *losses in rows:
        for kind, shown in zip(("linear", "yarn", "dynamic"), losses, strict=True):
            assert float(shown) == pytest.approx(run.scaled[kind, int(factor)], abs=0.0055)


@pytest.mark.smollm2
def test_norms_are_needed_and_rows_do_not_change(run):
    assert np.isnan(run.without["norms"])
    first, whole = run.model.forward(run.ids[:32]), run.model.forward(run.ids)
    assert np.abs(first - whole[:32]).max() <= 1e-4 * np.abs(whole).max()


def test_a_wrong_number_would_be_seen():
    wrong = [s for s in SMALL if not isinstance(s.measure(), list)][0]
    shown = value(wrong.shown()[0])
    type(wrong)(wrong.chapter, wrong.template, lambda: shown).check()
    with pytest.raises(AssertionError):
        type(wrong)(wrong.chapter, wrong.template, lambda: shown + 1).check()
    with pytest.raises(AssertionError):
        type(wrong)(wrong.chapter, "we never said {}", lambda: 1).check()
    assert len(CHAPTERS) == 12
