"""What a slip may mean: for models, taps, cases and commands."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.golden import record
from numpy_llama.loading.weights import load_model
from numpy_llama.wording import did_you_mean
from tests.tiny import write_tiny_model


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smolm2", " (did you mean smollm2-135m?)"),
        ("SMOLLM2-135M", " (did you mean smollm2-135m?)"),
        ("gpt", ""),
        ("", ""),
        ("layers.0.q_rott", " (did you mean layers.0.q_rot or layers.0.k_rot?)"),
    ],
)
def test_what_is_near_is_named(name: str, hint: str) -> None:
    names = ["smollm2-135m", "layers.0.q_rot", "layers.0.k_rot", "logits"]
    assert did_you_mean(name, names) == hint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("slips")
    write_tiny_model(place / "model")
    record(load_model(place / "model"), [1, 2], 1, None, ("logits",), detect=False).save(
        place / "golden"
    )
    return place


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["golden", "record", "-m", "{}/model", "--tokens", "1", "--taps", "layer.0.q", "-o",
          "{}/x"], "did you mean layers.0.q"),
        (["golden", "export", "{}/golden", "--to", "npy", "--taps", "logit", "-o", "{}/x"],
         "did you mean logits?"),
        (["pull", "smolm2-135m"], "did you mean smollm2-135m?"),
        (["info", "smolm2-135m"], "did you mean smollm2-135m?"),
        (["golden", "chek"], "check"),
        (["generat"], "generate"),
    ],
)  # fmt: skip
def test_commands_name_what_is_near(place: Path, args: list[str], hint: str) -> None:
    result = CliRunner().invoke(main, [word.format(place) for word in args])
    assert result.exit_code in (1, 2) and hint in result.stderr, result.stderr
