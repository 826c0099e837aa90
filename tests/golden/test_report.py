"""The report for people, for machines, and as a page: each says what the judge found."""

import dataclasses
import functools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from numpy_llama.golden import Candidate, Report, check
from numpy_llama.golden.compare.verdict import Diagnosis, Suspect, TapVerdict
from numpy_llama.golden.faults import CATALOGUE
from numpy_llama.golden.replay.metrics import floors
from numpy_llama.golden.report.html import as_html, short
from numpy_llama.golden.report.json import as_json
from numpy_llama.golden.report.style import SHADES, STYLE, shade_of
from numpy_llama.golden.report.table import folded, kind_of
from numpy_llama.golden.report.text import as_text, headline
from numpy_llama.loading.weights import load_model
from numpy_llama.taps import TAPS
from tests.golden.dumps import compare, dump, folder, golden


@functools.cache
def report_of(*faults: str, taps: tuple[str, ...] = ()) -> Report:
    values = {name: array for name, array in dump(*faults).items() if not taps or name in taps}
    model = load_model(folder() / "model")
    return check(golden(), Candidate(values, "float32"), model=model)


def test_a_pass_is_said_first_and_shortly():
    text = as_text(report_of())
    assert re.match(
        r"PASSED at float32, 61 of 61 taps given, the worst is off by \d\.\d floors", text
    )
    assert "DIAGNOSIS" not in text and "first wrong operation" not in text


def test_a_fault_is_named_before_the_table():
    lines = as_text(report_of("decode-position-plus-1")).splitlines()
    assert lines[0].startswith("DIVERGED at float32, 61 of 61 taps given, ")
    assert "the first is layers.0.q_rot from row 11 (decode): " in lines[0]
    assert "layers.0.q_rot is off by" in lines[1] and "candidate's own layers.0.q" in lines[1]
    assert lines[6] == "DIAGNOSIS: decode-position-plus-1"
    fault = CATALOGUE["decode-position-plus-1"]
    for said in (fault.sentence, fault.mathematics, fault.fix):
        assert any(said in line for line in lines[:15])
    assert any("runner-up" in line and "floors off" in line for line in lines[:15])
    assert any("tried" in line for line in lines[:15])


def test_the_table_folds_layers():
    lines = as_text(report_of("decode-position-plus-1")).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("tap ")))
    rows = {line.split()[0]: line for line in lines[start + 1 :] if line and line[0] != "("}
    assert len(lines) < 50
    assert re.search(r" 3/3 +3 .*divergent +layer 0, from row 11 \(decode\)", rows["q_rot"])
    assert re.search(r" 3/3 +2 .*divergent +layer 1, from row 11", rows["q"])
    assert rows["embed"].split()[1:] == ["1/1", "0.0", "ok"]


def test_folding_shows_the_worst_and_the_first_wrong():
    taps = [
        TapVerdict("layers.0.q", "ok", 1.0, 1.0),
        TapVerdict("layers.1.q", "divergent", 20.0, 1.0),
        TapVerdict("layers.2.q", "divergent", 90.0, 1.0),
        TapVerdict("layers.3.q", "missing"),
    ]
    (line,) = folded(taps)
    assert (line.kind, line.given, line.of, line.wrong) == ("q", 3, 4, 2)
    assert (line.worst.tap, line.first.tap) == ("layers.2.q", "layers.1.q")
    (line,) = folded([*taps, TapVerdict("layers.4.q", "not finite")])
    assert line.worst.tap == "layers.4.q"


def test_what_was_not_given_is_said():
    text = as_text(report_of(taps=("logits",)))
    assert "1 of 61 taps given" in text and "not judged: embed, attn_norm.rms" in text
    report = compare(golden(), Candidate({"layers.0.q": dump()["layers.0.q"]}, "float32"))
    assert headline(report).startswith("INCOMPLETE") and "no logits" in headline(report)
    nothing = compare(golden(), Candidate({"Q": np.ones(3)}, "float32"))
    assert "nothing that was given" in headline(nothing) and "ignored: Q" in as_text(nothing)


def test_with_the_logits_alone_no_operation_is_blamed():
    text = as_text(report_of("relu", taps=("logits",)))
    assert "somewhere between the tokens and logits" in text and "operation" not in text
    assert "DIAGNOSIS: relu" in text


def test_what_is_right_before_the_fault_narrows_it():
    values = {name: dump("head-tied")[name] for name in ("layers.2.gate", "logits")}
    text = as_text(compare(golden(), Candidate(values, "float32")))
    assert "between layers.2.gate, which is right, and logits" in text


