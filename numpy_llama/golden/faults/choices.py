"""Choices: what a right program may do to be small or fast, and what then tells it from the truth.

No mistake is among them. A candidate that a choice explains is right, and computes so; only its
owner can say whether that is meant. Most can be made in several ways, which differ by more than
noise: `ways` are the others, as equally right as the first.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...attention import softmax
from ...config import LlamaConfig
from ...feed_forward import swiglu
from ...kv_cache import KVCache, LayerCache
from ...model import Llama
from ...norm import rms
from ...parameters import LayerWeights, linear
from ...taps import Tap
from ..replay.override import change_arrays, change_layers
from ..replay.precision import round_to_bfloat16, round_to_float16
from ..replay.schedule import Schedule
from .attention import attention_with
from .fault import Change, Fault, Stages, as_array_of, assembled, stage
from .flash import RunningInFloat16, half
from .norm import in_narrow
from .quantise import Quantiser, away_from_zero, by_rows, in_groups, int8, q4_0, q8_0


@dataclass(frozen=True)
class Choice(Fault):
    """What a right program may do, though it changes the values."""

    ways: tuple[Change, ...] = ()  # how else it is done

    @property
    def each_way(self) -> list["Choice"]:
        """This choice, made in each of its ways."""
        return [dataclasses.replace(self, apply=way, ways=()) for way in (self.apply, *self.ways)]


# — the KV cache —


def cached(narrow: Quantiser, past_only: bool = False) -> Change:
    """A cache that keeps `narrow` keys and values.

    past_only: a step uses its own as they were computed, and reads what was before it.
    """

    class Layer(LayerCache):
        def write(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            keys, values = super().write(*(as_array_of(narrow(np.asarray(a)), a) for a in (k, v)))
            if not past_only:
                return keys, values
            keys, values = keys.copy(), values.copy()
            keys[:, self.start :], values[:, self.start :] = k.swapaxes(0, 1), v.swapaxes(0, 1)
            return keys, values

    class Cache(KVCache):
        def __iter__(self) -> Iterator[LayerCache]:
            return (Layer(self, i) for i in range(len(self.k)))

    class Cached(Llama):
        def new_cache(self, capacity: int) -> KVCache:
            return Cache.empty(self.config, capacity, self.weights.tok_embeddings)

    return stage(Cached)


def heads_together(x: np.ndarray) -> np.ndarray:
    """int8 with one scale for all heads of a position."""
    return int8(x.reshape(len(x), -1)).reshape(x.shape)


def blocks_of_32(x: np.ndarray) -> np.ndarray:
    """Q8_0, where heads are wide enough; else int8."""
    return in_groups(q8_0, 32)(x) if x.shape[-1] % 32 == 0 else int8(x)


# — softmax, norm, residual —


def bf16(x: np.ndarray) -> np.ndarray:
    """Each value to the nearest bfloat16; the dtype and the kind of array stay."""
    return as_array_of(round_to_bfloat16(np.asarray(x)), x)


def softmax_of_bf16(scores: np.ndarray) -> np.ndarray:
    """Scores and probabilities in bfloat16, with a wider inside."""
    return bf16(softmax(bf16(scores)))


def softmax_in_bf16(scores: np.ndarray) -> np.ndarray:
    """Each operation in bfloat16."""
    s = bf16(scores)
    weights = bf16(np.exp(bf16(s - s.max(axis=-1, keepdims=True))))
    return bf16(weights / bf16(weights.sum(axis=-1, keepdims=True)))


def fused_norm(gain_too: bool) -> type[Llama]:
    """RMSNorm of an input in bfloat16, of which the outcome alone is rounded."""

    class Fused(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            h = bf16(x)
            statistic = rms(h, self.config.norm_eps)
            tap(f"{name}.rms", statistic)
            y = bf16(h / statistic[:, None]) * (bf16(gain) if gain_too else gain)
            y = bf16(y) if gain_too else y
            tap(name, y)
            return y

    return Fused


class NarrowEmbedding(Llama):
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return bf16(super().embed(ids))


def narrow_stream(added: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A residual stream in bfloat16; `added` says what becomes of what is added to it."""

    def block(of: Stages, x: np.ndarray) -> np.ndarray:
        x = of.resid_mid(bf16(x + added(of.attention(of.attn_norm(x)))))
        return of.resid_post(bf16(x + added(of.feed_forward(of.ffn_norm(x)))))

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        return stage(NarrowEmbedding)(*assembled(block)(model, schedule))

    return apply


