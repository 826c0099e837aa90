"""The command line as its users meet it: what is printed where, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import numpy_llama.loading.weights
from numpy_llama import KVCache, Llama, load_model, load_tokenizer
from numpy_llama.choices import THREAD_VARIABLES
from numpy_llama.commands import main
from numpy_llama.commands.terminal.errors import CannotJudge, one_sentence
from numpy_llama.errors import InputError
from numpy_llama.formats.convert import convert
from numpy_llama.loading.fast.one_token import OneToken
from numpy_llama.loading.threads import OWN, SLEEP_SOON, cores
from tests.models import random_tensors, tiny_config
from tests.tiny import checkpoint_of, write_tiny_model

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "numpy_llama"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A model without any tokenizer file."""
    folder = tmp_path_factory.mktemp("models") / "bare"
    write_tiny_model(folder, tokenizer=False)
    return folder


@pytest.fixture(autouse=True)
def no_default_model(monkeypatch, tmp_path):
    """No test may depend on what lies in the weights/ of this clone."""
    monkeypatch.delenv("LLAMA_NP_MODEL", raising=False)
    monkeypatch.setattr("numpy_llama.store.find.models_dir", lambda: tmp_path / "models")


def run(*args, **kwargs):
    return CliRunner().invoke(main, [str(arg) for arg in args], **kwargs)


def ok(*args, **kwargs):
    result = run(*args, **kwargs)
    assert result.exit_code == 0, result.output
    return result


# ------------------------------------------------------------------ what succeeds


def test_generate_prints_the_continuation_and_nothing_else(model):
    result = ok("generate", "once upon", "-m", model, "-n", 5, "--ignore-eos")
    tokenizer, llama = load_tokenizer(model), load_model(model)
    tokens = tokenizer.encode("once upon")
    expected = list(tokens)
    for _ in range(5):
        expected.append(int(llama.forward(expected)[-1].argmax()))
    text = tokenizer.decode(expected)[len(tokenizer.decode(tokens)) :]
    assert result.stdout == text + "\n"
    assert result.stderr == ""


def test_echo_prints_the_prompt_first(model):
    plain = ok("generate", "once", "-m", model, "-n", 4).stdout
    assert ok("generate", "once", "-m", model, "-n", 4, "--echo").stdout == "once" + plain


@pytest.mark.parametrize("how", ["argument", "dash", "piped", "file"])
def test_a_prompt_comes_from_an_argument_a_pipe_or_a_file(model, how, tmp_path):
    (tmp_path / "prompt.txt").write_text("once upon\n")
    args, piped = {
        "argument": (["once upon"], None),
        "dash": (["-"], "once upon\n"),
        "piped": ([], "once upon\n"),
        "file": (["-f", tmp_path / "prompt.txt"], None),
    }[how]
    expected = ok("generate", "once upon", "-m", model, "-n", 6).stdout
    assert ok("generate", *args, "-m", model, "-n", 6, input=piped).stdout == expected


def test_a_seed_repeats_a_text_that_was_drawn(model):
    def text(seed):
        return ok("generate", "a", "-m", model, "-n", 20, "--temp", 1.5, "--seed", seed).stdout

    assert text(1) == text(1) != text(2)


def test_stop_ends_before_the_text(model):
    whole = ok("generate", "once", "-m", model, "-n", 30, "--ignore-eos").stdout.removesuffix("\n")
    stop = whole[5:8]
    cut = ok("generate", "once", "-m", model, "-n", 30, "--ignore-eos", "--stop", stop).stdout
    assert cut == whole[: whole.index(stop)] + "\n"


