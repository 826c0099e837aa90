"""A judgement as one page that needs nothing else: no script, no font, no picture from anywhere.

First the diagnosis, then a map: a row for each tap, a column for each layer, in each cell by how
many floors it is off. The first wrong operation is marked. Last, all numbers, and the text report.
"""

from collections.abc import Iterable
from html import escape

from ...look import document
from ...taps import TAPS
from ..compare.verdict import Diagnosis, Report, Suspect, TapVerdict
from ..faults import KNOWN
from ..record.bundle import Bundle
from ..replay.metrics import DIVERGENT, SUSPICIOUS, floors
from .diagnosis import about_value, diagnosis_title, names_of
from .style import SHADES, STYLE, shade_of
from .table import kind_of
from .text import as_text, headline, operation

HERE = ' class="here"'  # of the row of the tap that is marked
# What stands in the cell of a tap that has no number of floors.
SHORT = {"missing": "–", "not finite": "NaN", "wrong shape": "shape", "wrong dtype": "dtype"}


def short(ratio: float) -> str:
    """A number of floors in a few characters: 0.9, 34, 239, 1.2k, 54k, 3.1M, 2e+10."""
    if ratio < 9.95:
        return f"{ratio:.1f}"
    if ratio < 999.5:
        return f"{ratio:.0f}"
    for unit, letter in ((1e3, "k"), (1e6, "M")):
        if ratio < 999.5 * unit:
            return f"{ratio / unit:.{1 if ratio < 9.95 * unit else 0}f}{letter}"
    return floors(ratio) if ratio == float("inf") else f"{ratio:.0e}"


def shade(tap: TapVerdict) -> str:
    """The class of a cell: how far off the tap is, or that it is not there, or no numbers."""
    if tap.ratio is None or tap.verdict in SHORT:
        return "missing" if tap.verdict == "missing" else "bad"
    return shade_of(tap.ratio)


def number(tap: TapVerdict) -> str:
    """What a cell says."""
    return SHORT.get(tap.verdict) or ("?" if tap.ratio is None else short(tap.ratio))


def hint(tap: TapVerdict) -> str:
    """What is shown when the pointer rests on a cell; the list below the map says the same."""
    parts = [f"{tap.tap}: {tap.verdict}"]
    if tap.ratio is not None:
        parts.append(f"{floors(tap.ratio)} floors (error {tap.error:.2e}, floor {tap.floor:.2e})")
    if tap.first_bad_row is not None:
        parts.append(f"first bad row {tap.first_bad_row}, {tap.phase}")
    return "; ".join(parts + ([tap.detail] if tap.detail else []))


def first_wrong(report: Report) -> tuple[str | None, str]:
    """The tap to be marked, and what it is: an operation that is known to be wrong, or less."""
    stage = report.first_bad_operation
    if stage is not None and (stage.inputs or stage.tap == "embed"):
        return stage.tap, "first wrong operation"
    first = report.first_divergent
    if first is None or first not in report.taps:
        return None, ""
    return first.tap, "first wrong tap of those given"


# — the diagnosis —


def described(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms, each with what is said of it; those without are left out."""
    items = [f"<dt>{escape(term)}</dt><dd>{escape(said)}</dd>" for term, said in pairs if said]
    return f"<dl>{''.join(items)}</dl>"


def about_suspect(suspect: Suspect, named: bool) -> str:
    """One suspect: what it does, what to do instead, how sure that is; its name if not `named`."""
    head = "" if named else f"<h3>{escape(names_of(suspect))}</h3>"
    left = f"a model with it differs by at most {floors(suspect.residual)} floors, at {suspect.tap}"
    parts = []
    for id in suspect.faults:
        fault = KNOWN[id]
        where = [("where", suspect.place), ("value", about_value(suspect))]
        about = [*where, ("it computes", fault.mathematics), ("fix", fault.fix)]
        last = [("evidence", left)] if id == suspect.faults[-1] else []
        parts.append(f"<p>{escape(fault.sentence)}</p>{described([*about, *last])}")
    return f'<div class="card">{head}{"".join(parts)}</div>'


def about_diagnosis(diagnosis: Diagnosis | None) -> str:
    """Which mistake it is, or that none explains it."""
    if diagnosis is None or diagnosis.outcome == "correct":
        return ""
    other = diagnosis.runner_up
    nearest = f"{names_of(other)}: {floors(other.residual)} floors off" if other else ""
    rest = [
        ("rows", diagnosis.evidence),
        ("runner-up" if diagnosis.suspects else "the nearest", nearest),
        ("tried", f"{diagnosis.tried} mistakes and choices" if diagnosis.tried else ""),
        ("note", diagnosis.detail),
    ]
    named = diagnosis.outcome == "named"
    suspects = "".join(about_suspect(suspect, named) for suspect in diagnosis.suspects)
    return f"<h2>{escape(diagnosis_title(diagnosis))}</h2>{suspects}{described(rest)}"


def about_values(report: Report) -> str:
    """Three values where the first wrong tap is most wrong: got, and expected."""
    marked, _ = first_wrong(report)
    tap = next((tap for tap in report.taps if tap.tap == marked), None)
    if tap is None or tap.worst is None or not tap.got:
        return ""
    rows = [
        f'<tr><th scope="row">[{escape(", ".join(map(str, (*tap.worst[:-1], tap.worst[-1] + i))))}]'
        f"</th><td>{got:.9g}</td><td>{expected:.9g}</td><td>{got - expected:+.3g}</td></tr>"
        for i, (got, expected) in enumerate(zip(tap.got, tap.expected, strict=True))
    ]
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Values">
<table class="numbers"><caption>Where {escape(tap.tap)} is most wrong</caption>
<thead><tr><th scope="col">index</th><th scope="col">got</th><th scope="col">expected</th>
<th scope="col">difference</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>"""


# — the map —


def legend() -> str:
    """What each colour stands for."""
    starts = [0.0, *(most for _, most in SHADES)]
    items = []
    for (name, most), start in zip(SHADES, starts, strict=False):
        end = f"above {start:,.0f}" if most == float("inf") else f"{start:,.0f} – {most:,.0f}"
        said = {"ok": f"noise, up to {most:g}", "suspicious": f"suspicious, up to {most:g}"}
        items.append(f'<li><span class="{name}">{said.get(name, end)}</span></li>')
    items.append('<li><span class="missing">– not given</span></li>')
    items.append('<li><span class="bad">no numbers: NaN, shape, dtype</span></li>')
    return f'<ul class="legend" aria-label="Colours, in floors">{"".join(items)}</ul>'


def cell(tap: TapVerdict, span: int, marked: str | None, what: str) -> str:
    """The cell of a tap; of one outside the layers, as wide as all of them."""
    first, wide = tap.tap == marked, f' colspan="{span}"' if span > 1 else ""
    classes = shade(tap) + (" first" if first else "")
    said = f'▸{number(tap)}<span class="hidden"> {what}</span>' if first else number(tap)
    return f'<td class="{classes}"{wide} title="{escape(hint(tap), quote=True)}">{said}</td>'


def map_row(kind: str, taps: list[TapVerdict], layers: int, marked: str | None, what: str) -> str:
    """One kind of tap in all layers."""
    span = 1 if taps[0].tap.startswith("layers.") else layers
    cells = "".join(cell(tap, span, marked, what) for tap in taps)
    here = any(tap.tap == marked for tap in taps)
    head = f'<th scope="row"{HERE if here else ""}>{"▸ " if here else ""}{escape(kind)}'
    return f"<tr>{head}</th>{cells}</tr>"


def tap_map(report: Report) -> str:
    """All taps: kinds downwards in causal order, layers to the right."""
    kinds: dict[str, list[TapVerdict]] = {kind_of(tap): [] for tap in TAPS}
    for tap in report.taps:
        kinds[kind_of(tap.tap)].append(tap)
    layers = max(map(len, kinds.values()), default=1)
    marked, what = first_wrong(report)
    note = f"<p>▸ {what}: {escape(marked)}</p>" if marked else ""
    rows = [map_row(kind, taps, layers, marked, what) for kind, taps in kinds.items() if taps]
    numbers = "".join(f'<th scope="col">{layer}</th>' for layer in range(layers))
    return f"""{note}
<div class="scroll" tabindex="0" role="region" aria-label="Map of taps and layers">
<table class="map"><caption>Floors by tap and layer</caption>
<thead><tr><th scope="col">layer</th>{numbers}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>"""


def tap_list(report: Report) -> str:
    """Every tap with its numbers, for those who cannot use the map, and for searching."""
    rows = []
    for tap in report.taps:
        values = [
            tap.verdict,
            floors(tap.ratio),
            "" if tap.error is None else f"{tap.error:.2e}",
            "" if tap.floor is None else f"{tap.floor:.2e}",
            "" if tap.first_bad_row is None else f"{tap.first_bad_row} ({tap.phase})",
            tap.detail,
        ]
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{escape(tap.tap)}</th>{cells}</tr>')
    titles = ("tap", "verdict", "floors", "error", "floor", "first bad row", "")
    heads = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return f"""<details><summary>Every tap, as a list</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Every tap">
<table class="numbers"><caption>Errors are relative RMS</caption>
<thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></details>"""


def as_html(report: Report, bundle: Bundle, candidate: str) -> str:
    """The report of the candidate of this name as a page."""
    of = f"{candidate} against {bundle.source or 'a model without a name'}"
    where = "".join(f"<p>{escape(line)}.</p>" for line in operation(report))
    body = f"""<main>
<h1 class="{report.summary}">{escape(headline(report))}</h1>
<p class="soft">{escape(of)}, weights {escape(bundle.weights_sha256[:12])}…,
{len(bundle.schedule.tokens)} tokens of which {bundle.schedule.prompt} are the prompt.</p>
{about_diagnosis(report.diagnosis)}
{where}
{about_values(report)}
<h2>Where it is wrong</h2>
<p class="soft">A floor is the error that rounding at {escape(report.dtype)} makes there: up to
{SUSPICIOUS:g} is noise, above {DIVERGENT:g} is not. Each cell says by how many floors a tap is off;
taps downwards in causal order, layers to the right. The scale of the colours is logarithmic.</p>
{legend()}
{tap_map(report)}
{tap_list(report)}
<h2>The report as text</h2>
<pre tabindex="0">{escape(as_text(report))}</pre>
</main>"""
    return document(f"{report.summary}: {candidate}", STYLE, body)