# — weights and activations —


def stored_as(quantise: Quantiser, layers_only: bool) -> Change:
    """Matrices that were quantised; not the norms' gains, nor the biases."""

    def kept(array: np.ndarray) -> np.ndarray:
        return by_rows(quantise, np.asarray(array, np.float32)) if array.ndim == 2 else array

    def changed(layer: LayerWeights, i: int) -> LayerWeights:
        given = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
        return LayerWeights(**{n: kept(a) for n, a in given.items() if a is not None})

    if layers_only:
        return lambda model, schedule: (change_layers(model, changed), schedule)
    return lambda model, schedule: (change_arrays(model, kept), schedule)


def fed_with(quantise: Quantiser, head_too: bool = True) -> Change:
    """Matrices that are multiplied by quantised activations; taps show these as they were."""

    def narrow(x: np.ndarray) -> np.ndarray:
        return as_array_of(quantise(np.asarray(x)), x)

    class Fed(Llama):
        def norm(self, x: np.ndarray, gain: np.ndarray, name: str, tap: Tap) -> np.ndarray:
            y = super().norm(x, gain, name, tap)
            return narrow(y) if head_too or name != "final_norm" else y

        def multi_head(
            self, x: np.ndarray, layer: LayerWeights, R: np.ndarray, seen: LayerCache, tap: Tap
        ) -> np.ndarray:
            q, k, v = self.project(x, layer, tap)
            q, k = self.turn(q, k, R, tap)
            heads = self.attention(q, *seen.write(k, v), tap)
            tap("heads", heads)
            out = linear(narrow(heads.reshape(len(x), -1)), layer.wo, layer.bo)
            tap("attn_out", out)
            return out

        def feed_forward(self, x: np.ndarray, layer: LayerWeights, tap: Tap) -> np.ndarray:
            gate, up = linear(x, layer.w_gate, layer.b_gate), linear(x, layer.w_up, layer.b_up)
            tap("gate", gate)
            tap("up", up)
            hidden = swiglu(gate, up)
            tap("swiglu", hidden)
            out = linear(narrow(hidden), layer.w_down, layer.b_down)
            tap("ffn_out", out)
            return out

    return stage(Fed)


# — the list —


def fits(size: int | None) -> Callable[[LlamaConfig], bool]:
    """Whether the rows of all matrices are whole groups of this size."""

    def applies(config: LlamaConfig) -> bool:
        widths = config.dim, config.hidden_dim, config.n_heads * config.head_dim
        return all(width % (size or 1) == 0 for width in widths)

    return applies


def choice(id: str, does: str, mathematics: str, seen_in: str, *ways: Change, **how: Any) -> Choice:
    """A choice of the list."""
    mend = f"Nothing, if it is meant: declare it with --allow {id}."
    return Choice(id, "choices", does, mathematics, seen_in, mend, ways[0], ways=ways[1:], **how)


ROW = "a scale for each row"
GROUPS: dict[str, tuple[int | None, str]] = {
    "row": (None, ROW),
    "group-32": (32, "a scale for each 32 neighbours"),
    "group-64": (64, "a scale for each 64 neighbours"),
}
FORMATS: dict[str, tuple[int | None, str, str, str, tuple[Quantiser, ...]]] = {
    f"int8-{name}": (size, f"int8, {scale}", "w ≈ s·q, q = round(w/s), s = max |w| / 127",
                     "llama2.c, version 2 (64); int8 of many frameworks",
                     (int8, partial(int8, rounded=away_from_zero)))
    for name, (size, scale) in GROUPS.items()
} | {
    "q8-0": (32, "Q8_0", "w ≈ r(s)·q, q = round(w/s), s = max |w| / 127, r rounds to float16",
             "llama.cpp", (q8_0,)),
    "q4-0": (32, "Q4_0", "w ≈ r(s)·(q - 8), q = ⌊w/s + 8.5⌋, s = -w_max / 8, r rounds to float16",
             "llama.cpp", (q4_0,)),
}  # fmt: skip


