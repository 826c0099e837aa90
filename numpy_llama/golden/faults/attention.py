"""Mistakes in attention."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...attention import causal_mask, softmax
from ...config import LlamaConfig
from ...model import Llama
from ...parameters import LayerWeights
from ...taps import Tap, no_tap
from ..replay.schedule import Schedule
from .fault import Change, Fault, layers_with, stage, swapped, zeroed

Mask = Callable[[int, int, np.ndarray], np.ndarray]


def repeated(H: int, K: int) -> np.ndarray:
    """The key head of each query head: h // G."""
    return np.arange(H) // (H // K)


@dataclass(frozen=True)
class Attention:
    """`attend`, each part of which can be another."""

    read: Callable[[np.ndarray], np.ndarray] = lambda x: x  # what is made of q, k and v
    scale: Callable[[int], float] = lambda hd: 1 / math.sqrt(hd)
    key_head: Callable[[int, int], np.ndarray] = repeated
    value_head: Callable[[int, int], np.ndarray] = repeated
    mask: Mask = causal_mask
    hidden: float = -math.inf  # what a score becomes where the mask hides it
    normalise: Callable[[np.ndarray], np.ndarray] = softmax
    merge: Callable[[np.ndarray], np.ndarray] = lambda heads: heads.transpose(1, 0, 2)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, tap: Tap = no_tap
    ) -> np.ndarray:
        L, H, hd = q.shape
        K, S, _ = k.shape
        q, k, v = map(self.read, (q, k, v))
        keys, values = k[self.key_head(H, K)], v[self.value_head(H, K)]
        scores = q.transpose(1, 0, 2) @ keys.transpose(0, 2, 1) * self.scale(hd)  # (H, L, S)
        tap("scores", scores)
        seen = np.where(self.mask(L, S, q), scores, self.hidden)
        return self.merge(self.average(seen, values, tap))

    def average(self, scores: np.ndarray, values: np.ndarray, tap: Tap) -> np.ndarray:
        """Of the values, weighted by what becomes of the scores: (H, L, hd)."""
        probs = self.normalise(scores)
        tap("probs", probs)
        return probs @ values


