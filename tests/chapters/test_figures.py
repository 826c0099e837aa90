"""The figures: drawn by code, each shown with a text, readable on light and dark pages."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.chapters.chapters import CHAPTERS, LEARN, NUMBER, unit, value

FIGURES = sorted((LEARN / "figures").glob("*.svg"))
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="the extra `learn` is not installed"
)


def shown() -> dict[str, str]:
    """The figures of the chapters, each with its text alternative."""
    text = "\n".join(path.read_text() for path in CHAPTERS)
    found = re.findall(r"!\[(.*?)\]\(figures/(.*?)\)", text, re.DOTALL)
    return {name: alternative for alternative, name in found}


def test_each_figure_is_shown_and_told():
    assert sorted(shown()) == [path.name for path in FIGURES]
    assert {name[:2] for name in shown()} == {f"{n:02}" for n in range(12)}
    assert all(len(told.split()) >= 12 for told in shown().values())


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_a_figure_is_small_whole_and_for_light_and_dark(path):
    text = path.read_text()
    assert path.stat().st_size <= 60_000
    root = ElementTree.fromstring(text)
    names = {child.tag.rpartition("}")[2]: child for child in root}
    assert root.get("role") == "img" and names["title"].text and len(names["desc"].text) > 60
    assert "prefers-color-scheme:dark" in text
    assert "<image" not in text and "<script" not in text  # no pixels, nothing that runs
    outside = re.findall(r'(?:href|src)="(?!#)[^"]*"|url\((?!#)', text)
    assert not outside, outside
    assert not re.search(r"\d{4}-\d\d-\d\d", text)  # no date


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_every_colour_has_another_for_dark_pages(path):
    from_sheet = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})\"\]", path.read_text()))
    drawn = path.read_text().partition("</style>")[2]
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn))
    assert used and used <= from_sheet | {"#ffffff"} and "#000000" not in used, used - from_sheet


SMALL = ["00-blocks", "00-family", "05-cache", "06-heads", "11-wrong"]  # need no trained model
REAL = [path.stem for path in FIGURES if path.stem not in SMALL]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def same_text(ours: str, theirs: str) -> bool:
    """The same but for the last digit of a number, which is another kernel's rounding."""
    if re.sub(NUMBER, "#", ours) != re.sub(NUMBER, "#", theirs):
        return False
    pairs = zip(re.findall(NUMBER, ours), re.findall(NUMBER, theirs), strict=True)
    return all(abs(value(a) - value(b)) <= 1.01 * unit(a) for a, b in pairs)


@needs_matplotlib
@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.smollm2) for name in REAL)]
)
def test_a_committed_figure_says_what_the_code_draws(name, run, tmp_path, monkeypatch):
    from docs.learn.figures import __main__ as figures

    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.setattr(figures, "Run", lambda: run)
    drawn = []
    for _ in range(2):
        figures.main([name])
        drawn.append((tmp_path / f"{name}.svg").read_text())
    assert drawn[0] == drawn[1]  # the same run, the same bytes
    committed = (LEARN / "figures" / f"{name}.svg").read_text()
    ours, theirs = texts(drawn[0]), texts(committed)
    assert len(ours) == len(theirs) > 5
    assert name not in SMALL or ours == theirs
    assert [pair for pair in zip(ours, theirs, strict=True) if not same_text(*pair)] == []
    told = re.compile(r"<desc>(.*?)</desc>", re.DOTALL)
    assert told.findall(drawn[0]) == told.findall(committed)
