"""What --help shows: groups, and examples that are commands."""

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from numpy_llama.commands import main
from numpy_llama.commands.options.examples import EXAMPLES
from numpy_llama.commands.options.help import GROUP_OF, REST, Command


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            for inner, each in command.commands.items():
                yield f"{name} {inner}", each
        else:
            yield name, command


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_each_help_ends_in_two_examples(path: str) -> None:
    shown = CliRunner().invoke(main, [*path.split(), "--help"]).stdout
    examples = EXAMPLES[path].strip().splitlines()
    assert len(examples) >= 2
    last = [line.strip() for line in shown.splitlines() if line][-len(examples) - 1 :]
    assert last == ["Examples:", *examples]


@pytest.mark.parametrize("path", EXAMPLES)
def test_each_example_is_a_command(path: str) -> None:
    command = dict(commands())[path]
    for line in EXAMPLES[path].strip().splitlines():
        words = shlex.split(line.partition(" <")[0].partition(" >")[0])
        name, inner = words[0], words[1 : 1 + len(path.split())]
        assert name == "llama-np" and " ".join(inner) == path
        command.make_context(path, words[1 + len(inner) :])  # raises where it cannot be parsed


def test_every_option_has_help_and_every_group_an_option() -> None:
    known = set()
    for path, command in commands():
        assert isinstance(command, Command), path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or path == "golden export", (path, parameter.name)
                known.add(parameter.name)
    assert set(GROUP_OF) <= known, set(GROUP_OF) - known


def test_options_are_in_groups_and_none_is_lost() -> None:
    shown = CliRunner().invoke(main, ["generate", "--help"]).stdout
    for group in ("Prompt:", "How tokens are picked:", "Model:", f"{REST}:"):
        assert f"\n{group}\n" in shown
    for parameter in main.commands["generate"].params:
        for name in parameter.opts if isinstance(parameter, click.Option) else []:
            assert name in shown
    assert shown.index("Prompt:") < shown.index("--echo") < shown.index("Model:")
