"""What other implementations leave behind: every format is read, every broken file refused."""

import json

import numpy as np
import pytest
import safetensors.numpy

from numpy_llama.errors import LlamaError
from numpy_llama.golden import check
from numpy_llama.golden.candidate.names import TABLES, find_names, translator
from numpy_llama.golden.candidate.read import read_candidate
from numpy_llama.taps import tap_names
from tests.golden.dumps import dump, golden, write_npy

LOGITS = "logits"


def verdicts(path, **options):
    """The verdict of each tap that was given, and the report."""
    report = check(golden(), path, name_mistakes=False, **options)
    return {tap.tap: tap.verdict for tap in report.judged}, report


def passes(path, taps=None, **options):
    found, report = verdicts(path, **options)
    assert report.summary == "passed", report
    assert set(found) == set(dump() if taps is None else taps)
    return report


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    return path


def raw(array):
    return np.asarray(array, "<f4").tobytes()


# ------------------------------------------------------------------ formats


def test_a_directory_of_npy(tmp_path):
    passes(write_npy(tmp_path / "d", dump()))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "d.npz", **dump())
    passes(tmp_path / "d.npz")


def test_safetensors_of_other_hands(tmp_path):
    safetensors.numpy.save_file(dump(), tmp_path / "d.safetensors")
    passes(tmp_path / "d.safetensors")


def test_a_directory_of_raw_floats(tmp_path):
    for name, array in dump().items():
        write(tmp_path / f"{name}.f32", raw(array))
    passes(tmp_path)


@pytest.mark.parametrize("size", ["steps", "tokens", "whole cache"])
def test_raw_scores_of_consecutive_steps(tmp_path, size):
    """(H, L, S) of one step after the other, as a program has them that appends to a file."""
    steps = golden().schedule.steps if size != "tokens" else [1] * 14
    for name in ("layers.0.scores", "layers.2.probs"):
        whole, start = dump()[name], 0
        with open(tmp_path / f"{name}.f32", "wb") as file:
            for L in steps:
                S = 32 if size == "whole cache" else start + L
                step = np.zeros((whole.shape[0], L, S))
                step[:, :, : start + L] = whole[:, start : start + L, : start + L]
                file.write(raw(step))
                start += L
    found, _ = verdicts(tmp_path)
    assert found == {"layers.0.scores": "ok", "layers.2.probs": "ok"}


def test_raw_scores_at_keys_that_are_not_there_yet_have_no_shape(tmp_path):
    H = golden().config.n_heads
    write(tmp_path / "layers.0.probs.f32", raw(np.ones((H, 14, 32))))
    assert verdicts(tmp_path)[0] == {"layers.0.probs": "wrong shape"}


@pytest.mark.parametrize("name", ["logits.npy", "my_output.npy", "x.f32", "layers.0.q.bin"])
def test_a_single_array_is_the_logits(tmp_path, name):
    if name.endswith(".npy"):
        np.save(tmp_path / name, dump()[LOGITS])
    else:
        write(tmp_path / name, raw(dump()[LOGITS]))
    passes(tmp_path / name, [LOGITS])


def test_a_single_array_with_the_name_of_a_tap_is_that_tap(tmp_path):
    np.save(tmp_path / "layers.0.q.npy", dump()["layers.0.q"])
    found, report = verdicts(tmp_path / "layers.0.q.npy")
    assert found == {"layers.0.q": "ok"} and report.summary == "incomplete"


@pytest.mark.parametrize("name", ["llamacpp-model.bin", "llamacpp-model.txt", "last.npy"])
def test_the_last_row_of_llama_cpp(tmp_path, name):
    last = dump()[LOGITS][-1]
    if name.endswith(".txt"):
        write(tmp_path / name, "".join(f"{i}: {v:.9g}\n" for i, v in enumerate(last)))
    elif name.endswith(".bin"):
        write(tmp_path / name, raw(last))
    else:
        np.save(tmp_path / name, last)
    report = passes(tmp_path / name, [LOGITS])
    assert report.logits.rows == 1 and "last row" in report.notes[0]
    wrong = dump(*["gate-up-swapped"])[LOGITS][-1]
    write(tmp_path / "wrong.bin", raw(wrong))
    assert verdicts(tmp_path / "wrong.bin")[0] == {LOGITS: "divergent"}


