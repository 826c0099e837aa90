"""How the figures look: one palette for light and dark, text that stays text, the same bytes again.

Colours are written for light pages; a style sheet inside each SVG exchanges them where the reader's
page is dark. The background is left out.
"""

import io
import re
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

INK, SOFT, LINE, CARD = "#1f2328", "#59636e", "#d1d9e0", "#eaeef2"
BLUE, ORANGE, GREEN, PURPLE, RED = "#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e"
DARK = {
    INK: "#e6edf3",
    SOFT: "#9198a1",
    LINE: "#3d444d",
    CARD: "#2a313c",
    BLUE: "#4493f8",
    ORANGE: "#f0883e",
    GREEN: "#3fb950",
    PURPLE: "#ab7df8",
    RED: "#f85149",
}

plt.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "numpy_llama",
        "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than most
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": LINE,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
    }
)


def panels(rows: int, columns: int, height: float, **options) -> tuple[Figure, list[Axes]]:
    """A figure 7.6 inches wide with its panels in reading order."""
    size = (7.6, height)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **options)
    return figure, list(axes.flat) if rows * columns > 1 else [axes]


def bare(axis: Axes, title: str) -> None:
    """A panel without axes, in which things are placed by hand."""
    axis.set_axis_off()
    axis.set_title(title)


def label(axis: Axes, x: float, y: float, text: str, size: float = 7) -> None:
    """A number at the end of a bar."""
    axis.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=size)


def heat(axis: Axes, values, colour: str = BLUE) -> None:
    """A matrix as squares, the first row on top; the deeper the colour, the larger the value."""
    top = values.max()
    for i, j in zip(*(values > 0.015 * top).nonzero(), strict=True):  # a paler one is not seen
        value = values[i, j]
        cell = plt.Rectangle((j - 0.5, i - 0.5), 1, 1, color=colour, alpha=value / top, lw=0)
        axis.add_patch(cell)
    axis.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5), aspect="equal")


def dark_rules() -> str:
    """The style sheet that exchanges each colour on a dark page."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"


def svg_of(figure: Figure, title: str, description: str) -> str:
    """The figure as SVG: titled for screen readers, numbers to 2 decimals, no date, no version."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE.*?>", "", out.getvalue(), flags=re.S
    )
    text = re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", text)
    text = text.replace("'DejaVu Sans'", "DejaVu Sans,sans-serif")  # where the reader has it not
    told = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{dark_rules()}"
    text = re.sub(r"(<svg [^>]*)>", rf'\1 role="img">{told}', text, count=1)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def save(figure: Figure, path: Path, title: str, description: str) -> None:
    """Write the figure, whole or not at all."""
    text = svg_of(figure, title, description)
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
