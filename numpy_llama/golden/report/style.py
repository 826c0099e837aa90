"""How the pages look: one style sheet for a check, and for other pages of numbers by tap and layer.

Light and dark, on paper, from 360 pixels on. Every colour has a number beside it that says the
same, and each shade its own text colour, so that both can be read in either theme.
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
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --soft: #5b5b62; --line: #d7d7dc;
  --card: #f5f5f7; --good: #11653f; --bad: #a81e26; --part: #855000; --mark: #1447c9;
  --choice: #6a2c9e }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --paper: #151517; --soft: #a8a8b2;
  --line: #3a3a40; --card: #212125; --good: #6fd3a0; --bad: #ff9a94; --part: #f0bd66;
  --mark: #9db8ff; --choice: #d3a9ff } }
* { box-sizing: border-box }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; padding: 1rem; max-width: 84rem; overflow-wrap: anywhere }
h1 { font-size: 1.35rem; line-height: 1.3; margin: .5rem 0 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } h3 { font-size: 1.05rem; margin: 0 0 .25rem }
p { margin: .5rem 0; max-width: 60rem } .soft { color: var(--soft) }
.passed { color: var(--good) } .diverged { color: var(--bad) } .incomplete { color: var(--part) }
.choice { color: var(--choice) }
.card { background: var(--card); border-left: .3rem solid var(--mark); padding: .75rem 1rem;
  margin: .75rem 0; max-width: 60rem }
code, pre, .numbers td { font-family: ui-monospace, monospace; font-size: .85rem }
pre { overflow-x: auto; overflow-wrap: normal; background: var(--card); padding: .75rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .5rem 0 }
dt { color: var(--soft) } dd { margin: 0 }
.scroll { overflow-x: auto; padding: 3px } .scroll:focus-visible, summary:focus-visible {
  outline: 2px solid var(--mark) }
table { border-collapse: collapse } caption { text-align: left; padding: .25rem 0 }
th { font-weight: 600; text-align: left; padding: .15rem .5rem; white-space: nowrap }
.numbers td, .numbers th { padding: .15rem .75rem .15rem 0; border-bottom: 1px solid var(--line) }
.numbers td { white-space: nowrap }
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
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
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
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem }
  body { padding: .5rem } }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444;
  --line: #bbb; --card: #fff; --good: #11653f; --bad: #a81e26; --part: #855000; --mark: #1447c9;
  --choice: #6a2c9e }
  .ok { background: #d3ecdd; color: #10402a } .suspicious { background: #fdeb9c; color: #423400 }
  body { max-width: none; font-size: .8rem } * { print-color-adjust: exact }
  .scroll { overflow: visible } .map { font-size: .5rem } .map td { min-width: 0 }
  tr, .card { break-inside: avoid } details::details-content { content-visibility: visible }
  pre { white-space: pre-wrap } }
"""
