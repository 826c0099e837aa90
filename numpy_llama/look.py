"""How our pages look: the judge's report, and the trace of a prompt.

A page is one file: no script, font or picture from anywhere. Light and dark, on paper, from 360
pixels on. A page adds its own style below this one; each colour has a text beside it.
"""

from html import escape

PAPER = """color-scheme: light; --ink: #000; --paper: #fff; --soft: #444; --line: #bbb;
  --card: #fff; --good: #11653f; --bad: #a81e26; --part: #855000; --mark: #1447c9;
  --second: #a8450a; --choice: #6a2c9e"""

STYLE = f"""
:root {{ color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --soft: #5b5b62; --line: #d7d7dc;
  --card: #f5f5f7; --good: #11653f; --bad: #a81e26; --part: #855000; --mark: #1447c9;
  --second: #a8450a; --choice: #6a2c9e }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ececf0; --paper: #151517; --soft: #a8a8b2;
  --line: #3a3a40; --card: #212125; --good: #6fd3a0; --bad: #ff9a94; --part: #f0bd66;
  --mark: #9db8ff; --second: #ffb071;
  --choice: #d3a9ff }} }}
* {{ box-sizing: border-box }}
body {{ font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; padding: 1rem; max-width: 84rem; overflow-wrap: anywhere }}
h1 {{ font-size: 1.35rem; line-height: 1.3; margin: .5rem 0 }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem }} h3 {{ font-size: 1.05rem; margin: 0 0 .25rem }}
p {{ margin: .5rem 0; max-width: 60rem }} .soft {{ color: var(--soft) }}
code, pre, .numbers td {{ font-family: ui-monospace, monospace; font-size: .85rem }}
pre {{ overflow-x: auto; overflow-wrap: normal; background: var(--card); padding: .75rem }}
/* A hidden text stays inside of what scrolls: positioned, else it would widen the page. */
.scroll, pre {{ position: relative }} .scroll {{ overflow-x: auto; padding: 3px }}
.scroll:focus-visible, pre:focus-visible, summary:focus-visible {{
  outline: 2px solid var(--mark) }}
table {{ border-collapse: collapse }} caption {{ text-align: left; padding: .25rem 0 }}
th {{ font-weight: 600; text-align: left; padding: .15rem .5rem; white-space: nowrap }}
.numbers td, .numbers th {{ padding: .15rem .75rem .15rem 0; border-bottom: 1px solid var(--line) }}
.numbers td {{ white-space: nowrap }}
.hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }}
@media (max-width: 40rem) {{ body {{ padding: .5rem }} }}
@media print {{ :root {{ {PAPER} }}
  body {{ max-width: none; font-size: .8rem }} * {{ print-color-adjust: exact }} }}
"""


def document(title: str, style: str, body: str) -> str:
    """A whole page; `style` is added to ours, `body` is HTML."""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
{body}
</html>
"""