def test_json_of_nested_lists(tmp_path):
    content = {name: dump()[name].tolist() for name in ("layers.1.k", LOGITS)}
    passes(write(tmp_path / "d.json", json.dumps(content)), content)
    passes(write(tmp_path / "l.json", json.dumps(content[LOGITS])), [LOGITS])


def test_json_of_scalars(tmp_path):
    logits = dump()[LOGITS].astype(np.float64)
    good = {LOGITS: {"sum": logits.sum(), "first": logits[0, :3].tolist()}}
    report = passes(write(tmp_path / "d.json", json.dumps(good)), [LOGITS])
    assert [tap.part for tap in report.scalars] == ["sum", "first"]
    bad = {LOGITS: {"first": (logits[0, :3] * 1.001).tolist()}}
    assert verdicts(write(tmp_path / "e.json", json.dumps(bad)))[0] == {LOGITS: "divergent"}


@pytest.mark.parametrize("change", [0, 1])
def test_greedy_ids_alone(tmp_path, change):
    ids = list(golden().greedy)
    ids[1] = (ids[1] + change) % golden().config.vocab_size
    path = write(tmp_path / "g.json", json.dumps({"greedy": ids}))
    report = check(golden(), path, name_mistakes=False, required=["greedy"])
    assert report.summary == ("diverged" if change else "passed")
    assert check(golden(), path, name_mistakes=False).summary == (
        "diverged" if change else "incomplete"
    )


def test_greedy_ids_beside_arrays(tmp_path):
    write_npy(tmp_path / "d", {LOGITS: dump()[LOGITS]})
    np.save(tmp_path / "d" / "greedy.npy", np.array(golden().greedy))
    assert read_candidate(tmp_path / "d", 3).greedy == list(golden().greedy)
    np.savez(tmp_path / "e.npz", greedy=np.array(golden().greedy, np.int32), logits=dump()[LOGITS])
    assert read_candidate(tmp_path / "e.npz", 3).greedy == list(golden().greedy)
    arrays = {"greedy": np.array(golden().greedy), LOGITS: dump()[LOGITS]}
    safetensors.numpy.save_file(arrays, tmp_path / "f.safetensors")
    assert read_candidate(tmp_path / "f.safetensors", 3).greedy == list(golden().greedy)


def test_other_tokens_are_said(tmp_path):
    write_npy(tmp_path / "d", {LOGITS: dump()[LOGITS]})
    np.save(tmp_path / "d" / "tokens.npy", np.array([1, *golden().schedule.tokens]))
    assert "other tokens (15" in check(golden(), tmp_path / "d").notes[0]


