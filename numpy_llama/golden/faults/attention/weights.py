"""Mistakes in attention's weights."""

import dataclasses

from ....config import LlamaConfig
from ....parameters import LayerWeights
from ..fault import Fault, layers_with, swapped, zeroed


def keys_and_values_swapped(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    """wk where wv belongs, and the reverse."""
    return swapped(swapped(layer, "wk", "wv"), "bk", "bv")


def wq_transposed(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, wq=layer.wq.T)


def wo_transposed(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, wo=layer.wo.T)


def without_output_bias(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, bo=None)


def without_biases(layer: LayerWeights, config: LlamaConfig) -> LayerWeights:
    return dataclasses.replace(layer, bq=None, bk=None, bv=None, bo=None)


def square(config: LlamaConfig) -> bool:
    """Whether wq and wo are square, so that a transpose goes unnoticed."""
    return config.n_heads * config.head_dim == config.dim


FAULTS = (
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
