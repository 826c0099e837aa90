"""numpy_llama: the Llama architecture in plain NumPy, to read, to run, and to check others against.

    from numpy_llama import load_model, load_tokenizer

    model = load_model("weights/smollm2-135m")
    tokenizer = load_tokenizer("weights/smollm2-135m")
    tokens = tokenizer.encode("Once upon a time")
    logits = model.forward(tokens)  # (L, V)

Reading order: taps, norm, rope, attention, kv_cache, feed_forward, parameters, model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention import attend, attend_blocked
    from .config import LlamaConfig, RopeScaling
    from .errors import LlamaError
    from .formats import Checkpoint, open_checkpoint
    from .generation import generate
    from .kv_cache import KVCache
    from .loading.weights import load_model, load_weights
    from .model import Llama
    from .parameters import LayerWeights, Weights
    from .sampling import Sampling
    from .taps import TAPS, Recorder
    from .tokenizers import load_tokenizer

__version__ = "0.1.0"

_HOME = {
    "attend": "attention",
    "attend_blocked": "attention",
    "LlamaConfig": "config",
    "RopeScaling": "config",
    "LlamaError": "errors",
    "Checkpoint": "formats",
    "open_checkpoint": "formats",
    "generate": "generation",
    "KVCache": "kv_cache",
    "LayerWeights": "parameters",
    "Llama": "model",
    "Weights": "parameters",
    "Sampling": "sampling",
    "TAPS": "taps",
    "Recorder": "taps",
    "load_tokenizer": "tokenizers",
    "load_model": "loading.weights",
    "load_weights": "loading.weights",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import on first use: the command sets the number of threads before NumPy is imported."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
