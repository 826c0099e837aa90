"""The exceptions that users see. Each message names the thing, its value and what mends it.

LlamaError                anything below; the command line prints it in one sentence and exits 1
├── CheckpointError       a file of weights is missing, broken, or not what it claims to be
├── ConfigError           a hyper-parameter is missing, out of range, or not understood
├── TokenizerError        a tokenizer is missing, broken, or not known
├── InputError            a prompt, a token id or an option cannot be used with this model
├── NumericError          a value that should be finite is not
└── MissingExtraError     an optional package is needed; the message is the pip line
"""

import importlib.util
import os
import shlex
import shutil
import sys


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

    def __init__(self, package: str, purpose: str):
        super().__init__(f"{purpose} needs the package {package}: {install_line(package)}")


def install_line(*packages: str) -> str:
    """What to type to have packages in the environment of this Python."""
    names = shlex.join(packages)
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip"):
        found = shutil.which("pip")  # the first on the path may be another environment's
        ours = found and os.path.dirname(found) == os.path.dirname(sys.executable)
        return f"pip install {names}" if ours else f"{python} -m pip install {names}"
    if shutil.which("uv"):
        return f"uv pip install --python {python} {names}"
    return f"pip --python {python} install {names}"