def attention_with(kind: type[Attention] | None = None, **parts: Any) -> Change:
    """The fault of an attention with these parts; `kind`: one that does more in another way."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        now = model.attention if isinstance(model.attention, Attention) else Attention()
        given = {f.name: getattr(now, f.name) for f in dataclasses.fields(now)}
        attention = (kind or type(now))(**(given | parts))
        return dataclasses.replace(model, attention=attention), schedule

    return apply


def scale_with(scale: Callable[[LlamaConfig], float]) -> Change:
    """The fault of scores multiplied by something else than 1/√hd."""
    return lambda model, schedule: attention_with(scale=lambda hd: scale(model.config))(
        model, schedule
    )


class ScaledQueries(Llama):
    def turn(
        self, q: np.ndarray, k: np.ndarray, R: np.ndarray, tap: Tap
    ) -> tuple[np.ndarray, np.ndarray]:
        return super().turn(q / math.sqrt(self.config.head_dim), k, R, tap)


def keys_up_to(ahead: int) -> Mask:
    """Query i sees the keys up to i + ahead."""

    def mask(L: int, S: int, like: np.ndarray) -> np.ndarray:
        return np.arange(S)[None, :] <= np.arange(S - L, S)[:, None] + ahead

    return mask


def everything(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """No mask."""
    return np.ones((L, S), bool)


def upper_left(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """A triangle that begins at the first key, in steps of more than one token."""
    return np.tri(L, S, dtype=bool) if L > 1 else everything(L, S, like)


def upper_left_always(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """A triangle that begins at the first key, in decode steps too."""
    return np.tri(L, S, dtype=bool)


def none_with_cache(L: int, S: int, like: np.ndarray) -> np.ndarray:
    """No mask as soon as the cache holds something."""
    return everything(L, S, like) if S > L else causal_mask(L, S, like)


def window(size: int) -> Mask:
    """Query i sees the last `size` keys only, itself included."""

    def mask(L: int, S: int, like: np.ndarray) -> np.ndarray:
        distance = np.arange(S - L, S)[:, None] - np.arange(S)[None, :]
        return (distance >= 0) & (distance < size)

    return mask


def softmax_over_queries(scores: np.ndarray) -> np.ndarray:
    """Softmax along L instead of S."""
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2)


def tiled(H: int, K: int) -> np.ndarray:
    """The key head of each query head: h mod K."""
    return np.arange(H) % K


def merged_without_transpose(heads: np.ndarray) -> np.ndarray:
    """(H, L, hd) read as (L, H, hd)."""
    H, L, hd = heads.shape
    return heads.reshape(L, H, hd)


def keys_and_values_swapped(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """wk where wv belongs, and the reverse."""
    return swapped(swapped(layer, "wk", "wv"), "bk", "bv")


def wq_transposed(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, wq=layer.wq.T)


def wo_transposed(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, wo=layer.wo.T)


def without_output_bias(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, bo=None)


def half_window(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    """Each row sees half as many keys as the run has rows."""
    return attention_with(mask=window(max(len(schedule.tokens) // 2, 1)))(model, schedule)


def without_biases(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, bq=None, bk=None, bv=None, bo=None)


def square(config: LlamaConfig) -> bool:
    """Whether wq and wo are square, so that a transpose goes unnoticed."""
    return config.n_heads * config.head_dim == config.dim


SCALE_MEND = "Divide the scores by √head_dim, once."
MASK_MEND = "Query i of a step stands at position S - L + i, and sees the keys 0 … S - L + i."
CACHED_MASK_MEND = MASK_MEND + " Align the mask with the last key, not with the first."

FAULTS = (
    Fault(
        "scale-missing",
        "attention",
        "The scores are not scaled.",
        "scores = q·k",
        "train-llm-from-scratch#3",
        SCALE_MEND,
        attention_with(scale=lambda hd: 1.0),
        lambda config: config.head_dim > 1,
    ),
    Fault(
        "scale-dim",
        "attention",
        "The scores are scaled by the model's width.",
        "scores = q·k / √D",
        "mlc-llm#3426",
        SCALE_MEND,
        scale_with(lambda config: config.dim**-0.5),
        lambda config: config.dim != config.head_dim,
    ),
    Fault(
        "scale-heads",
        "attention",
        "The scores are scaled by the number of heads.",
        "scores = q·k / √H",
        "tt-metal#56789",
        SCALE_MEND,
        scale_with(lambda config: config.n_heads**-0.5),
        lambda config: config.n_heads != config.head_dim,
    ),
    Fault(
        "scale-head-dim-assumed",
        "attention",
        "The scores are scaled as if a head were dim / n_heads wide, which it is not here.",
        "scores = q·k / √(D/H)",
        "",
        "Read head_dim from the config, where it is given; divide the scores by its root.",
        scale_with(lambda config: (config.n_heads / config.dim) ** 0.5),
        lambda config: config.head_dim * config.n_heads != config.dim,
    ),
    Fault(
        "scale-twice",
        "attention",
        "The queries are scaled, and the scores again.",
        "q ← q/√hd after the tap q, before RoPE; then scores = q·k/√hd",
        "",
        SCALE_MEND,
        stage(ScaledQueries),
    ),
    Fault(
        "scale-head-dim",
        "attention",
        "The scores are divided by head_dim, not by its root.",
        "scores = q·k / hd",
        "",
        SCALE_MEND,
        scale_with(lambda config: 1 / config.head_dim),
    ),
    Fault(
        "mask-missing",
        "attention",
        "There is no causal mask: every row of a step sees the whole step.",
        "all S keys are visible to all L queries of a step",
        "",
        MASK_MEND,
        attention_with(mask=everything),
    ),
    Fault(
        "mask-one-ahead",
        "attention",
        "The causal mask is off by one: each row sees the next.",
        "key j is visible to query i if j ≤ i + 1",
        "flashinfer#348",
        MASK_MEND,
        attention_with(mask=keys_up_to(1)),
    ),
    Fault(
        "mask-not-self",
        "attention",
        "The causal mask is off by one: no row sees itself.",
        "query i sees keys j < i; hidden scores are -1e9, so that row 0 averages its whole step",
        "flashinfer#348",
        MASK_MEND,
        attention_with(mask=keys_up_to(-1), hidden=-1e9),
    ),
    Fault(
        "mask-upper-left",
        "attention",
        "A chunk after the first sees only the beginning of the cache: the mask is aligned there.",
        "in a step of L > 1 tokens, query i of the step sees keys j ≤ i; decode is right",
        "hyprstream#1521, executorch#21749, tinygrad#15949, onnx#8054",
        CACHED_MASK_MEND,
        attention_with(mask=upper_left),
    ),
    Fault(
        "mask-upper-left-decode",
        "attention",
        "The mask is aligned with the first key, so that a decode step sees that one alone.",
        "in every step, key j is visible to query i of the step if j ≤ i",
        "tinygrad#15949, onnx#8054",
        CACHED_MASK_MEND,
        attention_with(mask=upper_left_always),
    ),
    Fault(
        "mask-skipped-with-cache",
        "attention",
        "There is no mask as soon as the cache holds something: later chunks see their own future.",
        "in a step with S > L, all S keys are visible to all L queries",
        "TinyLLM#18",
        MASK_MEND,
        attention_with(mask=none_with_cache),
    ),
    Fault(
        "window-4096",
        "attention",
        "Attention looks at the last 4096 positions only.",
        "key j is visible to query i if i - 4096 < j ≤ i",
        "",
        "Llama has no sliding window: let each row see all rows before it.",
        attention_with(mask=window(4096)),
    ),
    Fault(
        "window",
        "attention",
        "Attention looks at the last positions only, fewer than the run has.",
        "key j is visible to query i if i - w < j ≤ i; tried with w = T // 2",
        "transformers#39408, transformers#29623, mlx-lm#390",
        "Llama has no sliding window: let each row see all rows before it.",
        half_window,
    ),
    Fault(
        "softmax-over-queries",
        "attention",
        "Softmax is taken along the wrong axis: over the queries of a step, not over the keys.",
        "probs[h, i, j] = e^s[h,i,j] / Σ over i' of e^s[h,i',j], after the mask",
        "llms-from-scratch-rs#30, annotated_dl#146",
        "Softmax along the last axis of (H, L, S).",
        attention_with(normalise=softmax_over_queries),
    ),
    Fault(
        "gqa-tiled",
        "attention",
        "Query heads are matched with the wrong key heads: tiled 0 1 0 1, not repeated 0 0 1 1.",
        "query head h reads key head h mod K instead of h // G",
        "onnx#7274, jax-js#180, HipKittens#22, nntile#347",
        "Repeat each key and value head G times in a row.",
        attention_with(key_head=tiled, value_head=tiled),
        lambda config: 1 < config.n_kv_heads < config.n_heads,
    ),
    Fault(
        "gqa-tiled-keys",
        "attention",
        "Query heads are matched with the wrong key heads, and with the right value heads.",
        "query head h reads key head h mod K and value head h // G",
        "",
        "Repeat each key and value head G times in a row, both in the same way.",
        attention_with(key_head=tiled),
        lambda config: 1 < config.n_kv_heads < config.n_heads,
    ),
    Fault(
        "heads-not-transposed",
        "attention",
        "The heads are merged without bringing their axis back behind the positions.",
        "heads (H, L, hd) is read as (L, H, hd), in each step",
        "transformer-from-scratch#6",
        "Transpose (H, L, hd) to (L, H, hd) before reshaping to (L, H·hd).",
        attention_with(merge=merged_without_transpose),
        lambda config: config.n_heads > 1,
    ),
    Fault(
        "k-v-swapped",
        "attention",
        "wk and wv are exchanged.",
        "k = x wvᵀ, v = x wkᵀ",
        "",
        "Check the order in which a fused qkv matrix is cut.",
        layers_with(keys_and_values_swapped),
    ),
    Fault(
        "wq-transposed",
        "attention",
        "wq is used without its transpose; it is square, so nothing complains.",
        "q = x wq instead of x wqᵀ",
        "vllm#44110",
        "Checkpoints keep matrices as (out, in): multiply by the transpose.",
        layers_with(wq_transposed),
        square,
    ),
    Fault(
        "wo-transposed",
        "attention",
        "wo is used without its transpose; it is square, so nothing complains.",
        "out = heads wo instead of heads woᵀ",
        "vllm#44110",
        "Checkpoints keep matrices as (out, in): multiply by the transpose.",
        layers_with(wo_transposed),
        square,
    ),
    Fault(
        "attention-bias-missing",
        "attention",
        "The biases of attention's projections are not added.",
        "q = x wqᵀ, and so for k, v and out",
        "",
        "Add bq, bk, bv and bo where the checkpoint has them.",
        layers_with(without_biases),
        lambda config: config.attention_bias,
    ),
    Fault(
        "attention-output-bias-missing",
        "attention",
        "The bias of attention's output projection is not added; those of q, k and v are.",
        "out = heads woᵀ",
        "",
        "Add bo (o_proj.bias) where the checkpoint has it.",
        layers_with(without_output_bias),
        lambda config: config.attention_bias,
    ),
    *(
        Fault(
            f"{tensor}-zero",
            "attention",
            f"{tensor} was never loaded, and is zero.",
            f"{tensor} = 0 in every layer; biases are added",
            "",
            f"Load {tensor}: compare the names of the checkpoint with those that were read.",
            layers_with(zeroed(tensor)),
        )
        for tensor in ("wq", "wk", "wv", "wo")
    ),
)
