"""numpy_llama: the Llama architecture in plain NumPy, to read, to run, and to check others against.

    import numpy_llama as ll

    m = ll.load("smollm2-135m")  # a name in weights/, a path, or ORG/NAME: what -m takes
    print(m.generate("Once upon a time", max_tokens=40))
    m.logits("Once upon a time")  # (L, V)

The model by itself, without text: `ll.load_model`, `ll.Llama.forward`. Golden outputs, to check
other implementations with: `ll.golden`.

Reading order: taps, norm, rope, attention, kv_cache, feed_forward, parameters, model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import golden
    from .attention import attend, attend_blocked
    from .completion import Completion, Options
    from .config import LlamaConfig, RopeScaling
    from .errors import LlamaError
    from .formats import Checkpoint, open_checkpoint
    from .generation import generate
    from .kv_cache import KVCache
    from .loading.weights import load_model, load_weights
    from .model import Llama
    from .parameters import LayerWeights, Weights
    from .recording import StepRecorder
    from .sampling import Sampling
    from .taps import TAPS, Recorder
    from .text import TextModel, load
    from .tokenizers import load_tokenizer

__version__ = "0.1.0"

_HOME = {
    "attend": "attention",
    "attend_blocked": "attention",
    "Completion": "completion",
    "Options": "completion",
    "LlamaConfig": "config",
    "RopeScaling": "config",
    "LlamaError": "errors",
    "Checkpoint": "formats",
    "open_checkpoint": "formats",
    "generate": "generation",
    "golden": "",
    "KVCache": "kv_cache",
    "LayerWeights": "parameters",
    "Llama": "model",
    "Weights": "parameters",
    "Sampling": "sampling",
    "StepRecorder": "recording",
    "TAPS": "taps",
    "Recorder": "taps",
    "TextModel": "text",
    "load": "text",
    "load_tokenizer": "tokenizers",
    "load_model": "loading.weights",
    "load_weights": "loading.weights",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import on first use: the command sets the number of threads before NumPy is imported."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOME[name]:
        return import_module(f".{name}", __name__)
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    """What completion offers: the public names, whether they were used already or not."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
