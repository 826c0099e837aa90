"""Hold the Llamas that package indexes have against the conformance kit.

Each is installed into an environment of its own below build/audit, its code untouched, and run by
the glue beside this file on every case. What came of it is kept in results.json, and
docs/audit.md is written anew from all that is there. From the root of the repository:

    python -m audit.run [NAME …]      these; without names, all
    python -m audit.run --page        only write the page
"""

import argparse
import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.page import page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PLACE = ROOT / "build" / "audit"
RESULTS = HERE / "results.json"
TIMEOUT = "600"  # seconds a case: Python frameworks take some to start


def implementations() -> dict[str, dict[str, Any]]:
    """What implementations.toml lists."""
    return tomllib.loads((HERE / "implementations.toml").read_text(encoding="utf-8"))


def install(name: str, about: dict[str, Any]) -> Path:
    """An environment that has the packages, made unless it is there."""
    place = PLACE / name
    done = place / "installed.json"
    if done.exists() and json.loads(done.read_text()) == about["packages"]:
        return place
    if about.get("installer") == "npm":
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", place, *about["packages"]], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [place / "bin" / "pip", "install", "-q"]
        subprocess.run([*pip, *about["packages"]], check=True)
        if about.get("alone"):  # what is needed without its own requirements
            subprocess.run([*pip, "--no-deps", *about["alone"]], check=True)
    done.write_text(json.dumps(about["packages"]))
    return place


def command(place: Path, about: dict[str, Any], arguments: str) -> str:
    """What `golden run` runs for each case."""
    glue = HERE / about["glue"]
    program = "node" if glue.suffix == ".mjs" else place / "bin" / "python"
    if glue.suffix == ".mjs":  # node looks for modules beside the script
        (place / glue.name).write_text(glue.read_text(encoding="utf-8"), encoding="utf-8")
        glue = place / glue.name
    return f"'{program}' '{glue}' {{model}} {{tokens}} {{steps}} {{out}} {arguments}".rstrip()


def short(case: dict[str, Any]) -> dict[str, Any]:
    """Of one case, what the page tells."""
    taps = case["report"]["taps"] if case["report"] else []
    worst = max((tap["ratio"] for tap in taps if tap["ratio"] is not None), default=None)
    kept = {key: case[key] for key in ("name", "status", "seconds", "detail")}
    return kept | {"floors": worst and float(f"{worst:.3g}")}


def judge(kit: Path, place: Path, about: dict[str, Any], run: dict[str, str]) -> dict[str, Any]:
    """Run one setting of an implementation on the kit."""
    words = [sys.executable, "-m", "numpy_llama", "golden", "run", "--kit", kit, "--json"]
    words += ["--format", about["format"], "--dtype", run["dtype"], "--timeout", TIMEOUT]
    words += ["--command", command(place, about, run.get("arguments", ""))]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        sys.exit(f"golden run gave nothing for {about['glue']}")
    score = json.loads(done.stdout)
    today = datetime.now(UTC).date().isoformat()
    kept = {"date": today, "settings": run["settings"], "dtype": run["dtype"]}
    found = score["mistakes"] + score["choices"]
    return kept | {"found": found, "cases": [short(case) for case in score["cases"]]}


def make_kit() -> Path:
    """The kit, made anew, so that it is the one of this code."""
    kit = PLACE / "kit"
    if kit.exists():
        subprocess.run(["rm", "-r", kit], check=True)
    words = [sys.executable, "-m", "numpy_llama", "golden", "kit", "-o", kit, "--no-detect"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return kit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; without it, all")
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args()
    every = implementations()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kit = None if options.page else make_kit()
    for name in options.names or every if kit else ():
        place = install(name, every[name])
        results[name] = [judge(kit, place, every[name], run) for run in every[name]["runs"]]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    findings = (HERE / "findings.md").read_text(encoding="utf-8")
    (ROOT / "docs" / "audit.md").write_text(page(every, results, findings), encoding="utf-8")


if __name__ == "__main__":
    main()
