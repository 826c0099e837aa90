"""Every claim has its place: said, with a number, drawn, tried; and the ten wrong ones refuted."""

import re

import pytest

from tests.chapters.chapters import CHAPTERS, LEARN, NUMBER, chapter, claims, prose

UNMEASURED = {5, 22, 26}  # about training, which this package does not do
WRONG = {2, 7, 9, 10, 18, 19, 21, 24, 25, 28}
EVERY = set(range(1, 31))


def marked(kind: str) -> set[int]:
    return {number for number, of in claims() if of == kind}


def test_all_twelve_chapters_are_there_and_in_the_index():
    assert [path.name[:2] for path in CHAPTERS] == [f"{n:02}" for n in range(12)]
    index = (LEARN / "README.md").read_text()
    for path in CHAPTERS:
        assert f"]({path.name})" in index


def test_each_claim_has_its_place():
    assert marked("said") == EVERY
    assert marked("number") | marked("refuted") == EVERY - UNMEASURED
    assert len(marked("drawn")) >= 24
    assert len(marked("tried")) >= 15
    assert marked("refuted") == WRONG


def test_what_a_mark_says_follows_it():
    for (number, kind), places in claims().items():
        for path, block in places:
            where = f"{path.name}, claim {number}, {kind}: {block[:60]}"
            if kind == "drawn":
                assert block.startswith("!["), where
            elif kind == "tried":
                assert block.startswith("```python"), where
            elif kind in ("number", "refuted"):
                assert re.search(NUMBER, re.sub(r"\b20[012]\d\b", "", block)), where  # no year


@pytest.mark.parametrize("number", sorted(UNMEASURED))
def test_what_cannot_be_shown_is_said_to_be_so(number):
    ((_, block),) = claims()[number, "said"]
    assert "cannot" in block


def test_the_ten_wrong_claims_are_refuted_in_chapter_11_in_order():
    places = [claims()[number, "refuted"] for number in sorted(WRONG)]
    assert all(len(p) == 1 and p[0][0].name.startswith("11") for p in places)
    headings = re.findall(r"^## \d+\. .* \((\d+)\)$", chapter(11), re.MULTILINE)
    assert [int(h) for h in headings] == sorted(WRONG)


def test_the_table_of_claims_is_that_of_the_marks():
    found = claims()
    lines = (LEARN / "claims.md").read_text().splitlines()
    table = [line.split("|")[1:-1] for line in lines if re.match(r"\| \d+ \|", line)]
    assert [int(row[0]) for row in table] == sorted(EVERY)
    for row in table:
        for kind, cell in zip(("said", "number", "drawn", "tried"), row[3:], strict=True):
            kinds = [kind, "refuted"] if kind in ("said", "number") else [kind]
            files = {p.name for k in kinds for p, _ in found.get((int(row[0]), k), [])}
            assert set(re.findall(r"\]\((.*?)\)", cell)) == files, (row[0], kind)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_a_chapter_has_its_parts_and_a_reader_s_length(path):
    text = path.read_text()
    for part in ("**The question.**", "![", "```python", "## Exercise"):
        assert part in text, part
    assert "eople get wrong" in text
    assert 600 <= len(prose(text).split()) <= 1200, len(prose(text).split())
    assert "from tests" not in text  # whoever has only installed the package can run it


def test_the_glossary_names_files_and_taps_that_there_are():
    from numpy_llama.taps import TAPS

    text = (LEARN / "glossary.md").read_text()
    taps = set(re.findall(r"`((?:layers\.|embed|final_norm|logits)[^`]*)`", text))
    assert taps <= set(TAPS)
    assert set(TAPS) == taps, set(TAPS) - taps
    terms = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    assert len(terms) == len(set(terms)) >= 40
