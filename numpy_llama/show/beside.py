"""What stands beside the numbers of a section: its formulas, and the lines that computed them."""

from html import escape

from .sections import Section
from .source import Sites, Source, calling, formula, source_of


def code_lines(rows: list[tuple[int, str]], marked: tuple[int, ...]) -> str:
    """Lines with their numbers; those that are marked, also for who cannot see the mark."""
    out = []
    for number, line in rows:
        here = number in marked
        said = '<span class="hidden">computed here: </span>' if here else ""
        kind = ' class="made"' if here else ""
        out.append(f"<span{kind}><i>{number}</i>{said}{escape(line) or ' '}</span>")
    return "\n".join(out)


def excerpt(source: Source) -> str:
    """Three lines around the one that computed; the whole function folds out."""
    where = f"{source.file}:{source.marked[0]}"
    whole = list(enumerate(source.lines, source.first))
    return f"""<figure class="code"><figcaption>{escape(where)}</figcaption>
<pre tabindex="0" role="region" aria-label="Lines of {escape(source.function)}, at {escape(where)}"
>{code_lines(source.excerpt(), source.marked)}</pre>
{fold(source, whole, f"all of {source.function}()")}</figure>"""


def fold(source: Source, rows: list[tuple[int, str]], title: str) -> str:
    """A function that folds out."""
    return f"""<details><summary>{escape(title)}</summary>
<pre tabindex="0" role="region" aria-label="{escape(source.function)}, whole"
>{code_lines(rows, source.marked)}</pre></details>"""


def beside(section: Section, sites: Sites) -> str:
    """What stands beside the numbers of a section: formulas, lines of source, functions."""
    parts = [f'<p class="formula">{escape(formula(f))}</p>' for f in section.formulas]
    sources = [sites.source(tap) for tap in section.taps]
    if section.call:
        sources.append(calling(*section.call))
    seen: dict[tuple[str, str], Source] = {}
    for source in sources:  # two taps of one function: one excerpt, both marked
        key = source.file, source.function
        old = seen.get(key)
        marked = sorted({*source.marked, *(old.marked if old else ())})
        seen[key] = Source(*key, source.first, source.lines, tuple(marked))
    parts += [excerpt(source) for source in seen.values()]
    for function in section.folds:
        source = source_of(function)
        rows = list(enumerate(source.lines, source.first))
        parts.append(fold(source, rows, f"{source.file}:{source.first} {source.function}()"))
    return "\n".join(parts)
