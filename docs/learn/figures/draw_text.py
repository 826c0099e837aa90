"""Chapters 1 and 9: a text as tokens; from logits to one token."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from numpy_llama.sampling import Sampling, next_token_probabilities

from .style import BLUE, CARD, INK, LINE, ORANGE, SOFT, bare, label, panels

TEXTS = [
    "The llama hums.",
    "Unbelievably",
    "12345 + 678",
    "Größe",
    "ein Lama summt",
    "    return x",
]
SETTINGS = {
    "temperature 1": Sampling(temperature=1.0),
    "temperature 0.5": Sampling(temperature=0.5),
    "temperature 2": Sampling(temperature=2.0),
    "top-k 4": Sampling(temperature=1.0, top_k=4),
    "top-p 0.5": Sampling(temperature=1.0, top_p=0.5),
    "min-p 0.2": Sampling(temperature=1.0, min_p=0.2),
}


def draw_tokens(run) -> Figure:
    """Six short texts cut into the tokens of SmolLM2, each with its id. Common English words are
    one token with the space before them; rare words, digits and other languages need more."""
    figure, (axis,) = panels(1, 1, 2.9)
    bare(axis, "")
    for row, text in enumerate(TEXTS):
        x = 0.0
        for at, token in enumerate(run.text.encode(text)):
            piece = run.text.decode([token])
            shown = piece.replace(" ", "␣") if "\ufffd" not in piece else "part of a letter"
            width = max(len(shown) * 0.155, len(str(token)) * 0.105) + 0.16
            box = dict(width=width, height=0.72, fc=CARD, ec=(BLUE, ORANGE)[at % 2], lw=1.2)
            axis.add_patch(Rectangle((x, -row - 0.36), **box))
            axis.text(x + width / 2, -row + 0.1, shown, ha="center", va="center", fontsize=9)
            axis.text(
                x + width / 2,
                -row - 0.22,
                str(token),
                ha="center",
                va="center",
                fontsize=6,
                color=SOFT,
            )
            x += width + 0.07
    axis.set(xlim=(-0.05, 6.2), ylim=(-len(TEXTS) + 0.5, 0.5))
    return figure


def draw_sampling(run) -> Figure:
    """The nine likeliest tokens after "Once upon a time, there was a little" in six ways: a low
    temperature sharpens, a high one flattens; top-k keeps four, top-p those that reach one half,
    min-p those at least a fifth as likely as the first. What is kept is scaled to sum 1."""
    logits = run.girl
    order = np.argsort(-logits)[:9]
    words = [run.text.decode([int(i)]).strip() for i in order]
    figure, axes = panels(2, 3, 3.9, sharex=True, sharey=True)
    for axis, (title, settings) in zip(axes, SETTINGS.items(), strict=True):
        p = next_token_probabilities(logits, settings)[order]
        axis.barh(range(9), p, color=BLUE, height=0.65)
        for y, value in enumerate(p):
            label(axis, value, y, f"{value:.2f}" if value else "0", 6.5)
        axis.set(title=title, yticks=range(9), yticklabels=words, xticks=[0, 0.5, 1], xlim=(0, 1))
        axis.grid(axis="x", color=LINE, lw=0.5)
        axis.set_axisbelow(True)
    axes[0].invert_yaxis()
    axes[4].set_xlabel("probability", color=INK)
    return figure
