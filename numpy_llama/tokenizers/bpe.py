"""BPE vocabularies (Llama 3, SmolLM2, every tokenizer.json), through the package `tokenizers`."""

import json
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TokenizerError
from .base import Settings, Tokenizer
from .bpe_spec import bos_template, check_spec, decoding, token_bytes
from .files import parse_json, read_bytes, write_bytes
from .hf_settings import read_settings, write_settings


def one_line(error: BaseException) -> str:
    """What Rust code says, as part of a sentence."""
    return " ".join(str(error).split())[:200]


def build_engine(text: str, source: Path) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json."""
    try:
        from tokenizers import Tokenizer as Engine
    except ImportError:
        raise MissingExtraError("tokenizers", f"{source.name}: a BPE vocabulary") from None
    try:
        engine = Engine.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of Rust code is not an Exception
        raise TokenizerError(f"{source}: not a usable tokenizer.json: {one_line(error)}") from None
    engine.no_truncation()  # a file may carry a training run's limit, which would cut prompts
    engine.no_padding()
    return engine


class BytePairTokenizer(Tokenizer):
    """A tokenizer.json. GGUF and tiktoken vocabularies are first written as one."""

    def __init__(self, text: str, settings: Settings, source: Path, rule: str = ""):
        super().__init__(settings)
        spec = check_spec(parse_json(text.encode("utf-8"), source), source)
        self._letters, self.strips = decoding(spec, source)
        added = spec.get("added_tokens") or []
        ids = [*spec["model"]["vocab"].values(), *(entry["id"] for entry in added)]
        self.vocab_size = max(ids) + 1
        self.kind = "byte-level BPE" if self._letters else "BPE with byte pieces"
        self.kind += f" ({rule})" if rule else ""
        self._text, self._source = text, source
        self._control = {entry["id"] for entry in added if entry.get("special")}
        self._engine = build_engine(text, source)  # refuses lone surrogates, which have no bytes
        self._verbatim: dict[int, bytes] = {
            entry["id"]: entry["content"].encode("utf-8") for entry in added
        }
        self._check_ids(added)

    def _check_ids(self, added: list[dict[str, Any]]) -> None:
        """The package numbers added tokens itself; where ids have gaps, not as the file does."""
        for entry in added:
            actual = self._engine.token_to_id(entry["content"])
            if actual != entry["id"]:
                raise TokenizerError(
                    f"{self._source}: added token {entry['content']!r} has the id {entry['id']}, "
                    f"which would become {actual}"
                )

    def token_id(self, text: str) -> int | None:
        """The id of a token by its text, None where there is no such token."""
        token: int | None = self._engine.token_to_id(text)
        return token

    def encode_text(self, text: str, special: bool) -> list[int]:
        self._engine.encode_special_tokens = not special  # the package's name for "as plain text"
        try:
            return list(self._engine.encode(text, add_special_tokens=False).ids)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of Rust code is not an Exception
            raise TokenizerError(
                f"{self._source}: cannot encode this text: {one_line(error)}"
            ) from None

    def id_bytes(self, token: int) -> bytes:
        if token in self._control:
            return b""
        if token in self._verbatim:
            return self._verbatim[token]
        text = self._engine.id_to_token(token)
        return b"" if text is None else token_bytes(text, self._letters)

    def control_ids(self) -> dict[str, int]:
        return {self.id_name(token): token for token in self._control}

    def id_name(self, token: int) -> str:
        return self._engine.id_to_token(token) or f"<unassigned {token}>"

    def save(self, directory: Path) -> None:
        text = self._text
        if self.adds_bos and self.bos_id is not None:
            # transformers looks at this post-processor and not at add_bos_token.
            template = bos_template(self.bos_id, self.id_name(self.bos_id))
            text = json.dumps(json.loads(text) | {"post_processor": template}, ensure_ascii=False)
        write_bytes(directory / "tokenizer.json", text.encode("utf-8"))
        extra = {"tokenizer_class": "PreTrainedTokenizerFast"}
        write_settings(directory, self.settings, self.id_name, extra)


def template_bos(spec: dict[str, Any]) -> int | None:
    """The token that the post-processor of a valid tokenizer.json puts before a text, if any."""
    post = spec.get("post_processor") or {}
    for step in [post, *(post.get("processors") or [])]:
        if step.get("type") != "TemplateProcessing":
            continue
        first = (step.get("single") or [{}])[0].get("SpecialToken", {}).get("id")
        ids: list[int] = step.get("special_tokens", {}).get(first, {}).get("ids", [])
        if ids:
            return ids[0]
    return None


def read_tokenizer_json(path: Path) -> BytePairTokenizer:
    """The tokenizer of a tokenizer.json and of the settings beside it."""
    text = read_bytes(path).decode("utf-8", "replace")
    tokenizer = BytePairTokenizer(text, Settings(), path)
    bos = template_bos(json.loads(text))
    default = Settings(bos_id=bos, adds_bos=bos is not None)
    tokenizer.settings = read_settings(path.parent, tokenizer.token_id, default)
    return tokenizer