# ------------------------------------------------------------------ dtypes


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_dtype_is_known_by_its_files(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    kind = getattr(torch, dtype)
    taps = {k: torch.from_numpy(v.copy()).to(kind) for k, v in dump(dtype=dtype).items()}
    save_file(taps, tmp_path / "d.safetensors")
    assert passes(tmp_path / "d.safetensors").dtype == dtype
    assert check(golden(), taps, name_mistakes=False).summary == "passed"
    assert read_candidate(taps, 3).dtype == dtype
    # declared to be float32, the same values are not right
    assert verdicts(tmp_path / "d.safetensors", dtype="float32")[1].summary == "diverged"


def test_float64_is_judged_as_float32_unless_declared(tmp_path):
    path = write_npy(tmp_path / "d", {k: v.astype(np.float64) for k, v in dump().items()})
    assert passes(path).dtype == "float32"


def test_integers_are_of_the_wrong_dtype(tmp_path):
    path = write_npy(tmp_path / "d", {LOGITS: dump()[LOGITS].astype(np.int8)})
    assert verdicts(path)[0] == {LOGITS: "wrong dtype"}
    safetensors.numpy.save_file({LOGITS: np.ones((14, 3), np.int64)}, tmp_path / "e.safetensors")
    assert verdicts(tmp_path / "e.safetensors")[0] == {LOGITS: "wrong dtype"}


# ------------------------------------------------------------------ shapes


def test_axes_that_are_otherwise_are_recognised_and_said(tmp_path):
    taps = dict(dump())
    taps["layers.0.q"] = taps["layers.0.q"][None]
    taps["layers.1.q"] = taps["layers.1.q"].reshape(14, -1)
    taps["layers.2.q"] = taps["layers.2.q"].swapaxes(0, 1)
    notes = " ".join(passes(write_npy(tmp_path / "d", taps)).notes)
    for words in ("a batch axis of 1: layers.0.q", "merged heads: layers.1.q", "heads before rows"):
        assert words in notes


def test_the_prompt_alone_is_judged_and_said(tmp_path):
    """Many programs print the logits of the prompt only."""
    P = golden().schedule.prompt
    taps = {LOGITS: dump()[LOGITS][None, :P], "layers.1.probs": dump()["layers.1.probs"][:, :P, :P]}
    report = passes(write_npy(tmp_path / "d", taps), taps)
    assert any("only the 11 rows of the prompt" in note for note in report.notes)
    taps[LOGITS] = dump("rope-half-split")[LOGITS][:P]
    assert verdicts(write_npy(tmp_path / "e", taps))[0][LOGITS] == "divergent"


def test_as_many_rows_from_the_end_are_not_the_prompt(tmp_path):
    """A candidate that lacks the first three rows, and has as many as the prompt."""
    write(tmp_path / "d.bin", raw(dump()[LOGITS][3:]))
    assert verdicts(tmp_path / "d.bin")[0] == {LOGITS: "wrong shape"}


@pytest.mark.parametrize("rows", [10, 12, 13])
def test_any_other_number_of_rows_is_a_wrong_shape(tmp_path, rows):
    write(tmp_path / "d.bin", raw(dump()[LOGITS][:rows]))
    assert verdicts(tmp_path / "d.bin")[0] == {LOGITS: "wrong shape"}


def test_a_number_of_floats_that_are_no_rows_is_a_wrong_shape(tmp_path):
    write(tmp_path / "d.bin", raw(np.ones(1000)))
    assert verdicts(tmp_path / "d.bin")[0] == {LOGITS: "wrong shape"}


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_lead_to_taps_and_cover_every_layer(table):
    translate, taps = translator(TABLES[table]), set(tap_names(12))
    for theirs, ours in TABLES[table].items():
        for i in ("0", "11"):
            assert translate(theirs.replace("{i}", i)) == ours.replace("{i}", i)
            assert ours.replace("{i}", i) in taps
    assert translate("nothing") is None and translate("blocks.x.hook_resid_post") is None


def test_names_of_llama_cpp(tmp_path):
    theirs = {"Qcur-1": "layers.1.q", "Qcur-1.rope": "layers.1.q_rot", "result_output": LOGITS}
    path = write_npy(tmp_path / "d", {name: dump()[ours] for name, ours in theirs.items()})
    assert "Qcur-1 is layers.1.q" in passes(path, theirs.values(), names="llama.cpp").notes[0]
    found, report = verdicts(path)
    assert not found and set(report.unknown) == set(theirs)


def test_names_of_a_users_own_file(tmp_path):
    table = {"h{i}/query": "layers.{i}.q", "out": LOGITS}
    names = write(tmp_path / "names.json", json.dumps(table))
    content = {"h1/query": dump()["layers.1.q"].tolist(), "out": dump()[LOGITS].tolist()}
    path = write(tmp_path / "d.json", json.dumps(content))
    passes(path, ["layers.1.q", LOGITS], names=str(names))


def test_two_names_of_one_tap_are_refused(tmp_path):
    taps = {"model.layers.0.mlp": np.ones(1), "model.layers.0.mlp.down_proj": np.ones(1)}
    path = write_npy(tmp_path / "d", taps)
    with pytest.raises(LlamaError, match="both layers.0.ffn_out"):
        read_candidate(path, 3, names="transformers")


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', '{"a": "b", "a": "c"}'])
def test_a_broken_table_of_names_is_refused(tmp_path, content):
    with pytest.raises(LlamaError, match=r"names\.json"):
        find_names(str(write(tmp_path / "names.json", content)))


# ------------------------------------------------------------------ hostile files

HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"


def npy(descr, shape, data=b""):
    text = (HEADER % (descr, shape)).ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + data


HOSTILE = {
    "empty.npy": b"",
    "pickle.npy": npy("|O", "(1,)", b"\x80\x04cos\nsystem\n."),
    "huge.npy": npy("<f4", "(999999999, 999999999)", b"1234"),
    "negative.npy": npy("<f4", "(-1,)", b"1234"),
    "code.npy": npy("<f4", "(__import__('os').abort(),)", b"1234"),
    "text.npy": b"not an array",
    "odd.f32": b"12345",
    "empty.f32": b"",
    "odd.bin": b"123",
    "words.txt": "one: two\n",
    "gap.txt": "0: 1.0\n2: 1.0\n",
    "latin.txt": b"\xff\xfe",
    "cut.npz": b"PK\3\4",
    "cut.safetensors": b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
    "nan.json": '{"logits": [NaN]}',
    "deep.json": "[" * 5000,
    "ragged.json": '{"logits": [[1, 2], [3]]}',
    "words.json": '{"logits": ["a"]}',
    "part.json": '{"logits": {"median": 1}}',
    "sum.json": '{"logits": {"sum": "1"}}',
    "ids.json": '{"greedy": [1.5]}',
    "nothing.json": "{}",
    "number.json": "3",
    "twice.json": '{"logits": [1], "logits": [2]}',
    "what.xyz": b"1234",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_file_is_refused_in_one_sentence_that_names_it(tmp_path, name):
    path = write(tmp_path / name, HOSTILE[name])
    with pytest.raises(LlamaError) as error:
        read_candidate(path, 3)
    assert name in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_an_empty_directory_and_a_missing_one_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LlamaError, match=str(path)):
            read_candidate(path, 3)


def test_a_name_given_twice_is_refused(tmp_path):
    write_npy(tmp_path / "d", {LOGITS: np.ones(1)})
    write(tmp_path / "d" / "logits.f32", raw([1]))
    with pytest.raises(LlamaError, match="twice"):
        read_candidate(tmp_path / "d", 3)


def test_what_is_no_array_is_refused():
    with pytest.raises(LlamaError, match="logits"):
        read_candidate({LOGITS: [[1, 2], [3]]}, 3)


def test_a_table_that_holds_a_text_is_told_in_a_short_sentence(tmp_path):
    """A text among many numbers: the sentence quotes the beginning of them."""
    rows = [[0.123456789012345] * 40 for _ in range(40)]
    rows[20][3] = "0.5"
    (tmp_path / "c.json").write_text(json.dumps({"logits": rows}), encoding="utf-8")
    with pytest.raises(LlamaError) as wrong:
        read_candidate(tmp_path / "c.json", 2)
    sentence = str(wrong.value).replace(str(tmp_path), "")
    assert "nested lists" in sentence and len(sentence) < 300


@pytest.mark.parametrize("tap", ["layers.0.q", "layers.1.k_rot"])
@pytest.mark.parametrize("cut", [1, 2])
def test_heads_of_another_width_are_of_the_wrong_shape(tap, cut):
    """Of an odd width too, in which RoPE has no pairs."""
    found, report = verdicts({tap: dump()[tap][..., cut:]})
    assert found == {tap: "wrong shape"} and report.summary == "diverged"
