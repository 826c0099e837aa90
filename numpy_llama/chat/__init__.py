"""Chat: conversations as a model was taught to read them, and the state of one that goes on."""

from pathlib import Path

from ..errors import InputError, MissingExtraError, TokenizerError
from ..formats.storage.files import read_small
from ..tokenizers import Tokenizer
from .conversation import Conversation
from .encoding import answer_ends, encode_chat
from .jinja import MAX_TEMPLATE, JinjaTemplate, has_jinja
from .messages import check_messages, message
from .template import Template
from .templates import STYLES, BuiltInTemplate, Words, stand_in

__all__ = [
    "Conversation",
    "Template",
    "answer_ends",
    "check_messages",
    "encode_chat",
    "message",
    "open_template",
]


def marks(tokenizer: Tokenizer) -> tuple[str, str]:
    """The names of BOS and EOS, as templates write them; "" for one that there is not."""
    bos, eos = tokenizer.bos_id, tokenizer.eos_ids
    return (
        "" if bos is None else tokenizer.id_name(bos),
        tokenizer.id_name(eos[0]) if eos else "",
    )


def read_template(path: Path) -> str:
    """A template from a file of the user's."""
    if not path.exists():
        raise InputError(
            f"{path}: neither a file nor a built-in chat template; those are {', '.join(STYLES)}"
        )
    try:
        return read_small(path, MAX_TEMPLATE, TokenizerError).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: is not UTF-8 text (byte {error.start})") from None


def open_template(tokenizer: Tokenizer, choice: str | None = None) -> Template:
    """The chat template of a model, or the one that the user chose: a built-in name, or a file.

    Raises InputError when there is none, MissingExtraError when it needs Jinja, which is not
    installed, and is not certainly one of the built-in ones.
    """
    bos, eos = marks(tokenizer)
    if choice in STYLES:
        return BuiltInTemplate(choice, Words(bos if STYLES[choice].always_bos else "", eos))
    source = read_template(Path(choice)) if choice else tokenizer.chat_template
    if source is None:
        raise InputError(
            "this model has no chat template: name the one that it was trained with by "
            f"--chat-template: a Jinja file, or {', '.join(STYLES)}"
        )
    if has_jinja():
        return JinjaTemplate(source, choice or "the model's files", bos, eos)
    if (built_in := stand_in(source, bos, eos)) is None:
        raise MissingExtraError(
            "jinja2", f"this chat template, none of the built-in {', '.join(STYLES)},"
        )
    return built_in
