"""Each stage by itself: what the reference makes of the candidate's own inputs.

An error runs through everything after it, so that what is far off says little of where it came
from. Given the candidate's own inputs, only the operation that is wrong gives something else.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...attention import softmax
from ...config import LlamaConfig
from ...feed_forward import swiglu
from ...model import Llama
from ...norm import rms, rms_norm
from ...parameters import LayerWeights, linear
from ...rope import rotate
from ..compare.verdict import Isolated
from ..replay.metrics import Groups, grade_of, group_errors, smoothed_groups
from ..replay.precision import in_dtype
from ..replay.replay import run
from ..replay.rows import visible
from ..replay.schedule import Schedule
from ..replay.variants import variants
from .evidence import Evidence

Taps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Block:
    """What the stages of one block need besides their inputs."""

    config: LlamaConfig
    layer: LayerWeights
    R: np.ndarray  # rotation matrices of all rows: (T, hd/2, 2, 2)

    def norm(self, x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return rms_norm(x, gain, rms(x, self.config.norm_eps))

    def heads(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        """Project, and split into heads: (T, D) to (T, heads, hd)."""
        return linear(x, w, b).reshape(len(x), -1, self.config.head_dim)

    def scores(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q kᵀ / √hd, 0 where a row may not see: (H, T, T)."""
        keys = k.repeat(self.config.group_size, axis=1)  # (T, H, hd)
        scores = np.einsum("lhd,shd->hls", q, keys) / math.sqrt(self.config.head_dim)
        return np.where(visible(len(q)), scores, 0)

    def probs(self, scores: np.ndarray) -> np.ndarray:
        return softmax(np.where(visible(scores.shape[-1]), scores, -math.inf))

    def average(self, probs: np.ndarray, v: np.ndarray) -> np.ndarray:
        values = v.repeat(self.config.group_size, axis=1)
        return np.einsum("hls,shd->lhd", probs, values)


