"""Draw every figure of the chapters from running code: python -m docs.learn.figures [NAME …]."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from .draw_attention import draw_attention, draw_cache, draw_heads
from .draw_family import draw_blocks, draw_family
from .draw_rope import draw_context, draw_distance, draw_turns
from .draw_stream import draw_norm, draw_stream
from .draw_swiglu import draw_swiglu, draw_wrong
from .draw_text import draw_sampling, draw_tokens
from .run import Run
from .style import save

FOLDER = Path(__file__).resolve().parent
FIGURES: dict[str, tuple[str, Callable[[Run], Figure]]] = {
    "00-blocks": ("The block in 2017, in GPT-2 and in Llama", draw_blocks),
    "00-family": ("The Llama family in numbers", draw_family),
    "01-tokens": ("Texts as tokens", draw_tokens),
    "02-norm": ("RMSNorm", draw_norm),
    "03-turns": ("RoPE: pairs that turn", draw_turns),
    "03-distance": ("RoPE: scores and distance", draw_distance),
    "04-attention": ("Attention", draw_attention),
    "05-cache": ("The KV cache", draw_cache),
    "06-heads": ("Heads that share keys and values", draw_heads),
    "07-swiglu": ("SwiGLU", draw_swiglu),
    "08-stream": ("The residual stream", draw_stream),
    "09-sampling": ("From logits to a token", draw_sampling),
    "10-context": ("Longer contexts", draw_context),
    "11-wrong": ("Two wrong sentences as curves", draw_wrong),
}


def main(names: list[str]) -> None:
    """Write the figures of these names, or all."""
    run = Run()
    for name in names or FIGURES:
        title, draw = FIGURES[name]
        description = " ".join(inspect.cleandoc(draw.__doc__ or "").split())
        save(draw(run), FOLDER / f"{name}.svg", title, description)
        print(f"docs/learn/figures/{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
