"""Conversation: turns, and the cache of what the model has already read of them."""

from collections.abc import Callable, Generator, Iterator, Sequence

from ..completion import Completion
from ..errors import InputError
from ..generation import FinishReason, generate
from ..kv_cache import KVCache
from ..model import Llama
from ..sampling import GREEDY, Sampling
from ..tokenizers import Tokenizer
from .encoding import answer_ends, encode_chat
from .messages import Message, message
from .template import Template


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items `a` and `b` begin with in common: [1, 2, 3] and [1, 2, 4] have 2."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


class Conversation:
    """A conversation that goes on, its KV cache reused: a turn costs only its new tokens.

    Every turn is rendered whole, from the first; what its ids have in common with those in the
    cache is not computed again. So whatever is changed (the system message, turns left out) is
    right by itself, and costs what it must.
    `say` is told what the user should know, in a sentence.
    """

    def __init__(
        self,
        model: Llama,
        tokenizer: Tokenizer,
        template: Template,
        cache: KVCache,
        *,
        system: str | None = None,
        max_tokens: int = 1024,
        settings: Sampling = GREEDY,
        seed: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.model, self.tokenizer, self.template, self.cache = model, tokenizer, template, cache
        self.max_tokens, self.settings, self.seed, self.say = max_tokens, settings, seed, say
        self.stop_ids, self.stop_texts = answer_ends(tokenizer, template)
        self.system = system
        self.turns: list[Message] = []  # user, assistant, user, … ; all of them
        self.first = 0  # of the turns, the first that the model still sees
        self.held: list[int] = []  # the ids in the cache
        self.tries = 0  # how often an answer was asked for anew
        # Of the last turn, in tokens: found in the cache, read, generated.
        self.reused = self.fed = self.answered = 0

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, also what the model no longer sees."""
        return [*self.opening(), *self.turns]

    def opening(self) -> list[Message]:
        """The system message, if there is one."""
        return [message("system", self.system)] if self.system else []

    def reset(self) -> None:
        """Forget every turn, not the system message."""
        self.turns.clear()
        self.first = 0

    def restore(self, messages: Sequence[Message]) -> None:
        """Go on with these: a system message or none, then questions and answers in turn."""
        said = list(messages)
        system = said.pop(0)["content"] if said and said[0]["role"] == "system" else None
        roles = [each["role"] for each in said]
        if roles != ["user", "assistant"] * (len(said) // 2):
            raise InputError("a conversation must be messages of user and assistant in turn")
        self.system, self.turns[:], self.first = system, said, 0

    def encode(self, first: int) -> list[int]:
        """The ids of the conversation without the turns before `first`."""
        seen = [*self.opening(), *self.turns[first:]]
        return encode_chat(self.tokenizer, self.template, seen)

    def fit(self) -> list[int]:
        """The ids of what is still seen, once the oldest turns are left out that do not fit.

        A quarter of the context is kept for the answer. When turns must go, they go until half is
        free: each time that the beginning changes, everything has to be read again.
        """
        capacity = self.cache.capacity
        answer = min(self.max_tokens, capacity // 4)
        first, last = self.first, len(self.turns) - 1
        ids = self.encode(first)
        if len(ids) + answer > capacity:
            while first < last and len(ids) > capacity // 2:
                first += 2
                ids = self.encode(first)
        if len(ids) >= capacity:
            raise InputError(
                f"the message and the system message have {len(ids)} tokens and the context only "
                f"{capacity}: shorten them, or ask for a larger context (-c)"
            )
        if first > self.first:
            gone = (first - self.first) // 2
            self.say(f"the context of {capacity} tokens is full: {oldest(gone)} left out")
            self.first = first
        return ids

    def ask(self, text: str) -> Generator[str, None, None]:
        """Yield the answer to `text`, as it comes.

        Whoever stops early (closing this, Ctrl-C) leaves the conversation with what was said so
        far. Raises InputError for a text that cannot be encoded or does not fit; it is not kept.
        """
        self.turns.append(message("user", text))
        said = ""
        whole = False
        try:
            ids = self.fit()
            for piece in self.answer(ids):
                said += piece
                yield piece
            whole = True
        finally:
            if said or whole:
                self.turns.append(message("assistant", said))
            else:
                self.turns.pop()

    def answer(self, ids: list[int]) -> Iterator[str]:
        """The text that the model continues `ids` with; feeds only what the cache does not hold."""
        # At least one token must be fed, for its logits.
        self.reused = min(common_prefix(self.held, ids), len(ids) - 1)
        self.fed = len(ids) - self.reused
        self.cache.truncate(self.reused)
        known, new = ids[: self.reused], ids[self.reused :]
        seed = self.seed + len(self.turns) + self.tries  # another answer, other draws
        tokens = generate(
            self.model, new, self.max_tokens, self.settings, seed, self.stop_ids, self.cache, known
        )
        decoder = self.tokenizer.stream(ids)
        completion = Completion(ids, tokens, decoder, self.stop_texts, seed)
        try:
            yield from completion
        finally:
            # The last token may not have been fed, nor all of a prompt that was interrupted.
            self.held = [*ids, *completion.ids][: self.cache.length]
            self.answered = completion.generated_tokens
        self.say_why_it_ended(completion.finish_reason)

    def say_why_it_ended(self, reason: FinishReason | None) -> None:
        """Say so where it was not the model that ended its answer."""
        if reason == "context":
            self.say("the context is full: the answer was cut")
        elif reason == "length":
            self.say(f"the answer was cut after {self.answered} tokens (-n)")


def oldest(turns: int) -> str:
    """The oldest turns, as the subject of a sentence."""
    return "the oldest turn was" if turns == 1 else f"the {turns} oldest turns were"
