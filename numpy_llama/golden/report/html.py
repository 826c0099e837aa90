"""A judgement as one page that needs nothing else: no script, no font, no picture from anywhere.

Below the text report, a map: one row for each tap, one column for each layer, coloured by how far
off it is. Where the colour begins is where to look.
"""

import math
from html import escape

from ...taps import TAPS
from ..compare.verdict import Report, TapVerdict
from ..record.bundle import Bundle
from ..replay.metrics import DIVERGENT, SUSPICIOUS, floors
from .text import as_text, headline, kind_of

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 2rem }
.passed { color: #16794c } .diverged { color: #c0262d } .incomplete { color: #a15c00 }
pre { overflow-x: auto; font: 13px/1.45 ui-monospace, monospace }
.map { overflow-x: auto } table { border-collapse: collapse; font-size: 12px }
th { font-weight: normal; text-align: right; padding: 0 .4rem; white-space: nowrap }
td { width: 1.1rem; min-width: 1.1rem; height: 1.1rem; border: 1px solid Canvas }
td.missing { background: repeating-linear-gradient(45deg, #8883 0 2px, transparent 2px 5px) }
"""


def colour(tap: TapVerdict) -> str:
    """Green for noise, yellow for suspicious, and from there to a dark red at 10⁶ floors."""
    if tap.verdict == "ok":
        return "#7bc49a"
    if tap.verdict == "suspicious":
        return "#e9c84a"
    ratio = min(max(tap.ratio or 1e6, DIVERGENT), 1e6)  # a wrong shape is as bad as can be
    depth = math.log(ratio / DIVERGENT) / math.log(1e6 / DIVERGENT)
    return f"hsl(4 70% {62 - 34 * depth:.0f}%)"


def hint(tap: TapVerdict) -> str:
    """What is shown when the pointer rests on a cell."""
    parts = [f"{tap.tap}: {tap.verdict}"]
    if tap.ratio is not None:
        parts.append(f"{floors(tap.ratio)} floors (error {tap.error:.2e}, floor {tap.floor:.2e})")
    if tap.first_bad_row is not None:
        parts.append(f"first bad row {tap.first_bad_row}, {tap.phase}")
    return "; ".join(parts + ([tap.detail] if tap.detail else []))


def cell(tap: TapVerdict) -> str:
    title = escape(hint(tap), quote=True)
    if tap.verdict == "missing":
        return f'<td class="missing" title="{title}"></td>'
    return f'<td style="background: {colour(tap)}" title="{title}"></td>'


def tap_map(report: Report) -> str:
    """All taps: kinds downwards in causal order, layers to the right."""
    kinds: dict[str, list[TapVerdict]] = {kind_of(tap): [] for tap in TAPS}
    for tap in report.taps:
        kinds[kind_of(tap.tap)].append(tap)
    lines = [
        f"<tr><th>{escape(kind)}</th>{''.join(cell(tap) for tap in taps)}</tr>"
        for kind, taps in kinds.items()
        if taps
    ]
    return f'<div class="map"><table>{"".join(lines)}</table></div>'


def as_html(report: Report, bundle: Bundle, candidate: str) -> str:
    """The report of the candidate of this name as a page."""
    of = f"{candidate} against {bundle.source or 'a model without a name'}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(report.summary)}: {escape(candidate)}</title>
<style>{STYLE}</style>
<h1 class="{report.summary}">{escape(headline(report))}</h1>
<p>{escape(of)}, weights {escape(bundle.weights_sha256[:12])}…,
{len(bundle.schedule.tokens)} tokens of which {bundle.schedule.prompt} are the prompt.</p>
<h2>Where it is wrong</h2>
<p>Taps downwards in causal order, layers to the right. Green: within {SUSPICIOUS:g} floors;
yellow: within {DIVERGENT:g}; red: beyond. Striped: not given.</p>
{tap_map(report)}
<h2>The report</h2>
<pre>{escape(as_text(report))}</pre>
</html>
"""
