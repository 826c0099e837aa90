"""A model with its tokenizer: text in, text out.

    m = load("smollm2-135m")
    print(m.generate("Once upon a time", max_tokens=40))

What the commands and a notebook share. Ids instead of a text are taken everywhere.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .backend import to_host
from .chat import answer_ends, encode_chat, open_template
from .chat.messages import Message
from .completion import Completion, Options
from .generation import check_context, check_finite, generate
from .loading.fast.layout import for_texts
from .loading.fast.wavefront import in_parts
from .loading.open import Say, open_llama, warn
from .model import Llama
from .sampling import log_probabilities
from .store.find import find_model
from .taps import Tap, no_tap
from .tokenizers import Tokenizer, load_tokenizer
from .tokens import check_tokens

Prompt = str | Sequence[int]  # a text, or the ids of one
DEFAULTS = Options()
ROWS = 128  # of logits at a time where only one number of each is kept


def is_conversation(prompt: Prompt | Sequence[Message]) -> TypeGuard[Sequence[Message]]:
    """Whether these are messages, and not a text or ids."""
    return not isinstance(prompt, str) and isinstance(next(iter(prompt), None), dict)


class TextModel:
    """A Llama with its tokenizer. `load` makes one.

    llama: the model. tokenizer: read when it is first asked for, so that a model without one still
    takes ids. path: where the model is.
    """

    def __init__(
        self,
        llama: Llama,
        path: str | Path,
        tokenizer: Tokenizer | str | Path | None = None,
        chat_template: str | None = None,
    ):
        self.llama, self.path, self.chat_template = llama, Path(path), chat_template
        self._tokenizer = path if tokenizer is None else tokenizer

    def __repr__(self) -> str:
        """Three lines."""
        return f"TextModel {self.path}, {self.llama!r}"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's vocabulary. Raises TokenizerError, or MissingExtraError."""
        given = self._tokenizer
        return given if isinstance(given, Tokenizer) else load_tokenizer(given)

    @cached_property
    def decoding(self) -> Llama:
        """The model as texts are made with, its weights laid out otherwise: see layout.py."""
        return for_texts(self.llama)

    @cached_property
    def reading(self) -> Llama:
        """The model as `logits` and `logprobs` read with, a text in parts: see wavefront.py."""
        return in_parts(self.llama)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text, BOS first where the model's files ask for it.

        special: read "<|eot_id|>" in the text as that token; by default it is ten characters.
        """
        return self.tokenizer.encode(text, special=special)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out."""
        return self.tokenizer.decode(ids)

    def ids_of(self, prompt: str | Sequence[Any]) -> list[int]:
        """The ids of a text; ids as they are."""
        return self.encode(prompt) if isinstance(prompt, str) else np.asarray(prompt).tolist()

    def limit(self, ids: Sequence[int], context: int | None) -> int:
        """How many positions there are: those asked for, or the model's own.

        Raises InputError where there are no ids, or more than that.
        """
        limit = context or self.llama.config.max_context
        check_context(len(ids), limit)
        return limit

    def encode_chat(
        self, messages: Sequence[Message]
    ) -> tuple[list[int], tuple[int, ...], tuple[str, ...]]:
        """The ids of a conversation; and the ids and the texts that end its answer."""
        with open_template(self.tokenizer, self.chat_template) as template:
            ids = encode_chat(self.tokenizer, template, messages)
            return ids, *answer_ends(self.tokenizer, template)

    def stream(
        self,
        prompt: Prompt | Sequence[Message],
        *,
        options: Options = DEFAULTS,
        tap: Tap = no_tap,
        **changes: Any,
    ) -> Completion:
        """What follows a text, ids, or the messages of a conversation: iterate over it.

            for piece in m.stream("Once upon a time", temperature=0.8, max_tokens=None):
                print(piece, end="", flush=True)

        options: see Options; `changes` are fields of it by name: max_tokens, stop, ignore_eos,
        context, seed, temperature, top_k, top_p, min_p, repeat_penalty. tap: see StepRecorder.
        Raises InputError for a prompt that is empty, does not fit or cannot be encoded.
        """
        options = replace(options, **changes)
        if is_conversation(prompt):
            return self._continue(*self.encode_chat(prompt), options, tap)
        return self._continue(self.ids_of(prompt), self.tokenizer.eos_ids, (), options, tap)

    def _continue(
        self,
        ids: list[int],
        stop_ids: tuple[int, ...],
        stops: tuple[str, ...],
        options: Options,
        tap: Tap = no_tap,
    ) -> Completion:
        """What follows `ids`, until one of `stop_ids` or before one of `stops`."""
        limit = self.limit(ids, options.context)
        # One more than the context has room for: it is the context that ends the text then.
        most = limit + 1 if options.max_tokens is None else options.max_tokens
        cache = self.decoding.new_cache(min(limit, len(ids) + most))
        ends = () if options.ignore_eos else stop_ids
        seed = options.new_seed()
        tokens = generate(self.decoding, ids, most, options, seed, ends, cache, tap=tap)
        decoder = self.tokenizer.stream(ids)
        return Completion(ids, tokens, decoder, (*options.stop, *stops), seed)

    def generate(
        self, prompt: Prompt, *, options: Options = DEFAULTS, tap: Tap = no_tap, **changes: Any
    ) -> Completion:
        """`stream` to its end: what follows a text, or ids. The arguments are those of `stream`.

        r = m.generate("Once upon a time", max_tokens=40)
        print(r, r.finish_reason, r.prompt_tokens, r.generated_tokens)
        """
        return self.stream(prompt, options=options, tap=tap, **changes).finish()

    def chat(
        self, messages: Sequence[Message], *, options: Options = DEFAULTS, **changes: Any
    ) -> Completion:
        """The answer to a conversation, as [{"role": "user", "content": "Hello"}].

        The arguments are those of `stream`, which takes messages too. Raises InputError for
        messages that are none, and for a model without a chat template.
        """
        return self._continue(*self.encode_chat(messages), replace(options, **changes)).finish()

    def logits(
        self, prompt: Prompt, last_only: bool = False, context: int | None = None
    ) -> np.ndarray:
        """The score of every token to come after each of the prompt's: (L, V), on the host.

        last_only: after the last alone, (1, V). Raises NumericError for one that is not finite.
        """
        ids = self.ids_of(prompt)
        self.limit(ids, context)
        rows = to_host(self.reading.forward(ids, last_only=last_only))
        check_finite(self.llama, ids, rows)
        return rows

    def logprobs(self, prompt: Prompt, context: int | None = None) -> np.ndarray:
        """The log-probability of each token given those before it: (L - 1,), natural, float64.

        The first token has none before it: item i is of token i + 1 of `encode(text)`. The
        perplexity of the text is np.exp(-m.logprobs(text).mean()).
        """
        ids = self.ids_of(prompt)
        self.limit(ids, context)
        check_tokens(ids, self.llama.config)  # all of them: one is looked up before it is fed
        cache = self.llama.new_cache(len(ids))
        found = [np.empty(0)]
        for start in range(0, len(ids) - 1, ROWS):
            fed = ids[start : min(start + ROWS, len(ids) - 1)]
            rows = to_host(self.reading.forward(fed, cache))
            check_finite(self.llama, ids, rows)
            found.append(log_probabilities(rows, ids[start + 1 : start + 1 + len(fed)]))
        return np.concatenate(found)


def load(
    source: str | Path | None = None,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    stream: bool | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    chat_template: str | None = None,
    say: Say = warn,
) -> TextModel:
    """A model with its tokenizer.

    source: what -m takes: the name of a model in weights/, a checkpoint of any format, or ORG/NAME
    of one in the hub's cache; None: the model in weights/. dtype, device, stream: see open_llama.
    tokenizer: another than the model's own, or where it is. chat_template: a built-in name or a
    Jinja file, in place of the model's. Raises a LlamaError that names what is wrong.
    """
    path = find_model(source)
    return TextModel(open_llama(path, dtype, device, stream, say), path, tokenizer, chat_template)
