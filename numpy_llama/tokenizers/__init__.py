"""Tokenizers: text to ids and back, for every vocabulary that a Llama comes with."""

from pathlib import Path

from ..errors import TokenizerError
from ..formats.storage.files import foreign_content
from .base import Settings, Tokenizer
from .streaming import TextStream

__all__ = ["Settings", "TextStream", "Tokenizer", "load_tokenizer"]

MODEL, JSON, BIN = "tokenizer.model", "tokenizer.json", "tokenizer.bin"


def head_of(path: Path) -> bytes:
    """The first bytes of a file, b"" where there is none."""
    if not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read: {error.strerror}") from None


def read_model_file(path: Path) -> Tokenizer:
    """A file called tokenizer.model: Llama 3's is text, those before it SentencePiece's."""
    from .spm.tokenizer import read_tokenizer_model
    from .tiktoken import looks_like_tiktoken, read_tiktoken_model

    head = head_of(path)
    if looks_like_tiktoken(head):
        return read_tiktoken_model(path)
    if what := foreign_content(head):
        raise TokenizerError(f"{path}: {what}")
    return read_tokenizer_model(path)


def read_one(path: Path) -> Tokenizer:
    """The tokenizer in one file, by its content."""
    from .bpe import read_tokenizer_json
    from .gguf_vocab import read_gguf_vocab
    from .llama2c import read_tokenizer_bin

    head = head_of(path)
    if head.startswith(b"GGUF"):
        return read_gguf_vocab(path)
    if path.name.endswith(".json") or head.lstrip().startswith(b"{"):
        return read_tokenizer_json(path)
    return read_tokenizer_bin(path) if path.suffix == ".bin" else read_model_file(path)


def beside(directory: Path) -> Path | None:
    """The tokenizer's file in a directory.

    A SentencePiece model comes before tokenizer.json, which says the same and needs an extra
    package; Llama 3's text comes after it, because tokenizer.json also has later added tokens.
    """
    model, json, binary = (directory / name for name in (MODEL, JSON, BIN))
    if model.is_file() and head_of(model).startswith(b"\n"):
        return model
    return next((path for path in (json, model, binary) if path.is_file()), None)


def load_tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer of a model: of a directory, a GGUF file, weights beside it, or its own file.

    Settings (BOS, EOS, chat template) come from the Hugging Face files of the same directory.
    Raises TokenizerError when there is none or it is broken, MissingExtraError when reading it
    needs a package that is not installed.
    """
    path = Path(source)
    if not path.exists():
        raise TokenizerError(f"{path}: does not exist")
    if path.is_file() and (head_of(path).startswith(b"GGUF") or path.name.startswith("tokenizer")):
        return read_one(path)
    directory = path if path.is_dir() else path.parent
    # Meta put one tokenizer.model above the directories of Llama 1 and 2, for all their sizes.
    above = [directory.resolve().parent] if (directory / "params.json").is_file() else []
    for place in [directory, *above]:
        if found := beside(place):
            return read_one(found)
    raise TokenizerError(
        f"{directory}: has no tokenizer; looked for {MODEL}, {JSON} and {BIN}. "
        "Put the one of this model there"
    )
