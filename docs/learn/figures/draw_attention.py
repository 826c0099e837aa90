"""Chapters 4, 5 and 6: who looks at whom, what is computed again, and what it costs to read."""

import numpy as np
from matplotlib.figure import Figure

from .costs import (
    FAMILY,
    SMOLLM2,
    cache_bytes,
    generation_flops,
    step_intensity,
)
from .seen import by_distance
from .small import attention_memory
from .style import BLUE, GREEN, LINE, ORANGE, PURPLE, SOFT, bare, heat, panels

PICTURED = {"A": (16, 0), "B": (20, 6)}  # a layer and a head each
SHOWN = 14  # tokens
BIG = FAMILY["Llama 2 70B"]


def head_panel(axis, run, name: str) -> None:
    """The probabilities of one head for the first tokens of the story."""
    layer, head = PICTURED[name]
    heat(axis, run.probs[layer, head, :SHOWN, :SHOWN], BLUE)
    words = [run.text.decode([t]).strip() for t in run.ids[:SHOWN]]
    axis.set_title(f"{name}: layer {layer}, head {head}")
    axis.set_xticks(range(SHOWN), words, rotation=90, fontsize=7)
    axis.set_yticks(range(SHOWN), words, fontsize=7)


def draw_attention(run) -> Figure:
    """Four panels. A: a head of SmolLM2 in which most tokens look at the one before. B: a head in
    which nearly all look at the first token. Both are triangles, for no token sees a later one.
    C: the mean over all heads by distance falls. D: the peak memory of the textbook attention
    grows with the square of the length, that of the blocked one nearly with the length."""
    figure, axes = panels(2, 2, 5.4, height_ratios=[1.5, 1])
    for axis, name in zip(axes, PICTURED, strict=False):
        head_panel(axis, run, name)
    places = [1, 2, 4, 8, 16, 32, 47]
    axes[2].plot(
        range(7), [by_distance(run.probs, d) for d in places], color=GREEN, marker="o", ms=4
    )
    axes[2].set_xticks(range(7), places)
    axes[2].set(title="C: mean probability, all heads", xlabel="tokens back", ylim=(0, 0.1))
    lengths = [128, 256, 512, 1024]
    memory = np.array([attention_memory(L) for L in lengths]) / 1e6
    axes[3].plot(lengths, memory[:, 0], color=ORANGE, marker="s", ms=4, label="attend")
    axes[3].plot(lengths, memory[:, 1], color=BLUE, marker="o", ms=4, label="attend_blocked")
    axes[3].set(title="D: peak memory, MB", xscale="log", yscale="log", xlabel="tokens")
    axes[3].set_xticks(lengths, [str(n) for n in lengths])
    axes[3].set_yticks([1, 10, 100], ["1", "10", "100"])
    axes[3].minorticks_off()
    axes[3].legend(fontsize=7)
    return figure


def steps_panel(axis, cached: bool) -> None:
    """Eight steps, a row each: which positions are computed."""
    new = np.eye(8) if cached else np.tri(8)
    old = np.tri(8) - new
    heat(axis, new * 1.0, BLUE)
    for i, j in zip(*old.nonzero(), strict=True):
        axis.plot(j, i, ".", color=SOFT, ms=4)
    title = "B: with a cache: 8 columns" if cached else "A: without: 36 columns"
    axis.set(title=title, xlabel="position", ylabel="step", xticks=range(8), yticks=range(8))


def draw_cache(run) -> Figure:
    """Three panels. A: without a cache, step 7 computes all eight positions again, 36 columns in
    eight steps. B: with a cache each step computes one position and reads the others, shown as
    dots. C: operations of SmolLM2 until T tokens: with T² without a cache, with T with one."""
    figure, axes = panels(1, 3, 2.8)
    steps_panel(axes[0], cached=False)
    steps_panel(axes[1], cached=True)
    lengths = [8, 16, 32, 64, 128, 256]
    for cached, colour, name in ((False, ORANGE, "without"), (True, BLUE, "with a cache")):
        flops = [generation_flops(SMOLLM2, T, cached) / 1e9 for T in lengths]
        axes[2].plot(lengths, flops, color=colour, marker="o", ms=4, label=name)
    axes[2].set(title="C: GFLOP until T tokens", xscale="log", yscale="log", xlabel="T")
    axes[2].set_xticks(lengths, [str(n) for n in lengths])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=7)
    axes[2].grid(color=LINE, lw=0.5)
    return figure


