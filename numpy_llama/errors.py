"""The exceptions that users see. Each message names the thing, its value and what mends it.

LlamaError                anything below; the command line prints it in one sentence and exits 1
├── CheckpointError       a file of weights is missing, broken, or not what it claims to be
├── ConfigError           a hyper-parameter is missing, out of range, or not understood
├── TokenizerError        a tokenizer is missing, broken, or not known
├── InputError            a prompt, a token id or an option cannot be used with this model
├── NumericError          a value that should be finite is not
└── MissingExtraError     an optional package is needed; the message is the pip line
"""


class LlamaError(Exception):
    """Anything that a user can act on; never a bug in this package."""


class CheckpointError(LlamaError):
    """A file of weights is missing, broken, or not what it claims to be."""


class ConfigError(LlamaError):
    """A hyper-parameter is missing, out of range, or not understood."""


class TokenizerError(LlamaError):
    """A tokenizer is missing, broken, or not known."""


class InputError(LlamaError):
    """A prompt, a token id or an option cannot be used with this model."""


class NumericError(LlamaError):
    """A value that should be finite is not."""


class MissingExtraError(LlamaError):
    """An optional package is needed and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package}: pip install 'numpy-llama[{extra}]'"
        )
