"""Requests and their answers: what is asked for, what is refused, on which executor."""

import json
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np
import pytest

from numpy_llama import load
from numpy_llama.batch import parse_request, run
from numpy_llama.batch.requests import parse_line
from numpy_llama.errors import InputError
from tests.tiny import write_tiny_model

REQUESTS = [
    {"prompt": "once upon", "max_tokens": 6},
    {"tokens": [5, 6, 7], "max_tokens": 3, "id": "ids"},
    {"prompt": "a llama", "max_tokens": 4, "temperature": 1.0},
    {"prompt": "the sea", "max_tokens": 5, "logprobs": True},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def m(path):
    return load(path)


def bare(answers):
    return [{k: v for k, v in answer.items() if k != "seconds"} for answer in answers]


def test_a_continuation_is_that_of_the_model_and_says_how_it_ended(path, m):
    answers = bare(run(path, REQUESTS, jobs=1))
    assert [answer["id"] for answer in answers] == [0, "ids", 2, 3]
    for request, answer in zip(REQUESTS, answers, strict=True):
        prompt = request.get("prompt", request.get("tokens"))
        r = m.generate(
            prompt,
            max_tokens=request["max_tokens"],
            temperature=request.get("temperature", 0.0),
            seed=answer.get("seed", 0),
        )
        assert (answer["text"], answer["tokens"]) == (r.text, r.ids)
        assert (answer["finish_reason"], answer["prompt_tokens"]) == ("length", r.prompt_tokens)
    assert "seed" not in answers[0] and answers[2]["seed"] == 2  # its number: the same each time


def test_log_probabilities_of_generated_tokens_are_those_of_the_whole_text(path, m):
    answer = next(iter(run(path, [REQUESTS[3]], jobs=1)))
    ids = m.encode("the sea") + answer["tokens"]
    rows = m.llama.forward(ids).astype(np.float64)
    expected = [
        rows[i - 1, token] - np.log(np.exp(rows[i - 1]).sum())
        for i, token in enumerate(ids)
        if i >= answer["prompt_tokens"]
    ]
    np.testing.assert_allclose(answer["logprobs"], expected, atol=1e-5)


def test_score_and_logits_are_tasks_too(path, m):
    score, top = run(
        path,
        [
            parse_request({"prompt": "once upon a time"}, 0, "score"),
            parse_request({"prompt": "once upon", "top": 3}, 1, "logits"),
        ],
        jobs=1,
    )
    expected = m.logprobs("once upon a time")
    assert score["logprobs"] == expected.tolist() and score["sum"] == pytest.approx(expected.sum())
    assert score["perplexity"] == pytest.approx(np.exp(-expected.mean()))
    row = m.logits("once upon", last_only=True)[0].astype(np.float64)
    best = np.argsort(-row)[:3]
    assert [each["id"] for each in top["top"]] == best.tolist()
    logs = row[best] - np.log(np.exp(row).sum())
    np.testing.assert_allclose([each["logprob"] for each in top["top"]], logs, atol=1e-6)


@pytest.mark.parametrize("together", [2, 4])
def test_together_gives_the_same_tokens_and_a_streamed_model_too(path, together):
    alone = bare(run(path, REQUESTS, jobs=1, dtype="float64"))
    for stream in (False, True):
        shared = bare(run(path, REQUESTS, together=together, dtype="float64", stream=stream))
        for one, other in zip(alone, shared, strict=True):
            logprobs = [one.pop("logprobs", []), other.pop("logprobs", [])]
            np.testing.assert_allclose(*logprobs, rtol=1e-9)
            assert one == other
            one["logprobs"] = logprobs[0]


def test_processes_and_any_executor_give_the_same_bits(path):
    alone = bare(run(path, REQUESTS, jobs=1))
    assert bare(run(path, REQUESTS, jobs=2)) == alone
    with ThreadPoolExecutor(1) as pool:
        assert bare(run(path, REQUESTS, pool)) == alone
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert bare(run(path, REQUESTS, pool)) == alone


class Backwards(ThreadPoolExecutor):
    """An executor that does nothing until all tasks are there, and then the last one first."""

    tasks = ()

    def submit(self, fn, /, *args):
        self.tasks = (*self.tasks, (future := Future(), fn, args))
        if len(self.tasks) == len(REQUESTS):
            for waiting, task, given in reversed(self.tasks):
                waiting.set_result(task(*given))
        return future


def test_answers_come_in_order_whatever_the_executor_does(path):
    with Backwards(1) as pool:
        assert [a["id"] for a in run(path, REQUESTS, pool)] == [0, "ids", 2, 3]


def test_a_worker_that_was_killed_is_told(path):
    class Broken(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            broken = Future()
            broken.set_exception(BrokenProcessPool())
            return broken

    with Broken(1) as pool, pytest.raises(InputError, match="ended from outside"):
        list(run(path, REQUESTS, pool))


def test_what_is_wrong_with_one_request_stands_in_its_answer(path):
    requests = [{"tokens": [10**6]}, {"prompt": "once", "max_tokens": 1}, {"prompt": "a" * 4000}]
    for together in (1, 3):
        first, second, third = run(path, requests, jobs=1, together=together)
        assert "token id 1000000" in first["error"] and first["id"] == 0
        assert second["finish_reason"] == "length"
        assert "context" in third["error"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[]", "must be an object"),
        ("{}", "needs one of prompt, tokens, messages"),
        ('{"prompt": "a", "tokens": [1]}', "needs one of"),
        ('{"prompt": 3}', "prompt must be a text"),
        ('{"tokens": [1, true]}', "list of whole numbers"),
        ('{"tokens": [1.5]}', "list of whole numbers"),
        ('{"messages": [{"role": "king", "content": ""}]}', "role"),
        ('{"prompt": "a", "temprature": 1}', "no field 'temprature'"),
        ('{"prompt": "a", "temperature": "hot"}', "temperature cannot be 'hot'"),
        ('{"prompt": "a", "temperature": -1}', "temperature must be in"),
        ('{"prompt": "a", "top_k": 1.5}', "top_k cannot be 1.5"),
        ('{"prompt": "a", "top_k": null}', "top_k cannot be None"),
        ('{"prompt": "a", "max_tokens": true}', "max_tokens cannot be True"),
        ('{"prompt": "a", "context": 100000000000000000}', "more than 2,147,483,648"),
        ('{"prompt": "a", "stop": "x"}', "stop cannot be 'x'"),
        ('{"prompt": "a", "stop": [""]}', "empty stop"),
        ('{"prompt": "a", "ignore_eos": 1}', "ignore_eos cannot be 1"),
        ('{"prompt": "a", "top": 0}', "top must be"),
        ('{"prompt": "a", "id": {}}', "id must be"),
        ('{"prompt": "a", "logprobs": 2}', "logprobs must be"),
        ('{"prompt": "a", "prompt": "b"}', "twice"),
        ('{"prompt": NaN}', "not JSON"),
        ("{", "is not JSON"),
    ],
)
def test_a_line_that_is_no_request_is_told_with_its_number(line, says):
    sentence = parse_line(line.encode(), 6)
    assert isinstance(sentence, str) and sentence.startswith("line 7: ") and says in sentence
    assert "\n" not in sentence


def test_every_option_of_a_line_overrules_that_of_the_batch():
    line = {
        "prompt": "a",
        "max_tokens": None,
        "stop": ["x", "y"],
        "ignore_eos": True,
        "context": 9,
        "seed": 4,
        "temperature": 1,
        "top_k": 2,
        "top_p": 0.5,
        "min_p": 0.25,
        "repeat_penalty": 1.5,
    }
    options = parse_line(json.dumps(line).encode(), 0).options
    expected = {k: v for k, v in line.items() if k != "prompt"} | {"stop": ("x", "y")}
    assert {name: getattr(options, name) for name in expected} == expected


def test_requests_that_differ_have_other_keys():
    lines = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a", "top_k": 1}, {"tokens": [1]}]
    requests = [parse_request(line, 0) for line in lines]
    requests += [parse_request(lines[0], 0, "score"), parse_request(lines[0], 1)]
    keys = {request.key("model") for request in requests} | {requests[0].key("other")}
    assert len(keys) == len(requests) + 1
