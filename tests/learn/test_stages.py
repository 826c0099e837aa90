"""The course: its stubs, its solutions, and examples that can be trusted."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from numpy_llama.golden.faults import CHOICES, KNOWN
from numpy_llama.learn.child.main import load
from numpy_llama.learn.child.trial import try_example
from numpy_llama.learn.course.examples_assembly import EXAMPLES
from numpy_llama.learn.course.lessons import ABOUT, LESSONS, about_tap
from numpy_llama.learn.course.stages import NAMES, SOLUTIONS, STAGES, with_needs
from numpy_llama.learn.project import start_project, stub_of
from numpy_llama.taps import TAPS


@pytest.fixture
def modules():
    """The solutions, loaded in their order, and gone afterwards."""
    before = dict(sys.modules)
    yield {name: load(name, SOLUTIONS) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name)
        if name in before:
            sys.modules[name] = before[name]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stub_is_the_solution_without_its_bodies(stage):
    stub, solution = ast.parse(stub_of(stage.solution)), ast.parse(stage.solution)
    for tree in (stub, solution):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert ast.get_docstring(node), node.name
                node.body = node.body[:1]
    assert ast.dump(stub) == ast.dump(solution)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_body_is_left_in_a_stub(stage):
    for node in ast.walk(ast.parse(stub_of(stage.solution))):
        if isinstance(node, ast.FunctionDef):
            assert [type(one) for one in node.body] == [ast.Expr, ast.Raise], node.name


def test_each_stage_names_its_functions_in_order():
    for stage in STAGES:
        tree = ast.parse(stage.solution)
        defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert tuple(defined) == stage.functions


def test_each_stage_says_what_it_imports():
    for stage in STAGES:
        imports = [n for n in ast.walk(ast.parse(stage.solution)) if isinstance(n, ast.ImportFrom)]
        named = {node.module for node in imports}
        assert named <= set(stage.needs)
        assert all(NAMES.index(need) < NAMES.index(stage.name) for need in stage.needs)


def test_what_a_stage_needs_comes_before_it():
    assert [stage.name for stage in with_needs(["block"])] == list(NAMES[:6])
    assert [stage.name for stage in with_needs(["rope"])] == ["rope"]
    assert with_needs([]) == list(STAGES)


def test_the_solutions_give_what_the_examples_say(modules):
    """The examples are worked out by hand: so a wrong one is found by the right functions."""
    for stage in STAGES:
        for example in EXAMPLES[stage.name]:
            assert try_example(example, modules[stage.name]) is None, example.call


def test_every_function_has_an_example():
    for stage in STAGES:
        assert {e.function for e in EXAMPLES[stage.name]} == set(stage.functions)


def test_examples_are_in_the_order_of_the_functions():
    for stage in STAGES:
        order = [stage.functions.index(e.function) for e in EXAMPLES[stage.name]]
        assert order == sorted(order)


def test_the_solutions_are_the_functions_of_this_package(modules):
    """A learner's right file computes what the textbook does."""
    from numpy_llama import attention, feed_forward, norm, rope

    rng = np.random.default_rng(1)
    x, gain = rng.normal(size=(5, 8)), rng.normal(size=8)
    want = norm.rms_norm(x, gain, norm.rms(x, 0.1))
    np.testing.assert_allclose(modules["norm"].rms_norm(x, gain, 0.1), want)
    np.testing.assert_allclose(
        modules["feed_forward"].swiglu(x, 2 * x), feed_forward.swiglu(x, 2 * x)
    )
    q, k, v = (rng.normal(size=(n, h, 6)) for n, h in ((3, 4), (7, 2), (7, 2)))
    positions = np.arange(4, 7)
    R = rope.rotation_matrices(rope.base_frequencies(100.0, 6), positions, 1.0, q)
    angle = modules["rope"].angles(positions, 100.0, 6)
    np.testing.assert_allclose(modules["rope"].rotate(q, angle), rope.rotate(q, R))
    heads = attention.attend(q, k.transpose(1, 0, 2), v.transpose(1, 0, 2))
    np.testing.assert_allclose(modules["attention"].attend(q, k, v), heads)


def test_the_lessons_are_of_mistakes_that_there_are():
    assert set(LESSONS) <= set(KNOWN) - set(CHOICES)


def test_every_tap_that_a_learner_makes_has_an_idea():
    for stage in STAGES:
        for tap in TAPS:
            if tap.rpartition(".")[2] in ABOUT or tap.endswith("norm"):
                idea, mend, function = about_tap(tap.format(i=0), stage)
                assert idea and mend and function in stage.functions
    assert about_tap("layers.2.q_rot", STAGES[1])[2] == "rotate"
    assert about_tap("layers.2.q_rot", STAGES[5])[2] == "multi_head"


def test_a_project_has_its_files(tmp_path: Path):
    start_project(tmp_path / "mine")
    files = {path.name for path in (tmp_path / "mine").iterdir()}
    assert files == {"README.md", *(stage.file for stage in STAGES)}
    readme = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{stage.file}`" in readme for stage in STAGES)


def test_the_whole_model_of_the_solutions_is_ours(modules):
    from numpy_llama.learn.child.assembly import as_dict
    from numpy_llama.learn.models import case_named, model_of

    case = case_named("gqa")
    model = model_of(case, "float64")
    w = model.weights
    weights = {
        "tok_embeddings": w.tok_embeddings,
        "layers": [as_dict(layer) for layer in w.layers],
        "final_norm": w.final_norm,
        "lm_head": w.lm_head,
    }
    got = modules["model"].forward(list(case.tokens), weights, case.config)
    np.testing.assert_allclose(got, model.forward(case.tokens), rtol=1e-9)
