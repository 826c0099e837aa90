"""`llama-np score` and `logits --top`: against sums in plain Python, and a window of their own."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from numpy_llama import load
from numpy_llama.commands import main
from numpy_llama.errors import InputError
from numpy_llama.scoring import score, windows
from numpy_llama.text import TextModel
from tests.tiny import WORDS, write_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def m(path: Path) -> TextModel:
    return load(path, dtype="float64")


def run(*args: Any, **options: Any) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args], **options)
    assert result.exit_code == 0, result.output
    return result


def one_logprob(m: TextModel, before: list[int], token: int) -> float:
    """log p of a token after others, from a forward pass of its own, in plain Python."""
    row = [float(z) for z in m.llama.forward(before)[-1]]
    return row[token] - math.log(math.fsum(math.exp(z) for z in row))


def test_a_text_that_fits_is_scored_token_by_token(m: TextModel) -> None:
    ids = m.encode(WORDS)[:20]
    expected = [one_logprob(m, ids[:i], ids[i]) for i in range(1, 20)]
    result = score(m, ids)
    np.testing.assert_allclose(result.logprobs, expected, rtol=0, atol=1e-10)
    assert result.sum == pytest.approx(sum(expected), abs=1e-9)
    assert result.perplexity == pytest.approx(math.exp(-sum(expected) / 19), rel=1e-10)


@pytest.mark.parametrize(("context", "stride"), [(8, 4), (8, 1), (8, 7), (2, 1), (5, None)])
def test_a_longer_text_is_scored_by_windows(m: TextModel, context: int, stride: int | None) -> None:
    ids = m.encode(WORDS * 3)[:30]
    result = score(m, ids, context, stride)
    step = stride or context // 2
    begin = 0
    for i in range(1, len(ids)):
        if i >= begin + context:
            begin += step
        expected = one_logprob(m, ids[begin:i], ids[i])
        assert result.logprobs[i - 1] == pytest.approx(expected, abs=1e-10), i
        assert begin == 0 or i - begin >= context - step  # what stands before each token


def test_windows_score_every_token_but_the_first_once() -> None:
    for n in range(1, 20):
        for context in range(2, 9):
            for stride in range(1, context):
                found = list(windows(n, context, stride))
                scored = [i for _, first, end in found for i in range(first, end)]
                assert scored == list(range(1, n))
                assert all(end - begin <= context and begin < first for begin, first, end in found)


@pytest.mark.parametrize(
    ("ids", "context", "stride", "word"),
    [([1], None, None, "1 tokens"), ([], None, None, "0 tokens"), ([1] * 9, 4, 4, "from 1 to 3")],
)
def test_what_cannot_be_scored(
    m: TextModel, ids: list[int], context: int | None, stride: int | None, word: str
) -> None:
    with pytest.raises(InputError, match=word):
        score(m, ids, context, stride)


@pytest.mark.parametrize("how", ["argument", "piped", "file", "tokens"])
def test_the_command_prints_each_token_and_a_summary(
    m: TextModel, path: Path, tmp_path: Path, how: str
) -> None:
    (tmp_path / "text").write_text("once upon a time\n", encoding="utf-8")
    ids = m.encode("once upon a time")
    args, piped = {
        "argument": (["once upon a time"], None),
        "piped": ([], "once upon a time\n"),
        "file": (["-f", tmp_path / "text"], None),
        "tokens": (["--tokens", ",".join(map(str, ids))], None),
    }[how]
    common = (*args, "-m", path, "--dtype", "float64")
    about = json.loads(run("score", *common, "--json", input=piped).stdout)
    assert about["ids"] == ids and about["logprobs"][0] is None
    np.testing.assert_allclose(about["logprobs"][1:], m.logprobs(ids), rtol=0, atol=1e-12)
    assert about["pieces"] == m.tokenizer.pieces(ids) and about["scored"] == len(ids) - 1
    lines = run("score", *common, input=piped).stdout.splitlines()
    assert len(lines) == len(ids) + 1 and lines[0].split()[0] == "-"
    for line, token, logprob in zip(lines[1:], ids[1:], about["logprobs"][1:], strict=False):
        assert line.split()[:2] == [f"{logprob:.4f}", str(token)]
    last = (
        f"sum {about['sum']:.4f} over {len(ids) - 1} tokens, perplexity {about['perplexity']:.4f}"
    )
    assert lines[-1] == last
    assert run("score", *common, "--summary", input=piped).stdout == last + "\n"


def test_a_window_is_asked_for_at_the_command(m: TextModel, path: Path) -> None:
    shown = run("score", WORDS, "-m", path, "-c", 8, "--stride", 2, "--json").stdout
    about = json.loads(shown)
    assert (about["context"], about["stride"]) == (8, 2)
    expected = score(m, WORDS, 8, 2).logprobs
    np.testing.assert_allclose(about["logprobs"][1:], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "args",
    [["a", "--tokens", "1,2"], ["a", "-f", "b"], ["a", "-c", "1"], ["a", "--stride", "0"]],
)
def test_wrong_usage_exits_2(path: Path, args: list[str]) -> None:
    assert CliRunner().invoke(main, ["score", *args, "-m", str(path)]).exit_code == 2


# ------------------------------------------------------------------ logits --top --json


def test_the_likeliest_tokens_as_json(m: TextModel, path: Path) -> None:
    ids = m.encode("once upon")
    args = ("logits", "once upon", "-m", path, "--dtype", "float64", "--top", 4)
    about = json.loads(run(*args, "--json").stdout)
    row = m.llama.forward(ids)[-1]
    assert about["prompt_ids"] == ids and len(about["top"]) == 4
    order = sorted(range(len(row)), key=lambda i: -row[i])[:4]
    for each, token in zip(about["top"], order, strict=True):
        assert each["id"] == token
        assert each["logit"] == pytest.approx(row[token], abs=1e-12)
        assert each["logprob"] == pytest.approx(one_logprob(m, ids, token), abs=1e-10)
        assert each["probability"] == pytest.approx(math.exp(each["logprob"]), rel=1e-9)
        assert each["piece"] == m.tokenizer.pieces([token])[0]
    lines = run(*args).stdout.splitlines()
    assert [int(line.split()[1]) for line in lines] == order


def test_more_than_there_are_are_all(path: Path, m: TextModel) -> None:
    args = ("logits", "once", "-m", path, "--top", 100000)
    assert len(run(*args).stdout.splitlines()) == m.llama.config.vocab_size


def test_json_and_a_file_are_one_too_many(path: Path, tmp_path: Path) -> None:
    args = ["logits", "a", "-m", str(path), "--json", "-o", str(tmp_path / "x.npy")]
    assert CliRunner().invoke(main, args).exit_code == 2
