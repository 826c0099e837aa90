"""The answer to one request: plain data, as a line of JSON holds it."""

import time
from typing import Any

import numpy as np

from ..errors import InputError, LlamaError
from ..sampling import Sampling, next_token_probabilities
from ..text import TextModel, is_conversation
from .requests import Request

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


def likeliest(m: TextModel, request: Request) -> Answer:
    """The likeliest next tokens: id, piece, natural logarithm of the probability."""
    ids = ids_of(m, request)
    row = m.logits(ids, last_only=True, context=request.options.context)[0]
    p = next_token_probabilities(row, Sampling(temperature=1.0))
    best = np.argsort(-p, kind="stable")[: request.top].tolist()
    pieces = [m.tokenizer.pieces([i])[0] if i < m.tokenizer.vocab_size else "" for i in best]
    with np.errstate(divide="ignore"):
        logs = np.log(p[best]).tolist()
    top = [
        {"token": i, "piece": piece, "logprob": log if np.isfinite(log) else None}
        for i, piece, log in zip(best, pieces, logs, strict=True)
    ]
    return {"top": top, "prompt_tokens": len(ids)}


def scored(m: TextModel, request: Request) -> Answer:
    """The log-probability of each token after the first, their sum, and the perplexity."""
    ids = ids_of(m, request)
    logprobs = m.logprobs(ids, request.options.context)
    total = float(logprobs.sum())
    return {
        "tokens": ids,
        "logprobs": logprobs.tolist(),
        "sum": total,
        "perplexity": float(np.exp(-total / len(logprobs))) if len(logprobs) else None,
    }


DO = {"generate": generated, "logits": likeliest, "score": scored}


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
    from .requests import parse_request

    if isinstance(item, Request):
        return item
    try:
        return parse_request(item, number)
    except InputError as error:
        raise InputError(f"request {number}: {error}") from None