def test_statistics_go_to_stderr_and_to_a_file(model, tmp_path):
    target = tmp_path / "stats.json"
    result = ok("generate", "once", "-m", model, "-n", 8, "--ignore-eos", "-v",
                "--seed", 7, "--stats-json", target)  # fmt: skip
    stats = json.loads(target.read_text())
    assert stats["generated_tokens"] == 8 and stats["seed"] == 7
    assert stats["prompt_tokens"] == len(load_tokenizer(model).encode("once"))
    assert stats.pop("finish_reason") == "length"
    assert all(value > 0 for key, value in stats.items() if key not in ("model", "seed"))
    words = (
        "load",
        "prompt",
        "first token",
        "generation 8 tokens",
        "MiB",
        "seed 7",
        "finish length",
    )
    for word in words:
        assert word in result.stderr
    assert "seed" not in result.stdout


def test_minus_one_goes_on_to_the_end_of_the_context(model):
    result = ok("generate", "a", "-m", model, "-n", -1, "-c", 12, "--ignore-eos", "-v")
    prompt = len(load_tokenizer(model).encode("a"))
    assert f"generation {12 - prompt + 1} tokens" in result.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("every", [False, True])
def test_logits_are_written_as_the_model_computed_them(bare, tmp_path, dtype, every):
    target = tmp_path / "logits.npy"
    ok("logits", "-m", bare, "--tokens", "1,2,3", "-o", target, "--dtype", dtype,
       *(["--all"] if every else []))  # fmt: skip
    written = np.load(target)
    expected = load_model(bare, dtype).forward([1, 2, 3], last_only=not every)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, expected if every else expected[0])


def test_streamed_weights_give_the_same_and_nothing_is_said(model, bare, tmp_path):
    a, b = tmp_path / "a.npy", tmp_path / "b.npy"
    ok("logits", "-m", bare, "--tokens", "1,2,3", "-o", a, "--no-stream")
    assert ok("logits", "-m", bare, "--tokens", "1,2,3", "-o", b, "--stream").stderr == ""
    assert a.read_bytes() == b.read_bytes()
    resident, streamed = (
        ok("generate", "once", "-m", model, "-n", 9, how) for how in ("--no-stream", "--stream")
    )
    assert resident.output == streamed.output


@pytest.mark.parametrize("command", ["generate", "logits"])
@pytest.mark.parametrize("short_of", [0, 1])
def test_weights_that_do_not_fit_are_streamed_which_is_said(model, monkeypatch, command, short_of):
    need = json.loads(ok("info", model, "--json").stdout)["bytes_resident"]
    monkeypatch.setattr("numpy_llama.loading.memory.free_memory", lambda: need - short_of)
    streamed = []
    real = numpy_llama.loading.weights.load_weights

    def spy(checkpoint, dtype, stream, *more):
        streamed.append(stream)
        return real(checkpoint, dtype, stream, *more)

    monkeypatch.setattr("numpy_llama.loading.weights.load_weights", spy)
    said = [ok(command, "once", "-m", model, *how).stderr for how in ([], ["--no-stream"])]
    assert ("streaming the weights: as float32 they take" in said[0]) is bool(short_of)
    assert streamed == [bool(short_of), False] and said[1] == ""


def padded(folder, monkeypatch, rows):
    """A model with 20 rows more than its tokenizer has pieces, which gives one of those."""
    write_tiny_model(folder, rows=rows)
    pieces = load_tokenizer(folder).vocab_size

    def always(real):
        def forward(*args, **options):
            logits = real(*args, **options).copy()
            logits[:, pieces + 7] = 1e9
            return logits

        return forward

    if rows > 0:
        for one in (Llama, OneToken):
            monkeypatch.setattr(one, "forward", always(one.forward))
    return folder, pieces


def test_ids_of_rows_that_only_pad_the_model_are_no_text(tmp_path, monkeypatch):
    model, pieces = padded(tmp_path / "padded", monkeypatch, 20)
    assert ok("generate", "once", "-m", model, "-n", 3, "-v").stdout == "\n"
    first = ok("logits", "once", "-m", model).stdout.splitlines()[0]
    assert first.split() == ["100.00%", str(pieces + 7), "''"]


