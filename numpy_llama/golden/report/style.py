"""How the page of a check looks, on top of the look of all our pages.

Every colour has a number beside it that says the same, and each shade its own text colour, so that
both can be read in either theme.
"""

# A class of the style sheet for each step of the logarithmic scale, with its largest number of
# floors; the last has no end.
SHADES = (
    ("ok", 3.0),
    ("suspicious", 10.0),
    ("d1", 30.0),
    ("d2", 100.0),
    ("d3", 1e3),
    ("d4", 1e4),
    ("d5", 1e5),
    ("d6", 1e6),
    ("d7", float("inf")),
)


def shade_of(ratio: float) -> str:
    """The class of a number of floors."""
    return next(name for name, most in SHADES if ratio <= most)


STYLE = """
.passed { color: var(--good) } .diverged { color: var(--bad) } .incomplete { color: var(--part) }
.choice { color: var(--choice) }
.card { background: var(--card); border-left: .3rem solid var(--mark); padding: .75rem 1rem;
  margin: .75rem 0; max-width: 60rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .5rem 0 }
dt { color: var(--soft) } dd { margin: 0 }
.map { font-size: .75rem; font-variant-numeric: tabular-nums; border-collapse: separate;
  border-spacing: 1px }
.map caption { font-size: .875rem } .map thead th { text-align: center; font-weight: 400 }
.map tbody th { position: sticky; left: 0; z-index: 1; background: var(--paper); font-weight: 400 }
.map td, .legend span { min-width: 2.9em; height: 1.8em; padding: 0 .2em; text-align: center;
  white-space: nowrap }
.map td[colspan] { text-align: left; padding-left: .75rem }
.map .first { outline: 3px solid var(--mark); outline-offset: 0;
  box-shadow: inset 0 0 0 2px #fff; font-weight: 700 }
.map .here { color: var(--mark); font-weight: 700 }
.legend { display: flex; flex-wrap: wrap; gap: .25rem; font-size: .75rem; list-style: none;
  padding: 0; margin: .5rem 0 } .legend span { display: block; padding: .1rem .5rem; height: auto }
.ok { background: #d3ecdd; color: #10402a } .suspicious { background: #fdeb9c; color: #423400 }
.d1 { background: #fdc98c; color: #402000 } .d2 { background: #f99a62; color: #361000 }
.d3 { background: #e2603f; color: #1f0000 } .d4 { background: #c22f42; color: #fff }
.d5 { background: #951b53; color: #fff } .d6 { background: #651059; color: #fff }
.d7 { background: #3a0a4f; color: #fff }
.bad { background: #000; color: #fff; border: 1px dashed #fff }
.missing { color: var(--soft); background: repeating-linear-gradient(45deg,
  var(--line) 0 1px, transparent 1px 6px) }
@media (prefers-color-scheme: dark) { .ok { background: #1d3f2e; color: #c8ecd7 }
  .suspicious { background: #6a5813; color: #fff3c4 } }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem } }
@media print {
  .ok { background: #d3ecdd; color: #10402a } .suspicious { background: #fdeb9c; color: #423400 }
  .scroll { overflow: visible } .map { font-size: .5rem } .map td { min-width: 0 }
  tr, .card { break-inside: avoid } details::details-content { content-visibility: visible }
  pre { white-space: pre-wrap } }
"""
