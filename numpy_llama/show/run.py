"""Run a prompt with every tap on, and choose what of it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..attention import attend
from ..errors import InputError
from ..generation import generate
from ..model import Llama
from ..recording import StepRecorder
from ..sampling import Sampling
from ..text import TextModel
from .source import Sites

# What a page may hold before it is compressed and written as text: so it stays below 5 MB.
MOST_BYTES = 3_600_000


@dataclass(frozen=True)
class Shown:
    """The layers and the positions that a page shows, by their numbers, both ascending."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """What happened: the tokens, and every tap of the prefill and of each decode step.

    ids: the tokens that were read, the first `prompt` of them the user's. chosen: the token that
    the model chose in each step; all but the last are in `ids` too.
    """

    text: TextModel
    model: Llama
    ids: list[int]
    prompt: int
    chosen: list[int]
    settings: Sampling
    seed: int
    record: StepRecorder
    sites: Sites

    def rows(self, tap: str) -> np.ndarray:
        """A tap of all positions, where its first axis is L."""
        return np.concatenate([step.arrays[tap] for step in self.record.steps])

    def square(self, tap: str) -> np.ndarray:
        """Scores or probabilities of all positions: (H, S, S), zero where a key is not seen."""
        S = len(self.ids)
        full = np.zeros((self.model.config.n_heads, S, S), np.float32)
        start = 0
        for step in self.record.steps:
            part = step.arrays[tap]  # (H, L, S so far)
            full[:, start : start + part.shape[1], : part.shape[2]] = part
            start += part.shape[1]
        return np.tril(full)

    def piece(self, token: int) -> str:
        """How a token reads; a row that only pads the model's matrices has no piece."""
        tokenizer = self.text.tokenizer
        return tokenizer.pieces([token])[0] if token < tokenizer.vocab_size else ""


def bytes_needed(model: Llama, layers: int, positions: int) -> int:
    """About how many bytes the numbers of a page have, before they are compressed."""
    c = model.config
    heads = (c.n_heads + c.n_kv_heads) * c.head_dim * 2  # q and k in float16
    rest = c.dim + 400  # the stream in int8, and the lists of the largest
    pairs = c.n_heads * 2 * 2 * (positions + 1) // 2  # scores and probabilities in float16
    return layers * positions * (heads + rest + pairs)


def evenly(most: int, count: int) -> list[int]:
    """Up to `count` whole numbers from 0 to `most`, the first and the last among them."""
    return sorted({round(i * most / max(1, count - 1)) for i in range(count)})


def check_size(model: Llama, shown: Shown) -> None:
    """Raise InputError where a page would be too large; say what would fit."""
    T, n = len(shown.positions), len(shown.layers)
    if bytes_needed(model, n, T) <= MOST_BYTES:
        return
    room = [k for k in range(1, n) if bytes_needed(model, k, T) <= MOST_BYTES]
    fewer = [k for k in range(1, T) if bytes_needed(model, n, k) <= MOST_BYTES]
    chosen = evenly(model.config.n_layers - 1, min(4, len(room)))
    ways = [f"--layers {','.join(map(str, chosen))}"] if room else []
    ways += [f"--last {fewer[-1]}"] if fewer else []
    raise InputError(
        f"{T} tokens in {n} layers are too much for one page of 5 MB: "
        f"give {' or '.join(ways) or '--layers and --last, both with less'}"
    )


def shown_layers(model: Llama, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers that are asked for, by default all. Raises InputError for one there is not."""
    N = model.config.n_layers
    for layer in layers or ():
        if not 0 <= layer < N:
            raise InputError(f"--layers {layer}: the model has the layers 0 … {N - 1}")
    return tuple(sorted(set(layers))) if layers else tuple(range(N))


def shown_positions(total: int, last: int | None) -> tuple[int, ...]:
    """The last positions; and the first, which in most heads gets most of the attention."""
    start = max(0, total - last) if last else 0
    return tuple(sorted({0, *range(start, total)}))


def run_prompt(
    text: TextModel,
    prompt: str | Sequence[int],
    steps: int = 8,
    layers: Sequence[int] | None = None,
    last: int | None = None,
    settings: Sampling | None = None,
    seed: int = 0,
) -> tuple[Run, Shown]:
    """Read `prompt`, choose up to `steps` tokens after it; and what a page is to show of that.

    layers: their numbers, None: all; last: how many positions at the end, None: all. Raises
    InputError for a prompt that does not fit the model, and for more than fits one page.
    """
    # The blocked twin shows no scores; the textbook function has the same values.
    model = replace(text.llama, attention=attend)
    settings = settings or Sampling()
    ids = text.ids_of(prompt)
    limit = text.limit(ids, None)
    total = min(len(ids) + steps - 1, limit)
    check_size(model, Shown(shown_layers(model, layers), shown_positions(total, last)))

    record = StepRecorder(model.config)
    sites = Sites(record)
    cache = model.new_cache(total)
    chosen: list[int] = []
    for token in generate(model, ids, steps, settings, seed, cache=cache, tap=sites):
        chosen.append(token)
        if token in text.tokenizer.eos_ids:  # it is shown as chosen, and nothing after it
            break
    read = [*ids, *chosen[:-1]]  # what was chosen last is read by no step
    shown = Shown(shown_layers(model, layers), shown_positions(len(read), last))
    return Run(text, model, read, len(ids), chosen, settings, seed, record, sites), shown
