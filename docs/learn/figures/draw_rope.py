"""Chapters 3 and 10: rotation, distance, and what stretches a context."""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from numpy_llama import RopeScaling
from numpy_llama.rope import base_frequencies
from numpy_llama.rope_scaling import frequencies

from .costs import FAMILY
from .seen import decay_bound
from .small import scores_at, whole_matrix
from .style import BLUE, GREEN, INK, LINE, ORANGE, PURPLE, RED, SOFT, heat, panels

WAYS = {  # each its own dashes too: colour is not for everyone
    "default": (SOFT, "-"),
    "linear": (RED, "--"),
    "dynamic": (ORANGE, "-."),
    "yarn": (BLUE, "-"),
    "llama3": (GREEN, ":"),
}


def arrows(axis) -> None:
    """Two pairs of one key at eight positions: the fast pair and a slower one."""
    for radius, f, colour in ((1.0, 1.0, BLUE), (0.6, 0.1, ORANGE)):
        for p in range(8):
            tip = radius * np.cos(p * f), radius * np.sin(p * f)
            axis.annotate(
                "", tip, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1}
            )
            if f == 1.0 or p in (0, 7):  # the slow pair's arrows are too near for more
                at = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
                axis.text(1.17 * tip[0], 1.17 * tip[1], str(p), **at)
    axis.set(
        title="A: two pairs, positions 0 to 7", aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4)
    )
    axis.set_axis_off()


def draw_turns(run) -> Figure:
    """Three panels. A: arrows of a fast pair, one radian a position, and of a slow one, a tenth.
    B: RoPE at position 3 as one matrix of 16 by 16, zero but for eight blocks of 2 by 2 on its
    diagonal. C: the score of one query at m with one key at n: the same along each diagonal."""
    figure, axes = panels(1, 3, 2.9)
    arrows(axes[0])
    whole = whole_matrix(3, 16)
    heat(axes[1], np.abs(whole), PURPLE)
    axes[1].set(
        title=f"B: {whole.size} numbers, {np.count_nonzero(whole)} not zero", xticks=[], yticks=[]
    )
    axes[1].spines[["top", "right"]].set_visible(True)
    scores = np.array([[scores_at(m, n) for n in range(10)] for m in range(10)])
    heat(axes[2], scores - scores.min() + 0.02, BLUE)
    axes[2].set(
        title="C: score of q at m, k at n", xlabel="n", ylabel="m", xticks=[0, 9], yticks=[0, 9]
    )
    return figure


def draw_distance(run) -> Figure:
    """Left: the bound of the RoPE paper falls with distance, but with waves: at half of the steps
    it rises. Right: real queries and keys of SmolLM2, placed apart: their mean score falls below
    zero with distance, and the mean of its absolute value grows."""
    figure, (left, right) = panels(1, 2, 2.9)
    far = np.unique(np.geomspace(1, 4096, 160).astype(int))
    left.plot(far, decay_bound(1e4, 128, far), color=PURPLE, lw=1.2)
    left.set(title="the paper's bound, θ = 10,000, hd = 128", xscale="log", ylim=(0, 1))
    scores = run.replaced
    places = np.arange(len(scores))
    right.plot(
        places,
        [s.mean() for s in scores.values()],
        color=BLUE,
        marker="o",
        ms=4,
        label="mean score",
    )
    means = [np.abs(s).mean() for s in scores.values()]
    right.plot(places, means, color=ORANGE, marker="s", ms=4, label="mean |score|")
    right.set(title="real q and k of SmolLM2, placed apart")
    right.set_xticks(places, [f"{d:,}" for d in scores])
    right.axhline(0, color=SOFT, lw=0.7)
    right.legend(fontsize=7, loc="upper left")
    for axis in (left, right):
        axis.set_xlabel("distance in tokens", color=INK)
        axis.grid(color=LINE, lw=0.5)
    return figure


def draw_context(run) -> Figure:
    """Left: the frequency of each pair of Llama 2 7B for 16,384 positions, as a part of the one it
    was trained with, under four scalings by 4: linear slows all pairs alike, the others leave the
    fastest. Right: the loss on a short text: linear scaling costs most, YaRN little, dynamic NTK
    nothing."""
    figure, (left, right) = panels(1, 2, 3.0)
    config = replace(FAMILY["Llama 2 7B"], max_context=4096)
    trained = base_frequencies(1e4, 128)
    for kind, (colour, dashes) in WAYS.items():
        scaled = replace(config, rope_scaling=RopeScaling(kind, factor=4.0, original_context=4096))
        f, _ = frequencies(scaled, 16384)
        left.plot(f / trained, color=colour, ls=dashes, label=kind)
    left.set(
        title="frequency, as a part of the trained one",
        xlabel="pair (0: the fastest)",
        ylim=(0, 1.1),
    )
    left.legend(fontsize=7, loc="center right", bbox_to_anchor=(1, 0.62))
    factors = [2, 4, 8]
    for kind in ("linear", "yarn", "dynamic"):
        losses = [run.scaled[kind, n] for n in factors]
        colour, dashes = WAYS[kind]
        right.plot(factors, losses, color=colour, ls=dashes, marker="o", ms=4, label=kind)
    right.axhline(run.base, color=SOFT, lw=0.8, ls="--", label="not scaled")
    right.set(
        title="loss on a short text, SmolLM2", xlabel="factor", xticks=factors, facecolor="none"
    )
    right.legend(fontsize=7)
    right.grid(color=LINE, lw=0.5)
    return figure
