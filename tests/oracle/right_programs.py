"""Programs that are right, as far from each other as right programs are: none may be called wrong.

transformers in each of its attentions and dtypes; with its sums in other orders and its scale
elsewhere; a naive PyTorch model; a Llama in C as different compilers would make it. Each gives its
taps as `run` joins them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

import numpy as np
import torch
from transformers.models.llama import modeling_llama

from numpy_llama.config import LlamaConfig
from numpy_llama.golden.replay.schedule import Schedule
from tests.golden.another_llama import permuted
from tests.golden.c_llama import run_in_c

from .torch_llama import TorchLlama
from .torch_records import joined
from .transformers_llama import dump, transformers_llama

Tensors = Mapping[str, np.ndarray]
Taps = dict[str, np.ndarray]
HEADS = ("q", "k", "v", "heads")  # taps that transformers has with their heads merged


def fed(schedule: Schedule) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """The chunks of the prompt, and the tokens of the decode steps."""
    tokens, prompt = schedule.tokens, schedule.prompt
    chunks = [tokens[rows.start : rows.stop] for rows in schedule.groups if rows.start < prompt]
    return tuple(chunks), tokens[prompt:]


def by_our_shapes(config: LlamaConfig, taps: Taps) -> Taps:
    """transformers' taps with heads apart, and the features of queries and keys in our order."""
    hd, out = config.head_dim, dict(taps)
    back = np.argsort([*range(0, hd, 2), *range(1, hd, 2)])
    for name, array in taps.items():
        part = name.rpartition(".")[2]
        if part in HEADS:
            array = array.reshape(len(array), -1, hd)
            out[name] = array[..., back] if part in ("q", "k") else array
    return out


def of_transformers(
    config: LlamaConfig,
    tensors: Tensors,
    schedule: Schedule,
    dtype: str = "float32",
    attention: str = "eager",
) -> Taps:
    """What transformers gives."""
    model = transformers_llama(config, dict(tensors), getattr(torch, dtype), attention)
    return by_our_shapes(config, dump(model, *fed(schedule)))


def of_naive_torch(
    config: LlamaConfig, tensors: Tensors, schedule: Schedule, dtype: str = "float32"
) -> Taps:
    """What the PyTorch model of these tests gives."""
    model = TorchLlama(asdict(config), tensors, getattr(torch, dtype))
    return joined(model.run(*fed(schedule)))


def scores_in_order(order: torch.Tensor, before: bool) -> Callable[..., tuple[torch.Tensor, None]]:
    """transformers' eager attention, the products of q·k added one after another in this order.

    before: scale q, and not the scores.
    """

    def attention(module, query, key, value, attention_mask, scaling, **rest):  # type: ignore[no-untyped-def]
        key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
        value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
        q = query * scaling if before else query
        scores = torch.zeros(*q.shape[:-1], key.shape[2], dtype=q.dtype)
        for i in order.tolist():
            scores = scores + q[..., i, None] * key[..., None, :, i]
        scores = scores if before else scores * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        probs = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
        return (probs @ value).transpose(1, 2).contiguous(), None

    return attention


@contextlib.contextmanager
def eager_attention(function: Callable[..., tuple[torch.Tensor, None]]) -> Iterator[None]:
    """transformers with another function for its eager attention."""
    theirs = modeling_llama.eager_attention_forward
    modeling_llama.eager_attention_forward = function
    try:
        yield
    finally:
        modeling_llama.eager_attention_forward = theirs


def with_attention_in_order(
    config: LlamaConfig, tensors: Tensors, schedule: Schedule, seed: int, before: bool
) -> Taps:
    """transformers in float32 with the sums of its scores in the order of this seed."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(config.head_dim))
    with eager_attention(scores_in_order(order, before)):
        return of_transformers(config, tensors, schedule)


def with_stream_in_order(
    config: LlamaConfig, tensors: Tensors, schedule: Schedule, seed: int
) -> Taps:
    """transformers in float32 with the sums over D and over F in the orders of this seed."""
    random = np.random.default_rng(seed)
    D, F = random.permutation(config.dim), random.permutation(config.hidden_dim)
    taps = of_transformers(config, permuted(tensors, D, F), schedule)
    for name, array in taps.items():
        part = name.rpartition(".")[2]
        if part in ("gate", "up", "swiglu"):
            taps[name] = array[:, np.argsort(F)]
        elif part not in (*HEADS, "probs", "logits"):
            taps[name] = array[:, np.argsort(D)]
    return taps


C_FLAGS = {
    "C -O0": ("-O0",),
    "C -O3 -ffast-math": ("-O3", "-march=native", "-ffast-math"),
    "C in double": ("-O2", "-DACC=double"),
}


def of_c(config: LlamaConfig, tensors: Tensors, schedule: Schedule, how: str) -> Taps:
    """What llama.c gives, compiled in this way."""
    return run_in_c(config, tensors, schedule.tokens, *C_FLAGS[how])
