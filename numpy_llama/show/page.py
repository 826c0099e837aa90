"""The trace as one page: what can be written now is, and the page's script draws the numbers."""

import json
from html import escape
from importlib.resources import files

from ..look import document
from .beside import beside
from .choice import EXAMPLE, FILTERS, choice_facts
from .facts import (
    GATES,
    Arrays,
    attention_facts,
    feed_forward_facts,
    head_facts,
    rope_facts,
    stream_facts,
)
from .packing import Packed, pack
from .run import Run, Shown
from .sections import SECTIONS, Section
from .source import Sites

# The scripts in the order of their use; each may call what stands above it.
SCRIPTS = (
    "unpack.js",
    "state.js",
    "parts.js",
    "stream.js",
    "rope.js",
    "attention.js",
    "cache.js",
    "feed_forward.js",
    "choice.js",
    "main.js",
)


def front(name: str) -> str:
    """A file of the page's looks and scripts."""
    return (files(__package__) / "front" / name).read_text(encoding="utf-8")


def section_html(number: int, section: Section, sites: Sites) -> str:
    """A section before the script has drawn its numbers."""
    id = section.id
    return f"""<section id="{id}" aria-labelledby="{id}-title">
<h2 id="{id}-title"><span class="number">{number}</span> {escape(section.title)}</h2>
<div class="shown"><p class="say"></p><div class="figure"></div></div>
<aside aria-label="Source: {escape(section.title)}">{beside(section, sites)}</aside>
</section>"""


# — the numbers —


def pieces_used(run: Run, arrays: Arrays, choices: list[dict[str, list[int]]]) -> dict[int, str]:
    """How every token reads that the page names."""
    ids = {*run.ids, *run.chosen}
    for name in ("logits.ids", "lens.ids", "comes"):
        ids |= set(arrays[name][1].ravel().tolist())
    for choice in choices:
        ids |= set(choice["ids"])
    return {int(token): run.piece(int(token)) for token in sorted(ids)}


def bytes_of(run: Run, token: int) -> str:
    """The bytes of a token, in hex; "" for a control token."""
    tokenizer = run.text.tokenizer
    return tokenizer.id_bytes(token).hex(" ") if token < tokenizer.vocab_size else ""


def head_of(run: Run, shown: Shown, packed: Packed, arrays: Arrays) -> dict[str, object]:
    """What the script is told in words and in few numbers."""
    c = run.model.config
    names = ("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim", "vocab_size")
    choices = choice_facts(run)
    greedy = run.settings.temperature == 0
    settings = EXAMPLE if greedy else run.settings
    return {
        "config": {name: getattr(c, name) for name in names} | {"norm_eps": c.norm_eps},
        "prompt": run.prompt,
        "ids": run.ids,
        "bytes": [bytes_of(run, token) for token in run.ids],
        "positions": shown.positions,
        "layers": shown.layers,
        "itemsize": run.model.weights.tok_embeddings.dtype.itemsize,
        "dtype": str(run.model.weights.tok_embeddings.dtype),
        "rope": rope_facts(run),
        "borders": GATES.tolist(),
        "greedy": greedy,
        "seed": run.seed,
        "filters": [[name, getattr(settings, name)] for name in FILTERS],
        "choices": choices,
        "pieces": pieces_used(run, arrays, choices),
        "arrays": packed.index,
    }


def left_out(run: Run, shown: Shown) -> str:
    """A sentence on what is not on the page, for its size."""
    c = run.model.config
    parts = [
        "of the stream, each row in 127 steps",
        f"of SwiGLU's {c.hidden_dim:,} features the 12 that pass most and a histogram",
        "of the values their size alone",
    ]
    if len(shown.layers) < c.n_layers:
        parts.append(f"of {c.n_layers} layers {len(shown.layers)}")
    if len(shown.positions) < len(run.ids):
        parts.append(f"of {len(run.ids)} positions the first and the last ones")
    return f"Left out for size: {'; '.join(parts)}. Scores, q and k have 11 significant bits."


def trace_page(run: Run, shown: Shown) -> str:
    """The page of a run. The same run gives the same text."""
    arrays = stream_facts(run, shown) | attention_facts(run, shown)
    arrays |= feed_forward_facts(run, shown) | head_facts(run, shown)
    packed = pack(arrays)
    head = json.dumps(head_of(run, shown, packed, arrays), ensure_ascii=False, allow_nan=False)
    safe = head.replace("<", "\\u003c")  # else a token "</script>" would end the script
    text = run.text.decode(run.ids[: run.prompt])
    sections = "\n".join(
        section_html(i, section, run.sites) for i, section in enumerate(SECTIONS, 1)
    )
    c = run.model.config
    model = (
        f"{run.text.path.name}: {c.n_layers} layers of dim {c.dim}, {c.n_heads} query heads on "
        f"{c.n_kv_heads} key/value heads, {run.model.weights.tok_embeddings.dtype}"
    )
    body = front("page.html")
    for key, value in {
        "PROMPT": escape(text),
        "MODEL": escape(model),
        "LINKS": "".join(
            f'<a href="#{s.id}" title="{escape(s.title)}">{i}<span> {escape(s.title.split(":")[0])}'
            "</span></a>"
            for i, s in enumerate(SECTIONS, 1)
        ),
        "SECTIONS": sections,
        "LEFT_OUT": escape(left_out(run, shown)),
        "HEAD": safe,
        "BLOB": packed.blob,
        "SCRIPT": "\n".join(front(name) for name in SCRIPTS),
    }.items():
        body = body.replace(f"<!--{key}-->", value, 1)
    return document(f"{text[:60]} – a trace", front("page.css"), body)
