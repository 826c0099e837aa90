"""The sections of a trace: of each its title, and whose formulas and lines stand beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..attention import attend, causal_mask, softmax
from ..feed_forward import swiglu, swish
from ..kv_cache import LayerCache
from ..model import Llama
from ..norm import rms, rms_norm
from ..parameters import lookup
from ..rope import rotate, rotate_by_matmul, rotation_matrices
from ..sampling import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_token_probabilities,
    penalise_repeats,
)
from ..tokenizers import Tokenizer

Function = Callable[..., Any]


@dataclass(frozen=True)
class Section:
    """id: also the anchor; taps: whose lines are shown; folds: functions that fold out.

    The formula is that of the first of `folds` that has one. call: a function, and the name of what
    it calls, where the lines of no tap will do.
    """

    id: str
    title: str
    taps: tuple[str, ...] = ()
    folds: tuple[Function, ...] = ()
    formulas: tuple[Function, ...] = ()
    call: tuple[Function, str] | None = None


SECTIONS = (
    Section("tokens", "Text becomes tokens", call=(Tokenizer.encode, "encode_text")),
    Section("embedding", "Each token becomes a vector", ("embed",), (lookup,)),
    Section(
        "norm",
        "RMSNorm: only the length is normalised",
        ("attn_norm.rms", "attn_norm"),
        (rms, rms_norm),
        (rms, rms_norm),
    ),
    Section(
        "rope",
        "RoPE: position is an angle",
        ("q_rot",),
        (rotation_matrices, rotate_by_matmul, rotate),
        (rotation_matrices, rotate_by_matmul),
    ),
    Section(
        "scores",
        "Scores: how well each key matches",
        ("scores",),
        (causal_mask,),
        (attend,),
    ),
    Section("probs", "Probabilities: where a token looks", ("probs",), (softmax,), (softmax,)),
    Section(
        "cache",
        "KV cache: computed once, read for ever",
        call=(Llama.multi_head, "write"),
        folds=(LayerCache.write,),
    ),
    Section(
        "swiglu",
        "SwiGLU: a gate decides what passes",
        ("swiglu",),
        (swiglu, swish),
        (swiglu, swish),
    ),
    Section("stream", "The residual stream: what each part adds", ("resid_mid", "resid_post")),
    Section("lens", "Logit lens: what each layer would say", ("logits",), (Llama.head,)),
    Section(
        "next",
        "From logits to the next token",
        ("logits",),
        (
            next_token_probabilities,
            penalise_repeats,
            keep_top_k,
            keep_top_p,
            keep_min_p,
        ),
    ),
)
