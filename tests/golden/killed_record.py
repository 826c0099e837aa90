"""Run as a program: a golden is written over another, killed at every call that changes a file.

For n = 1, 2, …: a child process writes the new golden over the old one, and kills itself at the
n-th such call. Then the old one or the new one must be read, whole; and one more run must leave
nothing but the two files of the new one. What one kill left is written over, and killed, too.
Prints how many kills there were.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from numpy_llama.golden.record.bundle import Bundle, load
from numpy_llama.golden.record.disk import JSON, VALUES
from tests.formats.killed_conversion import in_child, kill_at
from tests.golden.dumps import golden


def another(bundle: Bundle, factor: float) -> Bundle:
    """A golden of the same shape with other values: halves of two do not make one."""
    values = {"logits": np.float32(factor) * bundle.values["logits"]}
    return dataclasses.replace(bundle, values=values, prompt=str(factor))


def which(directory: Path) -> str:
    """Which golden is there; an error where its values are those of another."""
    found = load(directory)
    expected = another(golden(), float(str(found.prompt))).values["logits"]
    assert np.array_equal(found.values["logits"], expected), "values of one, JSON of another"
    return str(found.prompt)


def killed_save(bundle: Bundle, directory: Path, n: int) -> bool:
    """Write a golden in a child that is killed at its n-th call; whether it came to its end."""

    def work() -> None:
        kill_at(n)
        bundle.save(directory)

    return in_child(work)


def main(directory: Path) -> None:
    """Kill, look, and finish, until a run is not killed."""
    old, new, newest = (another(golden(), factor) for factor in (1.0, 2.0, 3.0))
    target = directory / "target"
    for n in range(1, 100):
        old.save(target)
        ended = killed_save(new, target, n)
        assert which(target) in ({"2.0"} if ended else {"1.0", "2.0"}), n
        for m in range(1, n + 1):  # killed once more, over what was left
            was = which(target)
            if killed_save(newest, target, m):
                break
            assert which(target) in (was, "3.0"), (n, m)
        newest.save(target)
        assert which(target) == "3.0"
        assert sorted(path.name for path in target.iterdir()) == [JSON, VALUES]
        if ended:
            print(n - 1)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
