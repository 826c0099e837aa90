"""The answer to one request: plain data, as a line of JSON holds it."""

import math
import time
from typing import Any

from ..errors import InputError, LlamaError
from ..scoring import likeliest, score
from ..text import TextModel, is_conversation
from .requests import Request, parse_request

Answer = dict[str, Any]


def ids_of(m: TextModel, request: Request) -> list[int]:
    """The ids of a request's prompt, whatever it is."""
    if is_conversation(request.prompt):
        return m.encode_chat(request.prompt)[0]
    return m.ids_of(request.prompt)


def generated(m: TextModel, request: Request) -> Answer:
    """The continuation: its text, its tokens, why it ended."""
    r = m.stream(request.prompt, options=request.options).finish()
    answer: Answer = {
        "text": r.text,
        "tokens": r.ids,
        "finish_reason": r.finish_reason,
        "prompt_tokens": r.prompt_tokens,
    }
    if request.options.temperature > 0:
        answer["seed"] = r.seed
    if request.logprobs:
        all_of_them = m.logprobs([*r.prompt_ids, *r.ids], request.options.context)
        answer["logprobs"] = all_of_them[len(r.prompt_ids) - 1 :].tolist()
    return answer


def following(m: TextModel, request: Request) -> Answer:
    """The likeliest next tokens."""
    ids = ids_of(m, request)
    row = m.logits(ids, last_only=True, context=request.options.context)[0]
    return {"top": likeliest(row, m.tokenizer, request.top), "prompt_tokens": len(ids)}


def scored(m: TextModel, request: Request) -> Answer:
    """The log-probability of each token after the first, their sum, and the perplexity."""
    found = score(m, ids_of(m, request), request.options.context)
    return {
        "tokens": found.ids,
        "logprobs": found.logprobs.tolist(),
        "sum": found.sum,
        "perplexity": found.perplexity if math.isfinite(found.perplexity) else None,
    }


DO = {"generate": generated, "logits": following, "score": scored}


def answer(m: TextModel, request: Request) -> Answer:
    """What was asked for, or why it cannot be: one request never ends the others."""
    begun = time.perf_counter()
    try:
        found = DO[request.task](m, request)
    except (LlamaError, MemoryError) as error:
        sentence = str(error) or "out of memory"
        return {"id": request.id, "error": sentence}
    return {"id": request.id, **found, "seconds": round(time.perf_counter() - begun, 3)}


def refused(name: str | int, sentence: str) -> Answer:
    """The answer to what is no request."""
    return {"id": name, "error": sentence}


def as_request(item: Request | dict[str, Any], number: int) -> Request:
    """A request, given as one or as the fields of one."""
    if isinstance(item, Request):
        return item
    try:
        return parse_request(item, number)
    except InputError as error:
        raise InputError(f"request {number}: {error}") from None