def test_greedy_ids_and_scalars_have_their_lines():
    ids = list(golden().greedy)
    ids[2] = (ids[2] + 1) % golden().config.vocab_size
    given = Candidate({}, "float32", {"logits": {"sum": 1e6}}, ids)
    text = as_text(compare(golden(), given))
    assert f"the first 2 of 4 ids agree; then {ids[2]} for {golden().greedy[2]}" in text
    assert "which noise cannot do" in text and "logits sum: divergent" in text


def test_an_unexplained_candidate_is_not_given_a_name():
    report = dataclasses.replace(
        report_of("relu"),
        diagnosis=Diagnosis("unexplained", (), Suspect(("relu",), 99.0, "logits"), "embed", 70),
    )
    text = as_text(report)
    assert "UNEXPLAINED at embed: none of 70" in text and "the nearest" in text
    assert "DIAGNOSIS" not in text and CATALOGUE["relu"].fix not in text


def test_a_set_names_all_its_members():
    suspects = (Suspect(("relu",), 1.0, "logits"), Suspect(("gelu-erf",), 2.0, "logits"))
    report = dataclasses.replace(report_of("relu"), diagnosis=Diagnosis("set", suspects))
    text = as_text(report)
    assert "one of 2" in text
    assert CATALOGUE["relu"].fix in text and CATALOGUE["gelu-erf"].fix in text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.04, "0.0"), (9.96, "10.0"), (99.9, "99.9"), (12345.6, "12,346"), (2e6, "2.0e+06"),
     (float("inf"), "∞"), (None, "")],
)  # fmt: skip
def test_ratios_are_short(ratio, text):
    assert floors(ratio) == text


def test_json_says_the_same():
    found = json.loads(json.dumps(as_json(report_of("decode-position-plus-1")), allow_nan=False))
    assert found["summary"] == "diverged" and found["exit_code"] == 1 and found["version"] == 2
    assert found["first_divergent"]["tap"] == found["first_bad_operation"] == "layers.0.q_rot"
    assert found["first_divergent"]["phase"] == "decode"
    assert found["diagnosis"]["outcome"] == "named"
    (suspect,) = found["diagnosis"]["suspects"]
    assert suspect["faults"][0]["id"] == "decode-position-plus-1" and suspect["residual"] < 10
    assert len(found["taps"]) == 61 and found["taps"][0]["ratio"] < 3
    assert found["logits"]["rows"] == 14


def test_the_keys_of_the_json_are_documented_and_stay():
    assert list(as_json(report_of())) == [
        "version", "summary", "exit_code", "dtype", "first_divergent", "first_bad_operation",
        "diagnosis", "logits", "greedy", "taps", "scalars", "isolated", "required", "unknown",
        "notes", "judgeable", "not_excluded", "chosen", "allowed",
    ]  # fmt: skip


def test_json_has_no_infinity():
    """An id outside the vocabulary is infinitely far from being chosen."""
    found = as_json(compare(golden(), Candidate({}, "float32", greedy=[10**6])))
    assert found["greedy"]["flip"]["got"] == 10**6 and found["greedy"]["flip"]["gap"] is None
    json.dumps(found, allow_nan=False)


