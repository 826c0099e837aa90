"""A tiny model as a user has it: a directory with weights, a config and a tokenizer."""

import functools
import io
from pathlib import Path

import numpy as np
import sentencepiece

from numpy_llama.config import LlamaConfig
from numpy_llama.formats.checkpoint import Checkpoint, StoredTensor
from numpy_llama.formats.convert import convert
from tests.models import random_tensors, tiny_config

WORDS = "once upon a time there was a little llama who lived by the sea and liked to read"


def checkpoint_of(config: LlamaConfig, tensors: dict[str, np.ndarray]) -> Checkpoint:
    """Arrays by our names, RoPE's pairs adjacent, as a reader of a float32 file gives them."""
    stored = {
        name: StoredTensor(array.shape, "F32", array.nbytes, lambda array=array: array)
        for name, array in tensors.items()
    }
    return Checkpoint(Path("random"), "random", config, stored, "adjacent")


@functools.cache
def train_sentencepiece(**rules: str) -> bytes:
    """A SentencePiece model with byte fallback, as Llama 2 has, of about 300 pieces.

    rules: how a text is normalised. As Llama's, not at all; others add a table of characters.
    """
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 10),
        model_writer=out,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        **(rules or {"normalization_rule_name": "identity"}),
        minloglevel=2,
    )
    return out.getvalue()


def write_tiny_model(
    folder: Path, tokenizer: bool = True, seed: int = 0, rows: int = 0
) -> LlamaConfig:
    """Make the directory `folder`, which any command takes as a model.

    rows: by how many rows the model's vocabulary is larger, or smaller, than the tokenizer's.
    """
    vocabulary = train_sentencepiece()
    size = sentencepiece.SentencePieceProcessor(model_proto=vocabulary).vocab_size()
    config = tiny_config(vocab_size=size + rows)
    convert(checkpoint_of(config, random_tensors(config, seed, np.float32)), folder)
    if tokenizer:
        (folder / "tokenizer.model").write_bytes(vocabulary)
    return config
