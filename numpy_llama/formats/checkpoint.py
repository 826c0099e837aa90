"""What every reader of a checkpoint gives: a LlamaConfig, and named tensors not read yet."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..choices import RopeLayout
from ..config import LlamaConfig
from ..errors import CheckpointError


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a file holds it. Its bytes are looked at when `load` is called, not before.

    `load` gives an F64, F32 or F16 tensor in that dtype, a BF16 one as its bits in uint16, and
    all else (quantised types) as float32.
    """

    shape: tuple[int, ...]
    dtype: str  # as stored: "F32", "BF16", "Q4_K", …
    nbytes: int  # as stored
    load: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint, whatever its format.

    tensors: by our names (`tok_embeddings`, `layers.0.wq`, …, `final_norm`, and `lm_head` unless
    the head is tied), with the shapes that `expected_shapes` gives for the config.
    """

    source: Path
    format: str  # for people: "Hugging Face safetensors", "GGUF v3", …
    config: LlamaConfig
    tensors: Mapping[str, StoredTensor]
    rope_layout: RopeLayout

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def layer_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of one block and their shapes, (out, in) for matrices."""
    D, F, hd = config.dim, config.hidden_dim, config.head_dim
    q_rows, kv_rows = config.n_heads * hd, config.n_kv_heads * hd
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (D,),
        "wq": (q_rows, D),
        "wk": (kv_rows, D),
        "wv": (kv_rows, D),
        "wo": (D, q_rows),
        "ffn_norm": (D,),
        "w_gate": (F, D),
        "w_up": (F, D),
        "w_down": (D, F),
    }
    if config.attention_bias:
        shapes |= {"bq": (q_rows,), "bk": (kv_rows,), "bv": (kv_rows,), "bo": (D,)}
    if config.mlp_bias:
        shapes |= {"b_gate": (F,), "b_up": (F,), "b_down": (D,)}
    return shapes


def expected_shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a model and its shape, in the order in which a forward pass uses them."""
    yield "tok_embeddings", (config.vocab_size, config.dim)
    block = layer_shapes(config)
    for i in range(config.n_layers):
        for name, shape in block.items():
            yield f"layers.{i}.{name}", shape
    yield "final_norm", (config.dim,)
    if not config.tied_head:
        yield "lm_head", (config.vocab_size, config.dim)


def check_tensors(source: Path, config: LlamaConfig, tensors: Mapping[str, StoredTensor]) -> None:
    """Raise CheckpointError unless `tensors` are what `config` calls for, each in its shape."""
    expected = dict(expected_shapes(config))
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{source}: tensor {missing[0]} is missing "
            f"({len(missing)} of {len(expected)} that the config calls for are)"
        )
    unexpected = [name for name in tensors if name not in expected]
    if unexpected:
        raise CheckpointError(
            f"{source}: tensor {unexpected[0]} is not part of the model that the config describes "
            f"({len(unexpected)} such)"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"{source}: tensor {name} has the shape {tensors[name].shape}, "
                f"the config calls for {shape}"
            )
