"""Chapter 0: the block in 2017, in GPT-2 and in Llama; the family in numbers."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .costs import FAMILY, TRAINED_ON, cache_bytes, parameters
from .style import BLUE, CARD, GREEN, INK, ORANGE, PURPLE, SOFT, bare, label, panels

# Each block from the input upwards: what stands on the stream ("+" adds to it), or before a branch.
BLOCKS = {
    "Transformer, 2017: norm after": ["multi-head attention", "+", "LayerNorm", "ReLU network"],
    "GPT-2, 2019: norm before": [
        "LayerNorm",
        "multi-head attention",
        "+",
        "LayerNorm",
        "GELU network",
    ],
    "Llama: norm before": ["RMSNorm", "attention: RoPE, GQA", "+", "RMSNorm", "SwiGLU network"],
}
BLOCKS = {k: v + (["+", "LayerNorm"] if "2017" in k else ["+"]) for k, v in BLOCKS.items()}


def colour_of(part: str) -> str:
    return GREEN if "Norm" in part else BLUE if "attention" in part else ORANGE


def block(axis: Axes, title: str, parts: list[str]) -> None:
    """Parts on the stream at the left; at the right the branches, each ending in a "+"."""
    bare(axis, title)
    post = parts[0] == "multi-head attention"
    axis.annotate("", (0, 8.2), (0, -0.7), arrowprops={"arrowstyle": "->", "color": INK})
    axis.text(0.12, -0.75, "x", color=INK)
    y, branch = 0.0, 0.0
    for part in parts:
        on_stream = part == "+" or (post and "Norm" in part)
        if part == "+":
            axis.plot(
                [0, 1.6, 1.6, 0], [branch - 0.5, branch - 0.5, y, y], color=SOFT, lw=1, zorder=0
            )
            axis.text(
                0,
                y,
                "+",
                ha="center",
                va="center",
                bbox={"boxstyle": "circle", "fc": CARD, "ec": SOFT},
            )
            branch = y + 1
        else:
            box = {"boxstyle": "round,pad=0.35", "fc": CARD, "ec": colour_of(part)}
            axis.text(
                0 if on_stream else 1.6, y, part, ha="center", va="center", bbox=box, fontsize=8
            )
            branch = y + 1 if on_stream else branch
        y += 1.25
    axis.set(xlim=(-1.3, 3.3), ylim=(-1, 8.4))


def draw_blocks(run) -> Figure:
    """Three blocks side by side. In 2017 the norm stands on the stream, after each sum; in GPT-2
    and in Llama it stands in the branch, before attention and before the network, and nothing but
    sums stand on the stream."""
    figure, axes = panels(1, 3, 3.6)
    for axis, (title, parts) in zip(axes, BLOCKS.items(), strict=True):
        block(axis, title, parts)
    return figure


def draw_family(run) -> Figure:
    """Four bars for each of eleven models: parameters, training tokens, context, KV cache a token.
    The models with grouped-query attention, Llama 2 34B and 70B and all of Llama 3, have small
    caches for their size; from Llama 1 to 2 context and training tokens grow, from 2 to 3 again."""
    names = list(FAMILY)
    grouped = [c.n_heads != c.n_kv_heads for c in FAMILY.values()]
    columns = {
        "parameters, 10⁹": [parameters(c) / 1e9 for c in FAMILY.values()],
        "training tokens, 10¹²": [TRAINED_ON[n] for n in names],
        "context, positions": [c.max_context for c in FAMILY.values()],
        "KV cache a token, KiB": [cache_bytes(c) / 1024 for c in FAMILY.values()],
    }
    figure, axes = panels(1, 4, 3.1, sharey=True)
    for axis, (title, values) in zip(axes, columns.items(), strict=True):
        colours = [PURPLE if g else BLUE for g in grouped]
        axis.barh(range(len(names)), values, color=colours, height=0.62)
        for y, value in enumerate(values):
            label(axis, value, y, f"{value:,.0f}" if value >= 20 else f"{value:.1f}")
        axis.set(title=title, xscale="log", xlim=(min(values) / 2, max(values) * 7), xticks=[])
        axis.minorticks_off()
        axis.spines["bottom"].set_visible(False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(
        handles=[
            axes[0].barh([0], [0], color=BLUE, label="multi-head attention"),
            axes[0].barh([0], [0], color=PURPLE, label="grouped-query attention"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure
