"""The page of a trace, without a browser: its numbers are the run's, and it needs nothing else."""

import base64
import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from numpy_llama import Recorder, load, sampling
from numpy_llama.attention import attend, softmax
from numpy_llama.commands import main
from numpy_llama.config import LlamaConfig
from numpy_llama.errors import InputError
from numpy_llama.model import Llama
from numpy_llama.norm import rms, rms_norm
from numpy_llama.sampling import Sampling
from numpy_llama.show import Run, Shown, run_prompt, trace_page
from numpy_llama.show.choice import EXAMPLE, FILTERS
from numpy_llama.show.facts import GATES, rope_facts
from numpy_llama.show.packing import pack, unpack
from numpy_llama.show.run import check_size
from numpy_llama.show.sections import SECTIONS
from numpy_llama.show.source import formula
from numpy_llama.text import TextModel
from tests.models import ROPES, random_model, tiny_config
from tests.tiny import write_tiny_model
from tests.trace_page import TracePage

ROOT = Path(__file__).resolve().parent.parent
PROMPT, STEPS = "once upon a time there was", 4
HALF = 2.0**-11  # the relative error of a float16


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def m(path):
    return load(path, dtype="float64")


@pytest.fixture(scope="module")
def text(m):
    return trace_page(*run_prompt(m, PROMPT, STEPS))


@pytest.fixture(scope="module")
def page(text):
    return TracePage(text)


@pytest.fixture(scope="module")
def taps(m, page):
    """The same tokens in one forward, without a cache and without what show/ does with steps."""
    record = Recorder(m.llama.config)
    Llama(m.llama.config, m.llama.weights, attend).forward(page.head["ids"], tap=record)
    return record.arrays


def layers(taps, kind):
    return np.stack([taps[f"layers.{i}.{kind}"] for i in range(3)])


# ------------------------------------------------------------------ the numbers


def test_the_tokens_are_those_of_the_prompt_and_the_likeliest_after_it(m, page, taps):
    ids, prompt = page.head["ids"], m.encode(PROMPT)
    assert page.head["prompt"] == len(prompt) and ids[: len(prompt)] == prompt
    assert len(ids) == len(prompt) + STEPS - 1  # what the last step chose is read by none
    chosen = taps["logits"][len(prompt) - 1 :].argmax(-1).tolist()
    assert [choice["chosen"] for choice in page.head["choices"]] == chosen
    assert ids[len(prompt) :] == chosen[:-1]
    for token, raw in zip(ids, page.head["bytes"], strict=True):
        assert bytes.fromhex(raw) == m.tokenizer.id_bytes(token)
        assert page.head["pieces"][str(token)] == m.tokenizer.pieces([token])[0]


@pytest.mark.parametrize("kind", ["q", "k"])
def test_queries_and_keys_are_those_of_the_tap(page, taps, kind):
    np.testing.assert_allclose(page.arrays()[kind], layers(taps, kind), rtol=HALF, atol=1e-6)


def test_scores_are_those_of_the_tap_up_to_the_mask(page, taps):
    expected = np.tril(layers(taps, "scores"))
    np.testing.assert_allclose(page.arrays()["scores"], expected, rtol=HALF, atol=1e-6)


def test_probabilities_are_those_of_the_tap_and_add_up_to_one(page, taps):
    probs = page.arrays()["probs"]
    np.testing.assert_allclose(probs, layers(taps, "probs"), rtol=HALF, atol=1e-6)
    np.testing.assert_allclose(probs.astype(float).sum(-1), 1, atol=2e-3)


def test_the_stream_is_that_of_the_tap_to_half_a_step_of_its_row(page, taps):
    post = layers(taps, "resid_post")
    error = np.abs(page.arrays()["stream"] - post)
    assert (error <= np.abs(post).max(-1, keepdims=True) / 127 * 0.501).all()
    arrays = page.arrays()
    largest = np.take_along_axis(post, arrays["stream.features"].astype(int), -1)
    np.testing.assert_allclose(arrays["stream.largest"], largest, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(largest[..., 0]), np.abs(post).max(-1))
    np.testing.assert_allclose(arrays["embed"], taps["embed"], rtol=HALF, atol=1e-6)