@pytest.mark.parametrize("command", ["generate", "logits"])
def test_a_tokenizer_larger_than_the_model_is_said_when_it_matters(tmp_path, monkeypatch, command):
    model, pieces = padded(tmp_path / "small", monkeypatch, -10)
    texts = {token: load_tokenizer(model).pieces([token])[0] for token in range(pieces)}
    ok(command, "\n", "-m", model)  # bytes come first in the vocabulary
    large = texts[pieces - 1]
    assert load_tokenizer(model).encode(large)[-1] == pieces - 1
    result = run(command, large, "-m", model)
    assert result.exit_code == 1
    assert str(pieces - 1) in result.stderr and str(pieces - 10) in result.stderr
    assert_one_sentence(result)


def test_logits_without_a_file_lists_the_ten_likeliest(model):
    lines = ok("logits", "once upon", "-m", model).stdout.splitlines()
    logits = load_model(model).forward(load_tokenizer(model).encode("once upon"))[-1]
    p = np.exp(logits - logits.max(), dtype=np.float64)
    p /= p.sum()
    assert [int(line.split()[1]) for line in lines] == np.argsort(-p)[:10].tolist()
    assert [float(line.split("%")[0]) for line in lines] == pytest.approx(
        sorted(100 * p, reverse=True)[:10], abs=6e-3
    )


def test_tokenize_gives_ids_and_pieces(model):
    both = json.loads(ok("tokenize", "once upon a 🦙", "-m", model, "--json").stdout)
    assert set(both) == {"ids", "pieces"} and len(both["ids"]) == len(both["pieces"])
    assert both["ids"] == load_tokenizer(model).encode("once upon a 🦙")
    listed = ok("tokenize", "once upon a 🦙", "-m", model).stdout.splitlines()
    assert [int(line.split()[0]) for line in listed] == both["ids"]


def test_info_for_people_and_for_programs(model):
    about = json.loads(ok("info", model, "--json").stdout)
    config = about["config"]
    assert (config["n_heads"], config["n_kv_heads"], config["head_dim"]) == (6, 2, 8)
    assert about["kv_cache_bytes_per_token"] == 2 * 3 * 2 * 8 * 4  # k and v, N, K, hd, float32
    D, F, V, q, kv = 24, 40, config["vocab_size"], 48, 16
    block = 2 * D + D * (q + 2 * kv) + q * D + 3 * D * F
    assert about["parameters"] == 3 * block + 2 * V * D + D
    assert about["bytes_stored"] == about["bytes_resident"] == 4 * about["parameters"]
    outside = 2 * V * D + D + 3 * 2 * D  # embeddings, head, and every gain
    assert about["bytes_streamed"] == 4 * (outside + D * q)  # wq or wo
    text = ok("info", model).stdout
    assert "grouped-query" in text and "SentencePiece" in text and "384 B a token" in text


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_check_counts_what_is_not_finite(tmp_path, dtype):
    config = tiny_config()
    tensors = random_tensors(config, dtype=np.float32)
    convert(checkpoint_of(config, tensors), tmp_path / "good", dtype)
    assert "all finite" in ok("info", tmp_path / "good", "--check").stdout
    tensors["layers.1.wk"][2, 3:5] = np.nan, -np.inf
    tensors["final_norm"][0] = np.inf
    convert(checkpoint_of(config, tensors), tmp_path / "bad", dtype)
    result = run("info", tmp_path / "bad", "--check")
    assert result.exit_code == 1
    assert "not finite: 2 in layers.1.wk, 1 in final_norm" in result.stdout
    about = json.loads(run("info", tmp_path / "bad", "--check", "--json").stdout)
    assert about["not_finite"] == {"layers.1.wk": 2, "final_norm": 1}
    assert "not_finite" not in json.loads(ok("info", tmp_path / "bad", "--json").stdout)


def test_info_works_without_a_tokenizer(bare):
    assert "tokenizer" in ok("info", bare).stdout