def of_weights() -> Iterator[Choice]:
    """Each format of weights: for all matrices, and for those of the layers alone."""
    for name, (size, does, mathematics, seen_in, ways) in FORMATS.items():
        for suffix, which in (("", "its matrices"), ("-layers", "the layers' matrices")):
            changes = [stored_as(in_groups(way, size), bool(suffix)) for way in ways]
            said = f"Keeps {which} in {does}."
            about = (f"weights-{name}{suffix}", said, mathematics, seen_in)
            yield choice(*about, *changes, applies=fits(size), stored=True)


def of_activations() -> Iterator[Choice]:
    """Each kind of int8 activations."""
    for name, (size, scale) in GROUPS.items():
        quantise = in_groups(int8, size)
        yield choice(
            "activations-int8" + ("" if size is None else f"-{name}"),
            f"Multiplies its matrices by activations in int8, {scale}.",
            "y = W (s·q), q = round(x/s), s = max |x| / 127",
            "llama2.c's runq.c (64); dynamic quantisation of many frameworks",
            fed_with(quantise),
            fed_with(quantise, head_too=False),
            applies=fits(size),
            rounds_to="bfloat16",
        )


CHEAP = (
    choice(
        "kv-float16",
        "Keeps its KV cache in float16.",
        "k ← r(k), v ← r(v), r rounds to float16; or queries and probabilities too, or the sum of "
        "the values (flash attention)",
        "llama.cpp's and tinygrad's default",
        cached(round_to_float16),
        cached(round_to_float16, past_only=True),
        # llama.cpp multiplies only what is equally narrow: r(q) k, and r(p) v.
        attention_with(read=half, normalise=lambda scores: half(softmax(scores))),
        attention_with(RunningInFloat16),
        attention_with(RunningInFloat16, threads=4),
        rounds_to="float16",
    ),
    choice(
        "kv-bfloat16",
        "Keeps its KV cache in bfloat16.",
        "k ← r(k), v ← r(v), r rounds to bfloat16",
        "llama.cpp's -ctk bf16 -ctv bf16",
        cached(round_to_bfloat16),
        cached(round_to_bfloat16, past_only=True),
        rounds_to="bfloat16",
    ),
    choice(
        "kv-int8",
        "Keeps its KV cache in int8.",
        "k ≈ s·q, q = round(k/s), s = max |k| / 127 of each head, or of 32 of its features",
        "llama.cpp's -ctk q8_0 -ctv q8_0",
        cached(int8),
        cached(blocks_of_32),
        cached(heads_together),
        cached(int8, past_only=True),
        rounds_to="bfloat16",
    ),
    choice(
        "softmax-bfloat16",
        "Computes its softmax in bfloat16.",
        "p = r(softmax(r(s))), or each operation rounded; r rounds to bfloat16",
        "",
        attention_with(normalise=softmax_of_bf16),
        attention_with(normalise=softmax_in_bf16),
        rounds_to="bfloat16",
    ),
    choice(
        "probs-bfloat16",
        "Rounds the probabilities of attention to bfloat16.",
        "p = r(softmax(s)), r rounds to bfloat16",
        "",
        attention_with(normalise=lambda scores: bf16(softmax(scores))),
        rounds_to="bfloat16",
    ),
    choice(
        "norm-bf16",
        "Computes its norms in bfloat16.",
        "h = r(x); m = r(mean(r(h²))); s = r(1/√r(m + ε)); y = r(h·s)·g;  r rounds to bfloat16",
        "minimind#301",
        stage(in_narrow(round_to_bfloat16)),
        stage(fused_norm(gain_too=False)),
        stage(fused_norm(gain_too=True)),
        rounds_to="bfloat16",
    ),
    choice(
        "residual-bfloat16",
        "Keeps its residual stream in bfloat16.",
        "x ← r(x + attention(…)), x ← r(x + ffn(…)), r rounds to bfloat16",
        "",
        narrow_stream(lambda added: added),
        narrow_stream(bf16),
        rounds_to="bfloat16",
    ),
)  # fmt: skip

# Those that are quick to try come first.
CHOICES: dict[str, Choice] = {c.id: c for c in (*CHEAP, *of_activations(), *of_weights())}
