"""The one table that names every intermediate of the forward pass, with its axes.

The axes have one letter each, here and in every file. One sequence: there is no batch axis.

    L new tokens   S cached + new positions   D dim         F hidden_dim   V vocab_size
    H n_heads      K n_kv_heads               hd head_dim   N n_layers     G = H / K

A tap is a function `tap(name, array)`. The model calls it wherever an intermediate comes to be;
by default it does nothing. It returns nothing and may change nothing: read such a line as a comment
that says what was just computed. `Recorder` is a tap that keeps all that it is shown.
"""

from collections.abc import Callable

import numpy as np

from .backend import Array, to_host
from .config import LlamaConfig

TAPS = {  # i is the number of the layer, 0 … N - 1
    "embed": "L D",
    "layers.{i}.attn_norm.rms": "L",
    "layers.{i}.attn_norm": "L D",
    "layers.{i}.q": "L H hd",
    "layers.{i}.k": "L K hd",
    "layers.{i}.v": "L K hd",
    "layers.{i}.q_rot": "L H hd",
    "layers.{i}.k_rot": "L K hd",
    "layers.{i}.scores": "H L S",  # scaled, not yet masked
    "layers.{i}.probs": "H L S",
    "layers.{i}.heads": "L H hd",
    "layers.{i}.attn_out": "L D",
    "layers.{i}.resid_mid": "L D",
    "layers.{i}.ffn_norm.rms": "L",
    "layers.{i}.ffn_norm": "L D",
    "layers.{i}.gate": "L F",
    "layers.{i}.up": "L F",
    "layers.{i}.swiglu": "L F",
    "layers.{i}.ffn_out": "L D",
    "layers.{i}.resid_post": "L D",
    "final_norm.rms": "L",
    "final_norm": "L D",
    "logits": "L V",
}

Tap = Callable[[str, Array], None]


def no_tap(name: str, array: Array) -> None:
    """The default tap: look at nothing."""


def within(tap: Tap, prefix: str) -> Tap:
    """The same tap with longer names: `within(tap, "layers.3.")("q", q)` is `tap("layers.3.q", q)`.

    So a block need not know which layer it is.
    """
    if tap is no_tap:
        return no_tap
    return lambda name, array: tap(prefix + name, array)


def tap_names(n_layers: int) -> list[str]:
    """Every tap of a model in causal order: a value depends only on values before it."""
    names = list(TAPS)
    per_layer = [name for name in names if name.startswith("layers.")]
    first, last = names.index(per_layer[0]), names.index(per_layer[-1]) + 1
    layers = [name.format(i=i) for i in range(n_layers) for name in per_layer]
    return names[:first] + layers + names[last:]


def tap_axes(name: str) -> tuple[str, ...]:
    """The axes of a tap by its full name: `layers.3.q` gives `("L", "H", "hd")`.

    Raises KeyError for a name that the table does not have.
    """
    parts = name.split(".")
    if parts[0] == "layers" and len(parts) > 2 and parts[1].isdigit():
        parts[1] = "{i}"
    return tuple(TAPS[".".join(parts)].split())


class Recorder:
    """A tap that keeps a copy of every intermediate of one forward, on the host, by its name.

    The axes of each array are checked against the table; L and S take the size in which they are
    first seen. So a forward with `last_only` is refused: after the last block its L is another.
    Raises ValueError for a wrong shape or a name given twice, KeyError for a name not in the table.
    """

    def __init__(self, config: LlamaConfig):
        self.arrays: dict[str, Array] = {}
        self.names = frozenset(tap_names(config.n_layers))
        self.sizes = config.axis_sizes

    def __call__(self, name: str, array: Array) -> None:
        if name not in self.names:
            raise KeyError(f"no tap of this model has the name {name}")
        if name in self.arrays:
            raise ValueError(f"tap {name} was given twice: use one recorder for each forward")
        self.check_axes(name, array.shape)
        # A copy: the model is free to reuse the array's memory once the tap returns.
        self.arrays[name] = np.array(to_host(array), order="C")

    def check_axes(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless `shape` is what the table says of this tap."""
        axes = tap_axes(name)
        sizes = self.sizes | {
            axis: n for axis, n in zip(axes, shape, strict=False) if axis not in self.sizes
        }
        expected = tuple(sizes[axis] for axis in axes if axis in sizes)
        if shape != expected:
            raise ValueError(f"tap {name} has the shape {shape}, not {expected} ({' '.join(axes)})")
        self.sizes = sizes
