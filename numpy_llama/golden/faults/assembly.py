"""Mistakes in how the parts are put together, and in what goes in and comes out."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ...model import Llama
from ...taps import Tap
from ..replay.override import PickedLayers
from ..replay.schedule import Schedule
from .fault import Change, Fault, Stages, assembled, stage

# What a block computes, given x, the normalised x, and what attention or the network made of it.
Add = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def plus(x: np.ndarray, normed: np.ndarray, out: np.ndarray) -> np.ndarray:
    """As it should be."""
    return x + out


def adding(attention: Add = plus, feed_forward: Add = plus) -> Change:
    """The fault of a block that adds to the residual stream in another way."""

    def block(of: Stages, x: np.ndarray) -> np.ndarray:
        normed = of.attn_norm(x)
        x = of.resid_mid(attention(x, normed, of.attention(normed)))
        normed = of.ffn_norm(x)
        return of.resid_post(feed_forward(x, normed, of.feed_forward(normed)))

    return assembled(block)


def parallel(of: Stages, x: np.ndarray) -> np.ndarray:
    """Both read the stream as it came into the block."""
    mid = of.resid_mid(x + of.attention(of.attn_norm(x)))
    return of.resid_post(mid + of.feed_forward(of.ffn_norm(x)))


class ScaledEmbeddings(Llama):
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return super().embed(ids) * math.sqrt(self.config.dim)


class PreviousRow(Llama):
    def head(self, x: np.ndarray, tap: Tap) -> np.ndarray:
        def shifted(name: str, array: np.ndarray) -> None:
            tap(name, previous(array) if name == "logits" else array)

        return previous(super().head(x, shifted))


def previous(rows: np.ndarray) -> np.ndarray:
    """Each row replaced by the one before it; the first stays."""
    return rows[np.maximum(np.arange(len(rows)) - 1, 0)]


def head_with(change: Callable[[Llama], np.ndarray]) -> Change:
    """The fault of a model with another output matrix."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        weights = dataclasses.replace(model.weights, lm_head=change(model))
        return dataclasses.replace(model, weights=weights), schedule

    return apply


def layers_in_order(order: Callable[[int], list[int]]) -> Change:
    """The fault of a model that runs other layers than 0 … N - 1."""

    def apply(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
        picked = order(model.config.n_layers)
        config = dataclasses.replace(model.config, n_layers=len(picked))
        layers = PickedLayers(model.weights.layers, picked)
        weights = dataclasses.replace(model.weights, layers=layers)
        return dataclasses.replace(model, config=config, weights=weights), schedule

    return apply


def without_first_token(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    if len(schedule.tokens) == 1:
        return model, schedule
    first, *rest = schedule.steps
    steps = (first - 1, *rest) if first > 1 else tuple(rest)
    return model, Schedule(schedule.tokens[1:], steps)


def first_token_doubled(model: Llama, schedule: Schedule) -> tuple[Llama, Schedule]:
    first, *rest = schedule.steps
    return model, Schedule((schedule.tokens[0], *schedule.tokens), (first + 1, *rest))


FAULTS = (
    Fault(
        "residual-after-norm",
        "assembly",
        "The residual is taken after the norm: what is added to is the normalised stream.",
        "h = norm(x);  x ← h + attention(h);  then the same with the feed-forward",
        "OLMo#680 (the norm wrote into its input), llama3-from-scratch#28",
        "Keep x aside before the norm, and add to that.",
        adding(lambda x, h, out: h + out, lambda x, h, out: h + out),
    ),
    Fault(
        "residual-missing-attention",
        "assembly",
        "The output of attention replaces the residual stream instead of being added to it.",
        "x ← attention(norm(x))",
        "",
        "Add the output of attention to x.",
        adding(attention=lambda x, h, out: out),
    ),
    Fault(
        "residual-missing-ffn",
        "assembly",
        "The output of the feed-forward replaces the residual stream instead of being added to it.",
        "x ← ffn(norm(x))",
        "",
        "Add the output of the feed-forward to x.",
        adding(feed_forward=lambda x, h, out: out),
    ),
    Fault(
        "parallel-residual",
        "assembly",
        "Attention and feed-forward both read the input of the block, as in GPT-J.",
        "x ← x + attention(attn_norm(x)) + ffn(ffn_norm(x))",
        "",
        "The feed-forward reads the stream after attention was added.",
        assembled(parallel),
    ),
    Fault(
        "head-tied",
        "assembly",
        "The embeddings are used as the head, but this model has a head of its own.",
        "logits = final_norm(x) · tok_embeddingsᵀ",
        "pegainfer#544, ComfyUI#15048",
        "Load lm_head (output.weight) where the checkpoint has one.",
        head_with(lambda model: model.weights.tok_embeddings),
        lambda config: not config.tied_head,
    ),
    Fault(
        "head-zero",
        "assembly",
        "The head was never loaded, and is zero: the perplexity is the size of the vocabulary.",
        "logits = 0",
        "sglang#1508, transformers#43429, parallax#444, fairseq2#1102",
        "In a tied model the head is tok_embeddings; the checkpoint has no lm_head.",
        head_with(lambda model: np.zeros_like(model.weights.lm_head)),
    ),
    Fault(
        "embed-scaled",
        "assembly",
        "The embeddings are multiplied by √dim, which is Gemma's convention.",
        "x = √D · tok_embeddings[token]",
        "",
        "Use the row of the table as it is.",
        stage(ScaledEmbeddings),
    ),
    Fault(
        "layer-last-missing",
        "assembly",
        "The last layer is not run.",
        "layers 0 … N - 2",
        "",
        "Run all n_layers layers: check the bounds of the loop.",
        layers_in_order(lambda N: list(range(N - 1))),
        lambda config: config.n_layers > 1,
    ),
    Fault(
        "layer-first-repeated",
        "assembly",
        "Every layer uses the weights of the first.",
        "layer i computes with the weights of layer 0, for all i",
        "",
        "Advance the pointer into the weights with the layer.",
        layers_in_order(lambda N: [0] * N),
        lambda config: config.n_layers > 1,
    ),
    Fault(
        "logits-previous-row",
        "assembly",
        "The logits are read one row too early.",
        "row i of the logits of a step is that of row i - 1; the first row of each step is right",
        "llama-cpp-python#2205, llama-cpp-python#1179",
        "The logits of the next token are in the row of the last token.",
        stage(PreviousRow),
    ),
    Fault(
        "bos-missing",
        "assembly",
        "The first token, the beginning of the sequence, is missing.",
        "the run is over tokens[1:], at positions 0 … T - 2",
        "litgpt#1031",
        "Begin the prompt with the BOS token.",
        without_first_token,
    ),
    Fault(
        "bos-doubled",
        "assembly",
        "The first token, the beginning of the sequence, is there twice.",
        "the run is over (tokens[0], *tokens), at positions 0 … T; the last T rows are given",
        "vllm#16976, sglang#888, retaining-by-doing#5",
        "Let either the template or the tokenizer add the BOS token, not both.",
        first_token_doubled,
    ),
)
