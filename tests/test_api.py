"""What a Python user finds: names, help, paths as texts, and what objects show of themselves."""

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numpy_llama as ll
from numpy_llama import choices, golden
from numpy_llama.formats.convert import convert
from numpy_llama.golden.candidate.read import read_candidate
from numpy_llama.golden.export import export
from numpy_llama.golden.export.c_header import NAME, write_header
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import FORMATS, load_cases, read_kit, write_kit
from numpy_llama.golden.kit.run import make_plan
from numpy_llama.golden.replay import precision
from numpy_llama.store.find import find_model
from tests.golden.dumps import folder
from tests.models import random_model, tiny_config
from tests.tiny import write_tiny_model

PACKAGE = Path(ll.__file__).parent


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_completion_shows_every_name_before_any_is_used_and_numpy_is_not_loaded():
    code = (
        "import sys, numpy_llama as ll\n"
        "print(*dir(ll))\n"
        "assert 'numpy' not in sys.modules\n"
        "print(*ll.__all__)\n"
        "assert all(getattr(ll, name) is not None for name in dir(ll))\n"
    )
    shown, public = (line.split() for line in python(code).splitlines())
    assert {name for name in shown if not name.startswith("__")} == set(public) == set(ll.__all__)
    assert {"load", "generate", "Llama", "KVCache", "StepRecorder", "golden"} <= set(public)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ll.lode  # noqa: B018


def test_help_shows_the_api():
    text = pydoc.plain(pydoc.render_doc(ll))
    for name in ll.__all__:
        assert name in text, name
    assert "ll.load(" in text and "m.generate(" in text
    # What is listed there has a help of its own.
    for name in ("load", "TextModel", "Completion", "Options"):
        assert getattr(ll, name).__doc__, name


def test_a_model_shows_three_lines(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    m = ll.load(tmp_path / "tiny")
    for model in (random_model(tiny_config()), m.llama, m, ll.load_model(tmp_path / "tiny")):
        shown = repr(model)
        assert len(shown.splitlines()) == 3 and len(shown) < 300
        assert "3 layers of dim 24" in shown and "6 heads of head_dim 8 on 2" in shown
    assert "float64" in repr(random_model(tiny_config())) and "float32" in repr(m.llama)
    assert repr(m).startswith(f"TextModel {tmp_path / 'tiny'}, Llama in float32")


def test_every_path_may_be_a_text(tmp_path):
    model, at = tmp_path / "tiny", str(tmp_path)
    write_tiny_model(model)
    assert find_model(model) == find_model(str(model)) == model
    ll.load_model(str(model))
    ll.load_tokenizer(str(model))
    convert(ll.open_checkpoint(str(model)), f"{at}/copy")
    bundle = golden.load(str(folder() / "golden"))
    bundle.save(f"{at}/g")
    again = golden.load(f"{at}/g")
    np.testing.assert_array_equal(again.values["logits"], bundle.values["logits"])
    export.export(bundle, f"{at}/dump", "npy")
    assert golden.check(f"{at}/g", f"{at}/dump").summary == "passed"
    assert (
        read_candidate(f"{at}/dump", bundle.config.n_layers).values.keys() == bundle.values.keys()
    )
    assert write_header(at) == tmp_path / NAME
    write_kit(f"{at}/kit", CASES[:1], detect=False)
    assert len(read_kit(f"{at}/kit")) == len(load_cases(f"{at}/kit")) == 1
    assert make_plan("x {out}", f"{at}/work").work == tmp_path / "work"


def test_the_names_that_options_offer_are_those_that_there_are():
    assert {*export.DIRECTORIES, *export.FILES, "hex"} == set(choices.EXPORTS)
    assert set(precision.UNIT_ROUNDOFF) == set(choices.CANDIDATE_DTYPES)
    assert set(precision.MEASURED) < set(choices.CANDIDATE_DTYPES)
    assert tuple(FORMATS) == choices.MODEL_FORMATS
    for name in choices.DTYPES:
        assert random_model(tiny_config(), dtype=name).weights.final_norm.dtype == name


def test_the_names_of_choices_need_no_numpy():
    code = "import sys, numpy_llama.choices; print('numpy' in sys.modules)"
    assert python(code).strip() == "False"


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


COMMANDS = sorted((PACKAGE / "commands").rglob("*.py"))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_commands_parse_call_and_print(path):
    """What is longer does something that the library should do. Decorators do not count."""
    for node in functions(path):
        assert node.end_lineno - node.lineno + 1 <= 40, node.name