def add(at: Block, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The residual stream, and what a stage adds to it."""
    return x + y


# Of each tap of a block, its inputs ("x" is the stream into the block) and how it follows.
Stage = tuple[tuple[str, ...], Callable[..., np.ndarray]]
STAGES: dict[str, Stage] = {
    "attn_norm.rms": (("x",), lambda at, x: rms(x, at.config.norm_eps)),
    "attn_norm": (("x",), lambda at, x: at.norm(x, at.layer.attn_norm)),
    "q": (("attn_norm",), lambda at, h: at.heads(h, at.layer.wq, at.layer.bq)),
    "k": (("attn_norm",), lambda at, h: at.heads(h, at.layer.wk, at.layer.bk)),
    "v": (("attn_norm",), lambda at, h: at.heads(h, at.layer.wv, at.layer.bv)),
    "q_rot": (("q",), lambda at, q: rotate(q, at.R)),
    "k_rot": (("k",), lambda at, k: rotate(k, at.R)),
    "scores": (("q_rot", "k_rot"), Block.scores),
    "probs": (("scores",), Block.probs),
    "heads": (("probs", "v"), Block.average),
    "attn_out": (
        ("heads",),
        lambda at, z: linear(z.reshape(len(z), -1), at.layer.wo, at.layer.bo),
    ),
    "resid_mid": (("x", "attn_out"), add),
    "ffn_norm.rms": (("resid_mid",), lambda at, x: rms(x, at.config.norm_eps)),
    "ffn_norm": (("resid_mid",), lambda at, x: at.norm(x, at.layer.ffn_norm)),
    "gate": (("ffn_norm",), lambda at, h: linear(h, at.layer.w_gate, at.layer.b_gate)),
    "up": (("ffn_norm",), lambda at, h: linear(h, at.layer.w_up, at.layer.b_up)),
    "swiglu": (("gate", "up"), lambda at, gate, up: swiglu(gate, up)),
    "ffn_out": (("swiglu",), lambda at, z: linear(z, at.layer.w_down, at.layer.b_down)),
    "resid_post": (("resid_mid", "ffn_out"), add),
}


def all_rotations(model: Llama, schedule: Schedule) -> np.ndarray:
    """The rotation matrices of all rows, as the steps of the schedule make them."""
    tables, start = [], 0
    for size in schedule.steps:
        tables.append(model.rotations(start, size))
        start += size
    return np.concatenate(tables)


@dataclass(frozen=True)
class Step:
    """One stage to recompute: its tap, the taps that go in, and the computation."""

    tap: str
    inputs: tuple[str, ...]
    compute: Callable[..., np.ndarray]


def stages(model: Llama, schedule: Schedule) -> Iterator[Step]:
    """All stages of a model, in causal order."""
    config, weights = model.config, model.weights
    ids = np.array(schedule.tokens)
    R = all_rotations(model, schedule)
    yield Step("embed", (), lambda: model.embed(ids))
    stream = "embed"
    for i, layer in enumerate(weights.layers):
        at = Block(config, layer, R)
        for name, (inputs, function) in STAGES.items():
            of = tuple(stream if tap == "x" else f"layers.{i}.{tap}" for tap in inputs)
            yield Step(f"layers.{i}.{name}", of, lambda *a, f=function, at=at: f(at, *a))
        stream = f"layers.{i}.resid_post"
    gain, eps = weights.final_norm, config.norm_eps
    yield Step("final_norm.rms", (stream,), lambda x: rms(x, eps))
    yield Step("final_norm", (stream,), lambda x: rms_norm(x, gain, rms(x, eps)))
    yield Step("logits", ("final_norm",), lambda x: linear(x, weights.lm_head))


def recompute(
    model: Llama, schedule: Schedule, given: Taps
) -> dict[str, tuple[Groups, tuple[str, ...]]]:
    """Of each tap given, its errors against the reference stage, and the taps that went in.

    A stage's input that was not given is itself recomputed, from the nearest taps that were.
    """
    known: dict[str, np.ndarray] = {}
    roots: dict[str, tuple[str, ...]] = {}
    errors = {}
    for step in stages(model, schedule):
        with np.errstate(over="ignore", invalid="ignore"):
            value = step.compute(*(known[tap] for tap in step.inputs))
        came_from = tuple(dict.fromkeys(root for tap in step.inputs for root in roots[tap]))
        known[step.tap], roots[step.tap] = value, came_from
        if step.tap in given:
            of_groups = group_errors(step.tap, given[step.tap], value, schedule)
            errors[step.tap] = (of_groups, came_from)
            known[step.tap] = np.asarray(given[step.tap], np.float64)
            roots[step.tap] = (step.tap,)
        if step.tap.endswith(".resid_post"):  # no later stage looks further back than this
            known, roots = {step.tap: known[step.tap]}, {step.tap: roots[step.tap]}
    return errors


def judged(tap: str, errors: Groups, floors: Groups, inputs: tuple[str, ...]) -> Isolated:
    """A stage by that group of its rows in which it is off by most floors."""
    pairs = zip(errors, floors, strict=True)
    error, floor = max(pairs, key=lambda pair: pair[0] / pair[1])
    return Isolated(tap, grade_of(error / floor), error, floor, inputs)


def isolate(model: Llama, evidence: Evidence, dtype: str) -> tuple[Isolated, ...]:
    """Judge each stage of a candidate by itself, as far as its taps allow.

    The floor is what the equally right ways to compute this model in `dtype` are found to be off
    in the same way, with the same taps given: the largest, in each group of rows.
    """
    given, schedule = evidence.whole, evidence.schedule
    if given.keys() <= {"logits"}:
        return ()  # nothing to be judged by itself: that is the whole model, from the tokens
    exact = in_dtype(model, "float64")
    measured = {tap: np.zeros(len(schedule.groups)) for tap in given}
    for variant in variants(model, dtype):
        ours = run(variant, schedule, given.keys())
        for tap, (errors, _) in recompute(exact, schedule, ours).items():
            measured[tap] = np.maximum(measured[tap], errors)
    floors = smoothed_groups({tap: errors.tolist() for tap, errors in measured.items()}, dtype)
    return tuple(
        judged(tap, errors, floors[tap], inputs)
        for tap, (errors, inputs) in recompute(exact, schedule, given).items()
    )