def test_convert_makes_a_directory_with_the_same_logits(model, tmp_path):
    target = tmp_path / "copy"
    ok("convert", model, "-o", target)
    first, second = load_model(model), load_model(target)
    np.testing.assert_array_equal(first.forward([1, 2, 3]), second.forward([1, 2, 3]))
    assert load_tokenizer(target).encode("once upon") == load_tokenizer(model).encode("once upon")


def test_a_model_is_found_by_the_environment_and_by_its_name(model, tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_NP_MODEL", str(model))
    ok("tokenize", "a")
    monkeypatch.delenv("LLAMA_NP_MODEL")
    home = tmp_path / "models"
    home.mkdir()
    (home / "mine").symlink_to(model)
    ok("tokenize", "a")  # the only one there
    ok("tokenize", "a", "-m", "mine")
    (home / "other").symlink_to(model)
    result = run("tokenize", "a")
    assert result.exit_code == 1 and "mine, other" in result.stderr


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_and_option_has_help(command):
    assert main.commands[command].help
    for parameter in main.commands[command].params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{command} {parameter.name}"
    ok(command, "--help")


# ------------------------------------------------------------------ what is refused

SILENT = ["generate", "logits", "tokenize"]


@pytest.mark.parametrize("command", SILENT)
def test_without_a_model_one_sentence_says_how_to_get_one(command):
    result = run(command, "a")
    assert result.exit_code == 1
    assert "llama-np pull smollm2-135m" in result.stderr
    assert_one_sentence(result)


def assert_one_sentence(result):
    assert result.stdout == ""
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


OUT = ["-o", "{tmp}/out.npy"]

BAD = {
    "missing path": (["generate", "a", "-m", "nowhere"], "nowhere"),
    "a directory without a model": (["generate", "a", "-m", "{tmp}"], "config.json"),
    "an empty file": (["info", "{tmp}/empty"], "empty"),
    "not a checkpoint": (["info", "{tmp}/text"], "not a checkpoint"),
    "a pointer of Git LFS": (["info", "{tmp}/lfs"], "Git LFS"),
    "truncated weights": (["generate", "a", "-m", "{tmp}/cut"], "model.safetensors"),
    "unknown rope": (["generate", "a", "-m", "{tmp}/rope"], "longrope"),
    "NaN weights": (["generate", "a", "-m", "{tmp}/nan"], "layers.0.attn_norm"),
    "NaN logits": (["logits", "-m", "{tmp}/nan", "--tokens", "1", *OUT], "finite"),
    "a prompt over the context": (["generate", "a " * 99, "-m", "{model}"], "context only 64"),
    "a prompt over -c": (["generate", "once upon a time", "-m", "{model}", "-c", "2"], "only 2"),
    "a token out of range": (["logits", "-m", "{model}", "--tokens", "1,99999", *OUT], "99999"),
    "a negative token": (["logits", "-m", "{model}", "--tokens=-1", *OUT], "-1"),
    "no tokenizer": (["generate", "a", "-m", "{bare}"], "tokenizer"),
    "an existing target": (["convert", "{model}", "-o", "{bare}"], "bare"),
    "over the input": (["convert", "{model}", "-o", "{model}", "--force"], "tiny"),


    "an unknown name": (["pull", "gpt-5"], "smollm2-135m"),
    "a prompt that is not text": (["generate", "-f", "{tmp}/latin", "-m", "{model}"], "UTF-8"),
    "output to nowhere": (["logits", "-m", "{model}", "--tokens", "1", "-o", "{tmp}/no/x"], "no"),
}  # fmt: skip


@pytest.fixture
def broken(tmp_path, model):
    """Files that are wrong in the ways that BAD names."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("I am a llama.")
    (tmp_path / "latin").write_bytes("où".encode("latin-1"))
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    for name in ("cut", "rope", "nan"):
        write_tiny_model(tmp_path / name)
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    config = json.loads((tmp_path / "rope" / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "longrope", "factor": 2.0}
    (tmp_path / "rope" / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "nan" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    first, _ = header["model.layers.0.input_layernorm.weight"]["data_offsets"]
    data[start + first : start + first + 4] = np.float32(np.nan).tobytes()
    weights.write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_sentence_and_writes_nothing(case, broken, model, bare):
    args, words = BAD[case]
    args = [arg.format(tmp=broken, model=model, bare=bare) for arg in args]
    before = sorted(broken.rglob("*"))
    result = run(*args)
    assert result.exit_code == 1
    assert words in result.stderr
    assert_one_sentence(result)
    assert sorted(broken.rglob("*")) == before


USAGE = {
    "an unknown option": ["generate", "a", "--nope"],
    "two prompts": ["generate", "a", "-f", "x"],
    "a prompt and tokens": ["logits", "a", "--tokens", "1"],
    "tokens that are none": ["logits", "--tokens", "1,x", "-o", "x.npy"],
    "all rows to the terminal": ["logits", "a", "--all"],
    "a word for a number": ["generate", "a", "-n", "many"],
    "an unknown dtype": ["generate", "a", "--dtype", "int8"],
    "an unknown command": ["generat"],
    "a temperature below zero": ["generate", "a", "--temp=-1"],
    "a temperature that is no number": ["generate", "a", "--temp=nan"],
    "an empty stop": ["generate", "a", "--stop", ""],
    "a top-p above one": ["generate", "a", "--top-p", "2"],
    "a context past all memory": ["generate", "a", "-c", "100000000000000000"],
    "a temperature of a chat": ["chat", "--temp=-1"],
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_exit_2(case):
    result = run(*USAGE[case])
    assert result.exit_code == 2
    assert result.stdout == "" and "Usage:" in result.stderr


def test_no_prompt_on_a_terminal_is_a_usage_error_and_no_hang(model):
    import pty

    leader, follower = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "generate", "-m", model],
        stdin=follower,
        capture_output=True,
        timeout=20,
        cwd=ROOT,
    )
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2 and b"no prompt" in done.stderr


# ------------------------------------------------------------------ how it ends


def heed_ctrl_c():
    """A shell lets what it runs in the background, such as these tests, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_endless(model):
    args = ["generate", "once", "-m", model, "-n", "-1", "--ignore-eos", "-c", "4000000"]
    return subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=heed_ctrl_c,
    )


