"""Chapters 7 and 11: the gate, and two wrong sentences as curves."""

import numpy as np
from matplotlib.figure import Figure

from numpy_llama.feed_forward import swish

from .costs import SMOLLM2, forward_flops, parameters
from .style import BLUE, GREEN, LINE, ORANGE, PURPLE, RED, SOFT, label, panels
from .variants import ACTIVATIONS

WRONG = ACTIVATIONS["x·σ(x) + (1-σ(x))·x"]


def draw_swiglu(run) -> Figure:
    """Three panels. A: Swish for β = 0, 1 and 10: a line, a smooth bend, nearly ReLU. B: two
    matrices of D by 4 D hold as much as three of D by 8/3 D. C: the loss of SmolLM2 with other
    functions between its projections: 3.7 as trained, 4.9 with GELU, 9 and more with all others."""
    figure, axes = panels(1, 3, 3.0, width_ratios=[1, 1, 1.15])
    z = np.linspace(-5, 5, 81)
    for beta, colour in ((0.0, SOFT), (1.0, BLUE), (10.0, ORANGE)):
        axes[0].plot(z, swish(z, beta), color=colour, label=f"β = {beta:g}")
    axes[0].set(title="A: Swish: z · σ(βz)", xlabel="z")
    axes[0].grid(color=LINE, lw=0.5)
    axes[0].legend(fontsize=7)
    for x, (name, width, matrices, colours) in enumerate(
        (("ReLU network", 4, 2, (BLUE, GREEN)), ("SwiGLU", 8 / 3, 3, (BLUE, GREEN, ORANGE)))
    ):
        for n, colour in zip(range(matrices), colours, strict=True):
            axes[1].bar(x, width, bottom=n * width, color=colour, width=0.55, alpha=0.75)
        axes[1].text(x, 8.2, f"{matrices} × {width:.3g} D²", ha="center", fontsize=8)
        axes[1].text(x, -0.75, name, ha="center", fontsize=8)
    for y, word in ((6.6, "gate"), (4, "up"), (1.3, "down")):
        axes[1].text(1.33, y, word, fontsize=7.5, va="center")
    for y, word in ((2, "down"), (6, "up")):
        axes[1].text(-0.33, y, word, fontsize=7.5, va="center", ha="right")
    axes[1].set(
        title="B: matrices, in D²", xlim=(-0.8, 1.8), ylim=(-1, 9), xticks=[], yticks=[0, 4, 8]
    )
    names = list(run.activations)
    losses = list(run.activations.values())
    axes[2].barh(names, losses, color=[GREEN] + [PURPLE] * (len(names) - 1), height=0.6)
    for y, value in enumerate(losses):
        label(axes[2], value, y, f"{value:.1f}")
    axes[2].set(title="C: loss, SmolLM2", xlim=(0, 30), xticks=[])
    axes[2].tick_params(axis="y", labelsize=7)
    axes[2].invert_yaxis()
    return figure


def draw_wrong(run) -> Figure:
    """Left: the formula x·σ(x) + (1-σ(x))·x, often given as SwiGLU, is the straight line x; the
    product of swish(x) and x is not. Right: operations for each byte of weights that a forward of
    SmolLM2 reads: 1 for one new token, as with a cache, and higher the more are fed at once."""
    figure, (left, right) = panels(1, 2, 2.8)
    x = np.linspace(-3, 3, 61)
    left.plot(x, swish(x) * x, color=GREEN, label="swish(x) · x")
    left.plot(x, x, color=LINE, lw=5, label="x")
    left.plot(x[::4], WRONG(x, x)[::4], "o", color=RED, ms=3, label="x·σ(x) + (1-σ(x))·x")
    left.set(title="a formula often given for SwiGLU is x", xlabel="x", ylim=(-3, 4))
    left.legend(fontsize=7)
    lengths = [1, 2, 4, 8, 16, 32, 64, 128]
    read = 2 * parameters(SMOLLM2)
    values = [forward_flops(SMOLLM2, L, L, rows=1) / read for L in lengths]
    right.plot(lengths, values, color=BLUE, marker="o", ms=4)
    right.set(
        title="FLOP a byte of 16-bit weights",
        xscale="log",
        yscale="log",
        xlabel="new tokens in a forward",
    )
    right.set_xticks(lengths, [str(n) for n in lengths])
    right.set_yticks([1, 10, 100], ["1", "10", "100"])
    right.minorticks_off()
    for axis in (left, right):
        axis.grid(color=LINE, lw=0.5)
    return figure
