"""BOS, EOS and chat template as Hugging Face directories keep them: in up to five small files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..formats.storage.strict_json import shown
from .base import Settings
from .files import MAX_TOKENS, read_bytes, read_object, write_object

TokenId = Callable[[str], int | None]


def token_text(value: Any, field: str, source: Path) -> str | None:
    """The text of a token that is written as "<s>", as {"content": "<s>"}, or as null."""
    text = value.get("content") if isinstance(value, dict) else value
    if text is not None and not isinstance(text, str):
        raise TokenizerError(f"{source}: {field} must be a token's text, not {shown(value)}")
    return text


def token_ids(value: Any, field: str, source: Path) -> tuple[int, ...]:
    """Ids that are written as one number, as a list, or as null."""
    ids = () if value is None else value if isinstance(value, list) else (value,)
    for token in ids:
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < MAX_TOKENS:
            raise TokenizerError(f"{source}: {field} must be a token id, not {shown(token)}")
    return tuple(ids)


def named_token(directory: Path, field: str, token_id: TokenId) -> int | None:
    """The id of the token that tokenizer_config.json names in `field`."""
    source = directory / "tokenizer_config.json"
    text = token_text(read_object(source).get(field), field, source)
    if text is None:
        return None
    if (token := token_id(text)) is None:
        raise TokenizerError(f"{source}: {field} {shown(text)} is not in the vocabulary")
    return token


def read_bos(directory: Path, token_id: TokenId) -> int | None:
    """tokenizer_config.json's bos_token (null counts), else bos_token_id of the model's configs."""
    if "bos_token" in read_object(directory / "tokenizer_config.json"):
        return named_token(directory, "bos_token", token_id)
    for name in ("generation_config.json", "config.json"):
        source = directory / name
        if ids := token_ids(read_object(source).get("bos_token_id"), "bos_token_id", source):
            return ids[0]
    return None


def read_eos(directory: Path, token_id: TokenId) -> tuple[int, ...]:
    """generation_config.json knows all ids that end an answer, config.json often only one."""
    for name in ("generation_config.json", "config.json"):
        source = directory / name
        if ids := token_ids(read_object(source).get("eos_token_id"), "eos_token_id", source):
            return ids
    eos = named_token(directory, "eos_token", token_id)
    return () if eos is None else (eos,)


def read_chat_template(directory: Path) -> str | None:
    """chat_template.jinja, else tokenizer_config.json's: one, or the "default" of several."""
    jinja = directory / "chat_template.jinja"
    if jinja.exists():
        return read_bytes(jinja).decode("utf-8", "replace")
    source = directory / "tokenizer_config.json"
    template = read_object(source).get("chat_template")
    if isinstance(template, list):
        entries = [each for each in template if isinstance(each, dict)]
        template = next((e.get("template") for e in entries if e.get("name") == "default"), None)
    if template is not None and not isinstance(template, str):
        raise TokenizerError(f"{source}: chat_template is a {type(template).__name__}, not a text")
    return template


def read_adds_bos(directory: Path) -> bool | None:
    """tokenizer_config.json's add_bos_token, None where it says nothing."""
    source = directory / "tokenizer_config.json"
    value = read_object(source).get("add_bos_token")
    if value is not None and not isinstance(value, bool):
        raise TokenizerError(f"{source}: add_bos_token must be true or false, not {shown(value)}")
    return value


def read_settings(directory: Path, token_id: TokenId, default: Settings) -> Settings:
    """What the files of `directory` say; `default` (from the vocabulary) where they are silent."""
    says_bos = "bos_token" in read_object(directory / "tokenizer_config.json")
    bos, adds_bos = read_bos(directory, token_id), read_adds_bos(directory)
    return Settings(
        bos_id=bos if bos is not None or says_bos else default.bos_id,
        eos_ids=read_eos(directory, token_id) or default.eos_ids,
        adds_bos=default.adds_bos if adds_bos is None else adds_bos,
        chat_template=read_chat_template(directory) or default.chat_template,
    )


def write_settings(
    directory: Path, settings: Settings, name: Callable[[int], str], extra: dict[str, Any]
) -> None:
    """Write tokenizer_config.json, and generation_config.json for the ids that end an answer."""
    bos, eos = settings.bos_id, settings.eos_ids
    config = {
        **extra,
        "bos_token": None if bos is None else name(bos),
        "eos_token": name(eos[0]) if eos else None,
        "add_bos_token": settings.adds_bos,
        "clean_up_tokenization_spaces": False,  # it would drop spaces before punctuation
    }
    if settings.chat_template is not None:
        config["chat_template"] = settings.chat_template
    write_object(directory / "tokenizer_config.json", config)
    generation = {"bos_token_id": bos, "eos_token_id": list(eos) or None}
    known = {field: value for field, value in generation.items() if value is not None}
    write_object(directory / "generation_config.json", known)
