"""An attack that is led by coverage: atheris changes what reached new code.

In a process of its own for each format, because libFuzzer ends the process that it runs in.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.format import Tally


def attack_guided(name: str, each: int, seed: int, seconds: float) -> Tally:
    """The same as `attack`, in a child."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        out = Path(made) / "tally.json"
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(each), str(seed)]
        command += [str(int(min(seconds, 86_400))), made]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not out.exists():
            return Tally(name, wrong=[("the process ended: " + done.stderr[-300:], b"")])
        found = json.loads(out.read_text(encoding="utf-8"))
    wrong = [(what, bytes.fromhex(content)) for what, content in found.pop("wrong")]
    return Tally(name, **found, wrong=wrong)


def main(name: str, each: int, seed: int, seconds: int, folder: Path) -> None:
    """What the child does; its tally is written after every hundredth."""
    import atheris

    with atheris.instrument_imports(include=["numpy_llama"]):
        from tests.fuzz.format import measured
        from tests.fuzz.formats import FORMATS

    for part in ("corpus", "work"):
        (folder / part).mkdir()
    format_ = FORMATS[name](folder / "work")
    (folder / "corpus" / "seed").write_bytes(format_.seed)
    tally = Tally(name)

    def save() -> None:
        wrong = [(what, content.hex()) for what, content in tally.wrong[:100]]
        counts = {"read": tally.read, "refused": tally.refused, "slowest": tally.slowest}
        part = folder / "tally.part"
        part.write_text(json.dumps(counts | {"wrong": wrong}), encoding="utf-8")
        part.replace(folder / "tally.json")

    def one(content: bytes) -> None:
        start = time.perf_counter()
        kind, what = measured(format_, folder / "work", content, trace=False)
        tally.slowest = max(tally.slowest, time.perf_counter() - start)
        if kind == "wrong":
            tally.wrong.append((str(what), content))
        else:
            setattr(tally, kind, getattr(tally, kind) + 1)
        if tally.tried % 100 == 0 or tally.tried >= each:
            save()

    longest = 2 * len(format_.seed) + 64
    options = [f"-runs={each}", f"-seed={seed + 1}", f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], *options, f"-max_len={longest}", str(folder / "corpus")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    given, each, seed, seconds, folder = sys.argv[1:]
    main(given, int(each), int(seed), int(seconds), Path(folder))