@pytest.mark.parametrize("kind", ["attn_norm.rms", "ffn_norm.rms"])
def test_the_statistics_of_the_norms_are_those_of_the_tap(page, taps, kind):
    np.testing.assert_allclose(page.arrays()[f"size.{kind}"], layers(taps, kind), rtol=1e-6)


@pytest.mark.parametrize("kind", ["attn_out", "ffn_out", "resid_post"])
def test_the_sizes_of_what_is_added_are_root_mean_squares(page, taps, kind):
    expected = np.sqrt((layers(taps, kind) ** 2).mean(-1))
    np.testing.assert_allclose(page.arrays()[f"size.{kind}"], expected, rtol=1e-6)


def test_the_cache_has_turned_keys_and_plain_values(page, taps):
    for name, kind in (("cache.k", "k_rot"), ("cache.v", "v")):
        expected = np.sqrt((layers(taps, kind) ** 2).mean(-1))
        np.testing.assert_allclose(page.arrays()[name], expected, rtol=1e-6)


def test_the_features_of_swiglu_are_the_largest_of_the_tap(page, taps):
    arrays = page.arrays()
    features = arrays["ffn.features"].astype(int)
    for name, kind in (("gate", "gate"), ("up", "up"), ("product", "swiglu")):
        expected = np.take_along_axis(layers(taps, kind), features, -1)
        np.testing.assert_allclose(arrays[f"ffn.{name}"], expected, rtol=1e-6)
    sizes = np.sort(np.abs(layers(taps, "swiglu")), -1)[..., ::-1][..., :12]
    np.testing.assert_allclose(np.abs(arrays["ffn.product"]), sizes, rtol=1e-6)


def test_the_histogram_counts_every_gate_once(page, taps):
    arrays, gate = page.arrays(), layers(taps, "gate")
    counts = arrays["ffn.gates"]
    assert (counts.sum(-1) == gate.shape[-1]).all()
    np.testing.assert_array_equal(arrays["ffn.closed"], (gate < 0).sum(-1))
    inside = (gate >= GATES[5]) & (gate < GATES[6])
    np.testing.assert_array_equal(counts[..., 5], inside.sum(-1))
    np.testing.assert_array_equal(counts[..., -1], (gate >= GATES[-2]).sum(-1))


def test_the_lens_is_the_last_norm_and_the_head_on_each_layer(m, page, taps):
    arrays, weights = page.arrays(), m.llama.weights
    comes = [*page.head["ids"][1:], page.head["choices"][-1]["chosen"]]
    np.testing.assert_array_equal(arrays["comes"], comes)
    for i, x in enumerate(layers(taps, "resid_post")):
        normed = rms_norm(x, weights.final_norm, rms(x, m.llama.config.norm_eps))
        logits = normed @ weights.lm_head.T
        order = np.argsort(-logits, axis=-1)
        np.testing.assert_array_equal(arrays["lens.ids"][i], order[:, :5])
        probabilities = np.take_along_axis(softmax(logits), order[:, :5], -1)
        np.testing.assert_allclose(arrays["lens.probability"][i], probabilities, rtol=1e-5)
        ranks = [row.tolist().index(token) for row, token in zip(order, comes, strict=True)]
        np.testing.assert_array_equal(arrays["lens.rank"][i], ranks)


def test_the_logits_are_the_likeliest_of_the_tap(page, taps):
    arrays = page.arrays()
    order = np.argsort(-taps["logits"], axis=-1)[:, :10]
    np.testing.assert_array_equal(arrays["logits.ids"], order)
    top = np.take_along_axis(taps["logits"], order, -1)
    np.testing.assert_allclose(arrays["logits.top"], top, rtol=1e-6)
    p = np.take_along_axis(softmax(taps["logits"]), order, -1)
    np.testing.assert_allclose(arrays["logits.probability"], p, rtol=1e-5)


def test_the_filters_stand_in_the_order_of_sampling():
    line = next(line for line in sampling.__doc__.splitlines() if "→" in line)
    words = re.sub(r"repetition", "repeat", line).replace("-", "_").split(" → ")
    assert [word.strip().replace(" ", "_") for word in words] == [*FILTERS, "draw"]


def test_each_filter_is_added_to_those_before_it(page, taps):
    choice, at = page.head["choices"][1], page.head["prompt"]
    seen, logits = page.head["ids"][: at + 1], taps["logits"][at].copy()
    ids = np.unique(seen)
    logits[ids] = np.where(logits[ids] > 0, logits[ids] / 1.1, logits[ids] * 1.1)
    stages = [softmax(logits), softmax(logits / EXAMPLE.temperature)]
    for stage, left in zip(stages, choice["left"], strict=False):
        np.testing.assert_allclose(left, stage[choice["ids"]], rtol=1e-4)
    assert choice["kept"][:3] == [len(logits), len(logits), EXAMPLE.top_k]
    assert choice["kept"][2] >= choice["kept"][3] >= choice["kept"][4] >= 1
    assert page.head["greedy"] and [name for name, _ in page.head["filters"]] == list(FILTERS)


def test_a_drawn_run_shows_its_own_settings(m):
    settings = Sampling(temperature=1.5, top_k=7)
    run, shown = run_prompt(m, PROMPT, 3, settings=settings, seed=5)
    page = TracePage(trace_page(run, shown))
    drawn = m.generate(PROMPT, max_tokens=3, temperature=1.5, top_k=7, seed=5, ignore_eos=True)
    assert [choice["chosen"] for choice in page.head["choices"]] == drawn.ids
    assert not page.head["greedy"] and page.head["seed"] == 5
    assert dict(page.head["filters"]) | {"top_p": 1} == {
        "repeat_penalty": 1.0,
        "temperature": 1.5,
        "top_k": 7,
        "top_p": 1,
        "min_p": 0.0,
    }


@pytest.mark.parametrize("kind", ["default", "linear", "llama3", "yarn"])
def test_the_frequencies_turn_the_keys_as_the_model_did(m, kind):
    config = tiny_config(vocab_size=m.llama.config.vocab_size, rope_scaling=ROPES[kind])
    run, _ = run_prompt(TextModel(random_model(config), m.path), m.encode(PROMPT), STEPS)
    found = rope_facts(run)
    k, turned = run.rows("layers.1.k"), run.rows("layers.1.k_rot")
    angle = np.arange(len(k))[:, None, None] * np.array(found["f"])
    z = (k[..., 0::2] + 1j * k[..., 1::2]) * np.exp(1j * angle) * found["magnitude"]
    np.testing.assert_allclose(turned[..., 0::2], z.real, atol=1e-9)
    np.testing.assert_allclose(turned[..., 1::2], z.imag, atol=1e-9)


def test_the_end_of_a_text_is_chosen_and_nothing_after_it(m, page):
    end = page.head["choices"][1]["chosen"]
    tokenizer = load(m.path).tokenizer
    tokenizer.settings = dataclasses.replace(tokenizer.settings, eos_ids=(end,))
    run, shown = run_prompt(TextModel(m.llama, m.path, tokenizer), PROMPT, STEPS)
    assert run.chosen[-1] == end and len(run.chosen) == len(run.record.steps) <= 2
    assert TracePage(trace_page(run, shown)).head["ids"] == run.ids
    assert run.ids == [*m.encode(PROMPT), *run.chosen[:-1]]


# ------------------------------------------------------------------ the page


def test_the_page_is_whole_and_needs_nothing_else(text, page):
    assert page.open == []
    tags = {tag for tag, _, _ in page.seen}
    assert not tags & {"link", "img", "iframe", "object", "video", "base"}
    assert not any("src" in attrs for _, attrs, _ in page.seen)
    links = [attrs["href"] for _, attrs, _ in page.seen if "href" in attrs]
    assert links == [f"#{section.id}" for section in SECTIONS]
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket|import\(", text)
    policy = next(a["content"] for a, _ in page.all("meta") if "content" in a and "src" in str(a))
    assert policy.startswith("default-src 'none'")


def test_the_same_run_has_the_same_bytes(m, text):
    assert trace_page(*run_prompt(m, PROMPT, STEPS)) == text


def test_every_section_has_its_lines_of_source_as_the_file_has_them(page):
    sections = [attrs["id"] for attrs, _ in page.all("section")]
    assert sections == [section.id for section in SECTIONS]
    shown = [(a, t) for a, t in page.all("pre") if "Lines of" in a["aria-label"]]
    assert len(shown) >= len(SECTIONS)
    for attrs, lines in shown:
        file, _, first = attrs["aria-label"].rpartition(" at ")[2].rpartition(":")
        written = (ROOT / file).read_text().splitlines()
        numbers = []
        for line in lines.split("\n"):
            number, code = re.fullmatch(r"(\d+)(?:computed here: )?(.*)", line).groups()
            assert written[int(number) - 1].strip() == code.strip(), attrs
            numbers.append(int(number))
            if "computed here" in line:
                assert code.strip()
        assert int(first) in numbers and 3 <= len(numbers) <= 9


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("embedding", "x = self.embed(ids)  # (L, D)"),
        ("norm", "statistic = rms(x, self.config.norm_eps)"),
        ("rope", "q, k = rotate(q, R), rotate(k, R)"),
        ("probs", "probs = softmax(np.where(visible, scores, -math.inf))"),
        ("cache", "keys, values = seen.write(k, v)  # (K, S, hd), the past included"),
        ("swiglu", "hidden = swiglu(gate, up)"),
        ("stream", "x = x + self.multi_head(normed, layer, R, seen, tap)"),
        ("stream", "x = x + self.feed_forward(normed, layer, tap)"),
        ("next", "logits = linear(normed, self.weights.lm_head)"),
    ],
)
def test_the_marked_line_is_the_one_that_computed(text, section, line):
    part = text[text.index(f'<section id="{section}"') :]
    part = part[: part.index("</section>")]
    marked = re.findall(r'<span class="made">.*?computed here: </span>(.*?)</span>', part)
    assert line.replace("'", "&#x27;") in [found.strip() for found in marked]


def test_a_variable_that_is_shown_twice_has_each_time_its_own_line(m):
    run, _ = run_prompt(m, PROMPT, 1)
    lines = {}
    for kind in ("resid_mid", "resid_post"):
        source = run.sites.source(kind)
        lines[kind] = [source.lines[number - source.first].strip() for number in source.marked]
    assert lines == {
        "resid_mid": ["x = x + self.multi_head(normed, layer, R, seen, tap)"],
        "resid_post": ["x = x + self.feed_forward(normed, layer, tap)"],
    }
    assert len(run.sites.source("scores").marked) == 2  # one variable in two steps


def test_formulas_are_those_of_the_docstrings(page):
    shown = [t for a, t in page.all("p") if a.get("class") == "formula"]
    assert "rms(x) = √(mean(x²) + ε)" in shown
    assert "heads = softmax(mask(q kᵀ / √hd)) v" in shown
    assert all(shown) and len(shown) == sum(len(section.formulas) for section in SECTIONS)
    assert formula(check_size) == ""


def test_a_text_that_looks_like_html_is_a_text(m):
    prompt = "once </script><b>upon</b> <!--HEAD--> &amp; a"
    text = trace_page(*run_prompt(m, prompt, 2))
    page = TracePage(text)
    assert not page.all("b") and page.head["prompt"] == len(m.encode(prompt))
    assert page.all("q")[0][1] == m.decode(m.encode(prompt))


def test_a_token_cannot_end_the_script(m, monkeypatch):
    monkeypatch.setattr(Run, "piece", lambda self, token: "</script><b>")
    page = TracePage(trace_page(*run_prompt(m, PROMPT, 1)))
    assert not page.all("b") and set(page.head["pieces"].values()) == {"</script><b>"}


# ------------------------------------------------------------------ what is chosen, and refused


def test_layers_and_last_choose_and_the_rest_is_said_to_be_missing(m, taps):
    page = TracePage(trace_page(*run_prompt(m, PROMPT, STEPS, layers=[2, 0], last=5)))
    S = len(page.head["ids"])
    assert page.head["layers"] == [0, 2]
    assert page.head["positions"] == [0, *range(S - 5, S)]
    at = page.head["positions"]
    probs = layers(taps, "probs")[[0, 2]][:, :, at][:, :, :, at]
    np.testing.assert_allclose(page.arrays()["probs"], probs, rtol=HALF, atol=1e-6)
    said = page.all("footer")[0][1]
    assert "of 3 layers 2" in said and f"of {S} positions" in said


LARGE = LlamaConfig(4096, 32, 32, 8, 128, 14336, 128256, 8192)


def test_what_is_too_much_is_refused_with_what_would_fit():
    model = random_model(tiny_config())
    object.__setattr__(model, "config", LARGE)
    whole = Shown(tuple(range(32)), tuple(range(24)))
    with pytest.raises(InputError, match="24 tokens in 32 layers are too much") as refused:
        check_size(model, whole)
    chosen, last = re.search(r"--layers ([\d,]+) or --last (\d+)", str(refused.value)).groups()
    some = tuple(map(int, chosen.split(",")))
    assert some[0] == 0 and some[-1] == 31
    check_size(model, Shown(some, whole.positions))
    check_size(model, Shown(whole.layers, tuple(range(int(last)))))


def invoke(*words):
    return CliRunner().invoke(main, ["trace", *map(str, words)])


def test_the_command_writes_the_page_and_prints_nothing_to_stdout(path, tmp_path):
    out = tmp_path / "t.html"
    done = invoke(PROMPT, "-m", path, "-o", out, "-n", 2, "--layers", "0,2")
    assert done.exit_code == 0 and done.stdout == "" and str(out) in done.stderr
    page = TracePage(out.read_text())
    assert page.head["layers"] == [0, 2] and len(page.head["choices"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["once upon " * 60], "the context only 64"),
        ([PROMPT, "--layers", "0,3"], "the model has the layers 0 … 2"),
        ([PROMPT, "--temp", "-1"], "temperature must be in"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_no_file(path, tmp_path, words, said):
    out = tmp_path / "t.html"
    done = invoke(*words, "-m", path, "-o", out)
    assert done.exit_code == 1 and said in done.stderr and not list(tmp_path.iterdir())


def test_packing_keeps_a_scale_for_each_row_and_the_bytes():
    rows = np.array([[1.0, -2.0, 0.5], [2000.0, 1.0, -1.0], [0, 0, 0]])
    packed = pack({"rows": ("i1", rows), "odd": ("u4", np.arange(3)), "half": ("f2", rows[0])})
    assert pack({"rows": ("i1", rows), "odd": ("u4", np.arange(3)), "half": ("f2", rows[0])}) == (
        packed
    )
    assert base64.b64decode(packed.blob)[4:8] == bytes(4)  # gzip's time: the same bytes tomorrow
    arrays = unpack(packed)
    assert sorted(arrays) == ["half", "odd", "rows"]
    error = np.abs(arrays["rows"] - rows)
    assert (error <= np.array([[2.0], [2000.0], [0.0]]) / 254 * 1.001).all()
    assert error[0].max() < 0.01 and math.isclose(arrays["rows"][1, 0], 2000, rel_tol=1e-6)
    np.testing.assert_array_equal(arrays["odd"], [0, 1, 2])


# ------------------------------------------------------------------ the real model


@pytest.mark.smollm2
def test_24_tokens_of_smollm2_are_less_than_5_megabytes():
    m = load(ROOT / "weights" / "smollm2-135m")
    text = "The little llama lived by the sea with her mother, and every morning she walked down "
    ids = m.encode(text + "to the shore to look for shells")[:24]
    assert len(ids) == 24
    run, shown = run_prompt(m, ids)
    assert len(shown.layers) == 30 and len(shown.positions) == 31
    assert len(trace_page(run, shown).encode()) < 5e6