class Page(HTMLParser):
    """What a page is made of: its elements with their text, in order; meta has no end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append([tag, dict(attrs), ""])
        if tag != "meta":
            self.open.append(self.seen[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        for element in self.open:
            element[2] += data

    def all(self, tag):
        return [(attrs, text) for name, attrs, text in self.seen if name == tag]

    def cells(self):
        """The cells of the map, which alone have a title, by their tap."""
        return {a["title"].split(":")[0]: (a, text) for a, text in self.all("td") if "title" in a}


def page_of(report):
    return Page(as_html(report, golden(), "<b>dump</b>"))


def test_the_page_is_whole_and_needs_nothing_else():
    text = as_html(report_of("decode-position-plus-1"), golden(), "<b>dump</b>")
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _, _ in page.seen}
    assert not tags & {"script", "link", "img", "iframe", "b"}
    assert not any({"src", "href", "onclick"} & attrs.keys() for _, attrs, _ in page.seen)
    assert not re.search(r"http|src=|url\(|@import", text)
    assert "<b>dump</b>" in page.text


def test_the_page_says_the_diagnosis_before_the_map():
    page = page_of(report_of("decode-position-plus-1"))
    fault = CATALOGUE["decode-position-plus-1"]
    before = page.text[: page.text.index("Floors by tap and layer")]
    for said in (f"DIAGNOSIS: {fault.id}", fault.sentence, fault.mathematics, fault.fix):
        assert said in before
    tap = next(tap for tap in report_of(fault.id).taps if tap.tap == "layers.0.q_rot")
    for value in (*tap.got, *tap.expected):
        assert f"{value:.9g}" in before


def test_the_first_wrong_operation_is_marked_on_the_map():
    page = page_of(report_of("decode-position-plus-1"))
    marked = [tap for tap, (attrs, _) in page.cells().items() if "first" in attrs["class"]]
    assert marked == ["layers.0.q_rot"]
    attrs, text = page.cells()["layers.0.q_rot"]
    assert text.startswith("▸") and "first wrong operation" in text and "d7" in attrs["class"]
    assert "▸ q_rot" in [text for attrs, text in page.all("th") if attrs.get("class") == "here"]


def test_without_its_inputs_no_operation_is_marked_as_wrong():
    page = page_of(report_of("relu", taps=("logits",)))
    attrs, text = page.cells()["logits"]
    assert "first" in attrs["class"] and "first wrong tap of those given" in text
    assert "first wrong operation" not in page.text
    assert page.cells()["embed"][1] == "–"
    assert not any("first" in attrs["class"] for attrs, _ in page_of(report_of()).cells().values())


def test_every_cell_of_the_map_is_text_under_numbered_layers():
    report = report_of("decode-position-plus-1")
    page = page_of(report)
    cells = page.cells()
    assert list(cells) == [
        f"layers.{i}.{kind}" if layered else kind for kind, layered, i in order()
    ]
    for tap in report.taps:
        assert short(tap.ratio) in cells[tap.tap][1]
    heads = [(attrs["scope"], text) for attrs, text in page.all("th")]
    start = heads.index(("col", "layer"))
    assert heads[start + 1 : start + 4] == [("col", "0"), ("col", "1"), ("col", "2")]
    assert ("row", "ffn_norm.rms") in heads
    assert [text for _, text in page.all("caption")][1] == "Floors by tap and layer"
    assert cells["logits"][0]["colspan"] == "3"


def order():
    """The map's order: kinds of taps, each in all layers."""
    for kind in dict.fromkeys(kind_of(tap) for tap in TAPS):
        layered = f"layers.{{i}}.{kind}" in TAPS
        yield from ((kind, layered, i) for i in (range(3) if layered else [0]))


def test_the_list_below_the_map_has_every_number():
    report = report_of("decode-position-plus-1")
    page = page_of(report)
    listed = {text for attrs, text in page.all("th") if attrs["scope"] == "row"}
    assert listed >= {tap.tap for tap in report.taps}
    values = [text for attrs, text in page.all("td") if "title" not in attrs]
    for tap in report.taps:
        assert floors(tap.ratio) in values and f"{tap.error:.2e}" in values


@pytest.mark.parametrize(
    ("ratio", "text", "name"),
    [(0.94, "0.9", "ok"), (9.99, "10", "suspicious"), (34.0, "34", "d2"), (239.0, "239", "d3"),
     (1234.0, "1.2k", "d4"), (54321.0, "54k", "d5"), (999600.0, "1.0M", "d6"),
     (3.1e6, "3.1M", "d7"), (2e10, "2e+10", "d7"), (float("inf"), "∞", "d7")],
)  # fmt: skip
def test_the_scale_is_logarithmic_and_tells_34_from_239(ratio, text, name):
    assert short(ratio) == text and shade_of(ratio) == name


def test_every_shade_has_a_style_and_a_place_in_the_legend():
    page = page_of(report_of())
    (legend,) = [text for attrs, text in page.all("ul") if attrs["class"] == "legend"]
    for name, most in SHADES:
        assert re.search(rf"^\.{name} {{|[ }}]\.{name} {{", STYLE, re.MULTILINE)
        assert f"{most:,.0f}" in legend or most == float("inf")


@pytest.mark.parametrize("verdict", ["not finite", "wrong shape", "wrong dtype", "missing"])
def test_what_has_no_number_says_so(verdict):
    report = dataclasses.replace(report_of(), taps=(TapVerdict("logits", verdict),))
    attrs, text = page_of(report).cells()["logits"]
    assert text.removeprefix("▸").split()[0] in ("NaN", "shape", "dtype", "–")
    assert attrs["class"].split()[0] == ("missing" if verdict == "missing" else "bad")