def test_ctrl_c_ends_with_130_after_what_was_printed(model):
    process = start_endless(model)
    first = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(first + rest) >= 10 and b"Traceback" not in errors


def test_a_closed_pipe_ends_it_quietly(model):
    process = start_endless(model)
    process.stdout.read(10)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=20) == 1
    assert errors == b""


def test_help_is_quick():
    """A few times what it takes to start Python with click: NumPy alone would be more."""

    def seconds(*command):
        begun = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
        return time.perf_counter() - begun

    bare = (sys.executable, "-c", "import click")
    ratios = [seconds(*COMMAND, "--help") / seconds(*bare) for _ in range(5)]
    assert min(ratios) < 2.2


def test_threads_are_set_before_numpy_is_imported():
    """A child that asks the BLAS after the command has parsed its options."""
    code = (
        "import sys, os; from numpy_llama.commands import main\n"
        "assert 'numpy' not in sys.modules\n"
        "main(['tokenize', '--help'], standalone_mode=False)\n"
        "assert 'numpy' not in sys.modules\n"
        "try: main(['generate', 'a', '--threads', '1', '-m', 'nowhere'])\n"
        "except SystemExit: print(os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "1", done.stderr


@pytest.mark.parametrize(
    ("command", "size", "environment", "blas", "own"),
    [
        (["generate"], 1000, {}, "1", 1),
        (["generate"], 17 << 20, {}, "None", cores()),
        (["chat"], 17 << 20, {}, "None", cores()),
        (["generate", "--stream"], 17 << 20, {}, "None", 1),
        (["generate"], 1000, {"OMP_NUM_THREADS": "3"}, "None", 3),
        (["generate"], 0, {}, "None", 1),
        (["logits"], 1000, {}, "1", 1),
        (["logits"], 17 << 20, {}, "1", cores()),
        (["score", "--threads", "2"], 1000, {}, "1", 2),
        (["score", "--dtype", "float64"], 17 << 20, {}, "None", 1),
        (["logits", "--stream"], 17 << 20, {}, "None", 1),
        (["trace"], 17 << 20, {}, "None", 1),
    ],
)
def test_who_reads_has_threads_of_our_own_and_a_small_model_one(
    tmp_path, command, size, environment, blas, own
):
    """Its products are over sooner than a second thread has begun."""
    (tmp_path / "model.safetensors").write_bytes(bytes(size))
    (tmp_path / "notes.txt").write_bytes(bytes(99))
    code = (
        "import sys, os; from numpy_llama.commands import main\n"
        "from numpy_llama.loading.threads import own_threads\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(os.environ.get('OPENBLAS_NUM_THREADS'), own_threads(),\n"
        "    os.environ['OPENBLAS_THREAD_TIMEOUT'])\n"
    )
    ours = *THREAD_VARIABLES, *SLEEP_SOON, OWN
    inherited = {k: v for k, v in os.environ.items() if k not in ours}
    text = [] if "chat" in command else ["a"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, *text, "-m", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=inherited | environment,
    )
    assert done.stdout.splitlines()[-1] == f"{blas} {own} 16", done.stderr


@pytest.mark.parametrize(("asked", "threads"), [({}, None), ({"OMP_NUM_THREADS": "3"}, "3")])
@pytest.mark.parametrize(
    ("stored", "free", "streamed"),
    [("BF16", 1999, True), ("F16", 1999, True), ("F32", 1999, False), ("BF16", 2000, False)],
)
def test_a_model_that_will_be_streamed_shares_its_blocks_among_the_threads(
    tmp_path, stored, free, streamed, asked, threads
):
    """All of them expand matrices, where the BLAS would only multiply with all."""
    header = b'{"a": {"dtype": "%s", ' % stored.encode()
    (tmp_path / "model.safetensors").write_bytes(header.ljust(1000))
    code = (
        "import sys, os; from pathlib import Path; from numpy_llama.loading import threads\n"
        f"threads.SMALL, threads.free_memory = 0, lambda: {free}\n"
        "threads.suit(Path(sys.argv[1])); assert 'numpy' not in sys.modules\n"
        "print(os.environ.get('OPENBLAS_NUM_THREADS'), threads.own_threads(), threads.cores())\n"
    )
    inherited = {k: v for k, v in os.environ.items() if k not in (*THREAD_VARIABLES, OWN)}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=inherited | asked,
    )
    blas, blocks, cores = done.stdout.split()
    assert (blas, blocks) == (("1", threads or cores) if streamed else ("None", "1")), done.stderr


# ------------------------------------------------------------------ errors as sentences


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "here.txt"), "here.txt: No such file"),
        (OSError("a disk of unknown state"), "a disk of unknown state"),
        (InputError("this prompt"), "this prompt"),
        (MemoryError(), "out of memory: no more could be had; less"),
    ],
)
def test_what_a_user_can_mend_is_a_sentence_with_its_exit_code(error, words):
    for failure, code in ((click.ClickException, 1), (CannotJudge, 2)):
        with pytest.raises(failure) as caught, one_sentence(failure, "less"):
            raise error
        assert caught.value.message == words and caught.value.exit_code == code


def test_a_closed_pipe_and_a_bug_are_no_sentences():
    for error in (BrokenPipeError(), ZeroDivisionError()):
        with pytest.raises(type(error)), one_sentence():
            raise error


def test_statistics_of_a_text_that_was_cut_say_so(model, monkeypatch):
    def check_room(self, new):
        if self.length > 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(KVCache, "check_room", check_room)
    result = run("generate", "once", "-m", model, "-n", 30, "--ignore-eos", "-v")
    assert result.exit_code == 130
    assert "generation 4 tokens" in result.stderr and "finish interrupted" in result.stderr
