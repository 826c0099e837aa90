"""Attack every format; print what became of it. `make fuzz` does it 20,000 times each.

    python -m tests.fuzz [--each N] [--seconds S] [--seed N] [--guided] [FORMAT …]

--guided: led by coverage, where atheris is installed. Exits 1 if anything was neither a result nor
one sentence; what did it is written to fuzz-wrong/.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.format import Tally, attack
from tests.fuzz.formats import FORMATS

WRONG = Path("fuzz-wrong")


def attack_one(name: str, each: int, seed: int, seconds: float) -> Tally:
    return attack(name, FORMATS[name], each, seed, seconds)


def report(tally: Tally) -> None:
    """A line, and a file for each kind of wrong."""
    print(
        f"{tally.name:<30} {tally.tried:>7,} tried {tally.read:>7,} read {tally.refused:>7,} "
        f"refused {len(tally.wrong):>3} wrong   slowest {tally.slowest:.2f} s",
        flush=True,
    )
    kinds = {what[:60]: (what, content) for what, content in reversed(tally.wrong)}
    for n, (what, content) in enumerate(kinds.values()):
        WRONG.mkdir(exist_ok=True)
        path = WRONG / f"{tally.name.replace(' ', '-').replace('/', '-')}-{n}"
        path.write_bytes(content)
        print(f"    {path}: {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", default=list(FORMATS))
    given = parser.parse_args()
    if given.guided:
        from tests.fuzz.guided import attack_guided as how
    else:
        how = attack_one
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(how, f, given.each, given.seed, given.seconds) for f in given.formats]
        tallies = [job.result() for job in as_completed(jobs) if not report(job.result())]
    wrong = sum(len(tally.wrong) for tally in tallies)
    tried = sum(tally.tried for tally in tallies)
    least = min(tally.tried for tally in tallies)
    print(f"{len(tallies)} formats, {tried:,} tried, at least {least:,} each, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