def contrast(one, other):
    """The contrast of two colours #rgb or #rrggbb, 1 to 21; WCAG 2.2, relative luminance."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_numbers_can_be_read_on_their_colours():
    pairs = re.findall(r"\{ background: (#\w+); color: (#\w+)", STYLE)
    assert len(pairs) >= len(SHADES) + 3
    for background, ink in pairs:
        assert contrast(background, ink) >= 4.5, (background, ink)


def test_three_values_at_the_worst_place_are_shown_beside_what_they_should_be() -> None:
    report = report_of("decode-position-plus-1")
    first = report.first_divergent
    assert first is not None and first.worst is not None
    lines = as_text(report).splitlines()
    at = lines.index(f"furthest off in {first.tap} at [{', '.join(map(str, first.worst))}]")
    row, head, start = first.worst
    got = dump("decode-position-plus-1")[first.tap][row, head, start : start + 3]
    want = golden().values[first.tap][row, head, start : start + 3]
    assert lines[at + 1].split() == ["yours", *(f"{x:.6g}" for x in got.tolist())]
    assert lines[at + 2].split() == ["should", "be", *(f"{x:.6g}" for x in want.tolist())]
    assert abs(float(got[0]) - float(want[0])) == first.max_abs


def test_a_pass_says_what_its_dtype_hides() -> None:
    """With all taps and with logits alone; at bfloat16 ε is among it."""
    bundle, fewer = golden(), 0
    for taps in (list(bundle.values), ["logits"]):
        values = {tap: dump(dtype="bfloat16")[tap] for tap in taps}
        report = compare(bundle, Candidate(values, "bfloat16"))
        hidden = {one.fault: one.ratio for one in report.not_excluded or ()}
        assert report.summary == "passed" and "norm-eps-1e-6" in hidden
        assert not any(CATALOGUE[fault].harmless for fault in hidden)
        assert list(hidden.values()) == sorted(hidden.values(), reverse=True)
        (line,) = (x for x in as_text(report).splitlines() if x.startswith("not excluded: "))
        assert line.startswith(f"not excluded: {len(hidden)} known mistakes are too small")
        assert all(fault in line for fault in list(hidden)[:3])
        found = as_json(report)["not_excluded"]
        assert {one["fault"]: one["ratio"] for one in found} == hidden
        if taps == ["logits"]:  # so says a run of each, too
            seen = {f: d["bfloat16"].logits for f, d in bundle.detectability.items()}
            assert hidden.keys() == {
                f for f, x in seen.items() if (x or 0) <= 10 and not CATALOGUE[f].harmless
            }
            assert len(hidden) > fewer
        fewer = len(hidden)


def test_what_was_not_measured_is_not_said() -> None:
    """Some rows alone; an older golden, by logits alone; one without detectability."""
    bundle, logits = golden(), dump()["logits"]
    whole = Candidate({"logits": logits}, "float32")
    assert compare(bundle, whole).not_excluded is not None
    some = Candidate({"logits": logits[-1:]}, "float32", rows={"logits": [len(logits) - 1]})
    assert compare(bundle, some).not_excluded is None
    old = {
        fault: {dtype: dataclasses.replace(d, logits=None) for dtype, d in of.items()}
        for fault, of in bundle.detectability.items()
    }
    older = dataclasses.replace(bundle, detectability=old)
    assert compare(older, whole).not_excluded is None
    assert compare(older, Candidate(dump(), "float32")).not_excluded is not None
    none = dataclasses.replace(bundle, detectability={})
    assert compare(none, whole).not_excluded is None
    assert "not excluded" not in as_text(compare(none, whole))


def test_where_noise_is_as_large_as_the_logits_nothing_passes() -> None:
    bundle = golden()
    wide = {tap: (0.2,) * len(bundle.schedule.groups) for tap in bundle.values}
    noisy = dataclasses.replace(bundle, floors={**bundle.floors, "bfloat16": wide})
    for values in (dump(), {"logits": np.zeros_like(dump()["logits"])}):
        report = compare(noisy, Candidate(values, "bfloat16"))
        assert report.summary == "incomplete" and report.exit_code == 3 and not report.judgeable
        assert "nothing can pass" in headline(report) and as_json(report)["judgeable"] is False
    assert compare(noisy, Candidate(dump(), "float32")).summary == "passed"
