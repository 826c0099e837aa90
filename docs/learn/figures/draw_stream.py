"""Chapters 2 and 8: RMSNorm, and the residual stream that it reads."""

import numpy as np
from matplotlib.figure import Figure

from numpy_llama.norm import rms, rms_norm

from .small import layer_norm, norm_steps
from .style import BLUE, GREEN, LINE, ORANGE, SOFT, label, panels

D = 4096  # the width whose steps are counted: Llama 7B's and 8B's


def circle_panel(axis) -> None:
    """What the two norms make of vectors with two features."""
    x = np.array([[3.0, 4.0], [1.0, 0.2], [-0.6, 1.5], [2.5, -1.0], [-2.0, -0.5], [0.4, -1.6]])
    ours = rms_norm(x, np.ones(2), rms(x, 0.0))
    theirs = layer_norm(x, np.ones(2), np.zeros(2), 0.0)
    turn = np.linspace(0, 2 * np.pi, 60)
    axis.plot(np.sqrt(2) * np.cos(turn), np.sqrt(2) * np.sin(turn), color=LINE, lw=1)
    for a, b in zip(x, ours, strict=True):
        axis.plot([a[0], b[0]], [a[1], b[1]], color=SOFT, lw=0.7)
    axis.plot(*x.T, "o", color=SOFT, ms=4, label="x")
    axis.plot(*ours.T, "o", color=BLUE, ms=5, label="RMSNorm(x)")
    axis.plot(*theirs.T, "s", color=ORANGE, ms=5, label="LayerNorm(x)")
    axis.set(
        title="A: length kept at √D, direction free",
        aspect="equal",
        xlim=(-4.6, 4.6),
        ylim=(-2, 4.3),
    )
    axis.legend(fontsize=7, loc="upper left")


def shift_panel(axis) -> None:
    """The statistic of a row to which a number is added."""
    row = np.array([-1.0, 0.0, 1.0])
    shifts = np.linspace(-4, 4, 33)
    rows = row + shifts[:, None]
    axis.plot(shifts, rms(rows, 0.0), color=BLUE, label="√ mean of squares (RMS)")
    axis.plot(shifts, rows.std(axis=1), color=ORANGE, label="√ variance")
    axis.set(title="B: add c to (-1, 0, 1)", xlabel="c", ylim=(0, 5))
    axis.legend(fontsize=7, loc="upper center")


def draw_norm(run) -> Figure:
    """Four panels. A: RMSNorm moves vectors along their own direction onto a circle; LayerNorm of
    two features leaves only two points. B: when c is added to every feature the RMS grows and the
    variance stays. C: in SmolLM2's stream mean² is below 0.4 % of the mean square in every layer.
    D: one reduction and fewer steps for RMSNorm than for LayerNorm."""
    figure, axes = panels(2, 2, 4.6)
    circle_panel(axes[0])
    shift_panel(axes[1])
    axes[2].plot(100 * run.mean_share, color=GREEN, marker="o", ms=3)
    axes[2].set(
        title="C: mean² / mean square, SmolLM2's stream, %", xlabel="after layer", ylim=(0, 0.5)
    )
    ours, theirs = norm_steps(D)
    names = ["RMSNorm", "LayerNorm"]
    steps = [n["elementwise"] for n in (ours, theirs)]
    axes[3].barh(names, steps, color=[BLUE, ORANGE], height=0.55)
    for y, (count, n) in enumerate(zip(steps, (ours, theirs), strict=True)):
        label(axes[3], count, y, f"{count:,}; {n['reductions']} sum" + "s" * (n["reductions"] > 1))
    axes[3].set(title=f"D: steps for one row, D = {D:,}", xlim=(0, max(steps) * 1.45), xticks=[])
    axes[3].invert_yaxis()
    return figure


def draw_stream(run) -> Figure:
    """Two panels over the layers of SmolLM2. Left: the size of the stream grows from 0.1 to about
    34 for the middle token, and the first token's is a thousand from the
    twelfth layer on. Right: the rank
    of " Paris" among 49,152 tokens is in the thousands for 23 layers and then falls to 0."""
    figure, (left, right) = panels(1, 2, 2.9)
    left.plot(np.median(run.sizes, axis=1), color=BLUE, marker="o", ms=3, label="middle token")
    left.plot(run.sizes[:, 0], color=ORANGE, marker="s", ms=3, label="first token")
    left.set(title="RMS of the stream", yscale="log", xlabel="after layer (0: the embedding)")
    left.legend(fontsize=7)
    right.plot([rank + 1 for rank in run.lens], color=GREEN, marker="o", ms=3)
    right.set(title='rank of " Paris", were this the last layer', yscale="log")
    right.set(xlabel="after layer (0: the embedding)", yticks=[1, 10, 100, 1000, 10000])
    right.set_yticklabels(["first", "10th", "100th", "1,000th", "10,000th"])
    for axis in (left, right):
        axis.grid(color=LINE, lw=0.5)
        axis.minorticks_off()
    return figure