def sharing_panel(axis) -> None:
    """Eight query heads over eight, two, and one key/value heads."""
    bare(axis, "A: who reads which keys and values")
    for row, (name, K) in enumerate({"MHA": 8, "GQA": 2, "MQA": 1}.items()):
        y = -row * 1.5
        axis.text(-1.1, y, f"{name}\nK = {K}", va="center", ha="center", fontsize=8)
        for h in range(8):
            at = (h // (8 // K) + 0.5) * 8 / K - 0.5
            axis.plot([h, at], [y + 0.35, y - 0.35], color=LINE, lw=1, zorder=0)
            axis.plot(h, y + 0.35, "o", color=BLUE, ms=7)
            axis.plot(at, y - 0.35, "s", color=ORANGE, ms=7)
    axis.plot([0.6], [-4.3], "o", color=BLUE, ms=6)
    axis.text(1, -4.3, "query", va="center", fontsize=7.5)
    axis.plot([3.6], [-4.3], "s", color=ORANGE, ms=6)
    axis.text(4, -4.3, "key and value", va="center", fontsize=7.5)
    axis.set(xlim=(-2, 8), ylim=(-4.6, 1))


def draw_heads(run) -> Figure:
    """Three panels. A: eight query heads, each with its own keys and values in MHA, four to one in
    GQA, all to one in MQA. B: bytes of the cache for each token in three models, each as MHA, as
    built and as MQA. C: operations for each byte that a decode step of Llama 2 70B reads: near 1
    for one text, whatever the heads; with more texts they grow, and more so for fewer KV heads."""
    figure, axes = panels(1, 3, 3.2)
    sharing_panel(axes[0])
    models = {"Llama 2 70B": BIG, "Llama 3 8B": FAMILY["Llama 3 8B"], "SmolLM2": SMOLLM2}
    for at, config in enumerate(models.values()):
        heads = (config.n_heads, config.n_kv_heads, 1)
        for nudge, K, colour in zip((-0.27, 0, 0.27), heads, (ORANGE, PURPLE, BLUE), strict=True):
            size = cache_bytes(config, K) / 1024
            axes[1].bar(at + nudge, size, width=0.25, color=colour)
            axes[1].text(at + nudge, size * 1.1, f"{size:,.5g}", ha="center", fontsize=6.5)
    axes[1].set(title="B: KiB a token, 16-bit", yscale="log", ylim=(4, 6000))
    axes[1].set_xticks(range(3), ["Llama 2\n70B", "Llama 3\n8B", "SmolLM2"])
    for x, (name, colour) in enumerate({"MHA": ORANGE, "as built": PURPLE, "MQA": BLUE}.items()):
        axes[1].text(0.45 + (0, 0.6, 1.45)[x], 3600, name, color=colour, fontsize=7.5)
    batches = [1, 2, 4, 8, 16, 32, 64]
    for K, colour in ((64, ORANGE), (8, PURPLE), (1, BLUE)):
        values = [step_intensity(BIG, K, b, 4096) for b in batches]
        axes[2].plot(batches, values, color=colour, marker="o", ms=3, label=f"K = {K}")
    axes[2].set(
        title="C: FLOP a byte, 70B, decode", xscale="log", yscale="log", xlabel="texts at a time"
    )
    axes[2].set_xticks(batches, [str(b) for b in batches])
    axes[2].set_yticks([1, 10, 100], ["1", "10", "100"])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=7)
    return figure
