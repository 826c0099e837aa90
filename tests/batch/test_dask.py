"""A batch over a real Dask scheduler and two workers, of which one is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from numpy_llama.batch import run
from numpy_llama.commands import main
from tests.tiny import write_tiny_model

distributed = pytest.importorskip("distributed", reason="--dask needs the package distributed")

REQUESTS = [{"prompt": f"once upon {i}", "max_tokens": 30, "id": f"n{i}"} for i in range(40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


def start(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + args[0], *map(str, args[1:])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )


def end(process):
    """A worker may have a process of its own below it: all of its session goes."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and its two workers."""
    told = tmp_path / "scheduler.json"
    scheduler = start(
        "dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
        "--scheduler-file", told,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not told.exists() or not told.read_text(encoding="utf-8").strip():
        assert time.monotonic() < deadline and scheduler.poll() is None
        time.sleep(0.1)
    address = json.loads(told.read_text(encoding="utf-8"))["address"]
    workers = [
        start(
            "dask_worker",
            address,
            "--nthreads",
            1,
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            tmp_path / f"worker{i}",
        )  # fmt: skip
        for i in range(2)
    ]
    with distributed.Client(address) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, workers
    for process in (*workers, scheduler):
        end(process)


def bare(answers):
    return [{k: v for k, v in answer.items() if k != "seconds"} for answer in answers]


def test_a_worker_that_dies_loses_nothing_and_nothing_is_there_twice(model, cluster, tmp_path):
    address, workers = cluster
    alone = bare(run(model, REQUESTS, jobs=1))
    with distributed.Client(address) as client:
        answers = run(model, REQUESTS, client.get_executor(pure=False), ordered=False)
        first = next(answers)
        end(workers[0])
        rest = list(answers)
    answers = {answer["id"]: answer for answer in bare([first, *rest])}
    assert len(rest) + 1 == len(REQUESTS) == len(answers)
    assert [answers[answer["id"]] for answer in alone] == alone

    # The command, with the worker that is left.
    prompts, out = tmp_path / "p.jsonl", tmp_path / "o.jsonl"
    prompts.write_text("\n".join(map(json.dumps, REQUESTS[:5])), encoding="utf-8")
    args = ["batch", str(prompts), "-o", str(out), "-m", str(model), "--dask", address]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert bare(lines) == alone[:5]


def test_a_scheduler_that_is_not_there_is_one_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setattr("numpy_llama.commands.options.executors.PATIENCE", 1)
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "a"}', encoding="utf-8")
    args = ["batch", str(prompts), "-o", str(tmp_path / "o"), "-m", str(model)]
    done = CliRunner().invoke(main, [*args, "--dask", "tcp://127.0.0.1:9"])
    assert done.exit_code == 1 and "no scheduler answers there" in done.stderr
