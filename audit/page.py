"""docs/audit.md, written whole from what the runs left in results.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLUMNS = (
    "implementation",
    "written in",
    "settings",
    "declared dtype",
    "passed",
    "not run",
    "worst, in floors",
    "seconds",
    "glue, lines",
    "date",
)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def lines_of(glue: str) -> int:
    return len((HERE / glue).read_text(encoding="utf-8").splitlines())


def version(name: str, about: Mapping[str, Any]) -> str:
    """The version that is installed of the implementation itself."""
    every = [*about["packages"], *about.get("alone", [])]
    return next(p.partition("==")[2] for p in every if p.split("==")[0] == name)


def result_row(name: str, about: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """One line of the table: what came of one setting."""
    cases = run["cases"]
    passed = [case for case in cases if case["status"] == "passed"]
    judged = [case for case in cases if case["status"] in ("passed", "choice", "diverged")]
    worst = max((case["floors"] or 0 for case in judged), default=0)
    seconds = sum(case["seconds"] for case in cases)
    return row(
        f"[{name}](../audit/{about['glue']}) {version(name, about)}",
        about["language"],
        run["settings"],
        run["dtype"],
        f"{len(passed)} of {len(judged)}",
        len(cases) - len(judged),
        f"{worst:,.1f}" if worst < 100 else f"{worst:,.0f}",
        f"{seconds:.0f}",
        lines_of(about["glue"]),
        run["date"],
    )


def listed(cases: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"`{case['name']}`" for case in cases)


def alike(cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The cases by what is said of them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        why = case["detail"].removeprefix("the command ended with exit code 1: ")
        found.setdefault(why, []).append(case)
    return found


def named(run: Mapping[str, Any]) -> list[str]:
    """What the judge named in one run, and what it found without a name."""
    lines = []
    explained = {name for one in run["found"] for name in one["cases"]}
    for one in run["found"]:
        names = " or ".join("`" + " + ".join(faults) + "`" for faults in one["one_of"])
        lines.append(f"{names} in {', '.join(f'`{name}`' for name in one['cases'])}")
    rest = [c for c in run["cases"] if c["status"] == "diverged" and c["name"] not in explained]
    for said, cases in (
        ("not explained", [c for c in rest if "UNEXPLAINED" in c["detail"]]),
        ("not looked into, as others had told", [c for c in rest if "no mistake" in c["detail"]]),
    ):
        if cases:
            least, most = (f"{f(c['floors'] for c in cases):,.0f}" for f in (min, max))
            far = f"{most} floors" if least == most else f"{least} to {most} floors"
            lines.append(f"{said}: {listed(cases)}, off by {far}")
    return lines


def details(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What diverged and what was not run, for one implementation."""
    lines = []
    for run in runs:
        for text in named(run):
            lines.append(f"- **{name}**, {run['settings']}, {run['dtype']}: {text}.")
    not_run = [c for c in runs[0]["cases"] if c["status"] in ("failed", "skipped", "incomplete")]
    for why, cases in alike(not_run).items():
        lines.append(f"- {name} does not run {listed(cases)}: {why.rstrip('.')}.")
    return lines


def page(every: Mapping[str, Mapping[str, Any]], results: Mapping[str, Any], findings: str) -> str:
    """The whole document."""
    table = [row(*COLUMNS), row(*["---"] * len(COLUMNS))]
    said = []
    for name, about in every.items():
        for run in results.get(name, ()):
            table.append(result_row(name, about, run))
        said += details(name, results[name]) if name in results else []
    before, mark, after = findings.partition("<!-- the table -->\n")
    middle, told, end = after.partition("<!-- what was named -->\n")
    if not mark or not told:
        raise ValueError("audit/findings.md must have the marks for the table and for the names")
    return before + "\n".join(table) + "\n" + middle + "\n".join(said) + "\n" + end
