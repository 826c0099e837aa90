"""The conformance kit: small models in the formats of others, and what each must give.

kit.json            the cases: what each is for, its tokens, steps and pads, which formats hold it
NAME/hf             the model as a Hugging Face directory
NAME/model.gguf     as GGUF, for llama.cpp and its kin, and
NAME/model.bin      as llama2.c's, where those formats can hold it
NAME/tokens.txt     the ids to run, one a line: the pads, the prompt and the decode steps after it
NAME/golden         what the model gives after each of them
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...choices import MODEL_FORMATS
from ...config import LlamaConfig
from ...errors import ConfigError, InputError
from ...formats.gguf import write as gguf_writer
from ...formats.huggingface.config import config_to_hf
from ...formats.huggingface.read import CONFIG, SINGLE, hf_name
from ...formats.huggingface.safetensors import write_file
from ...formats.llama2c.write import write_v0
from ...formats.storage.directory import new_directory
from ...formats.storage.files import read_small, write_json, writing
from ...formats.storage.strict_json import parse_json, shown
from ...loading.weights import load_model
from ...model import Llama
from ...parameters import rotated_heads
from ...rope import half_split_rows
from ..faults.position.padding import PAD
from ..progress import Progress, no_progress
from ..record.bundle import Bundle, load
from ..record.record import record
from ..replay.schedule import Schedule
from .cases import CASES, Case

VERSION = 2  # 1 has no pads
KIT = "kit.json"
MAX_JSON = 16 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # of a case, which is also a directory's
FORMATS = dict(zip(MODEL_FORMATS, ("hf", "model.gguf", "model.bin"), strict=True))  # file names

Tensors = dict[str, np.ndarray]


# — writing —


def half_split(name: str, array: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """A tensor with RoPE's pairs as Hugging Face has them."""
    heads = rotated_heads(name, config)
    return half_split_rows(array, heads) if heads else array


def write_hf(path: Path, config: LlamaConfig, tensors: Tensors) -> None:
    """A Hugging Face directory, without a tokenizer: these models have no text."""
    path.mkdir()
    arrays = {hf_name(name): half_split(name, array, config) for name, array in tensors.items()}
    stored = [(name, "F32", array.shape, array) for name, array in arrays.items()]
    write_file(path / SINGLE, stored, {"format": "pt"})
    write_json(path / CONFIG, config_to_hf(config))


WRITERS = {"hf": write_hf, "gguf": gguf_writer.write, "llama2c": write_v0}


def write_models(folder: Path, case: Case) -> tuple[dict[str, str], dict[str, str]]:
    """The model in every format that holds it; of the others, why not."""
    tensors = case.tensors()
    held, not_held = {}, {}
    for format_, name in FORMATS.items():
        try:
            WRITERS[format_](folder / name, case.config, tensors)
            held[format_] = f"{case.name}/{name}"
        except ConfigError as reason:
            not_held[format_] = str(reason)
    return held, not_held


def record_case(model_path: Path, case: Case, detect: bool) -> Bundle:
    """The golden of the model that was written: so that what is read is what is judged."""
    return record(
        load_model(model_path),
        case.tokens,
        case.decode,
        case.chunk,
        case.taps,
        source=str(model_path),
        detect=detect and not case.slow,
    )


def write_case(kit: Path, case: Case, detect: bool) -> dict[str, Any]:
    """All files of a case; returns its entry in the index."""
    folder = kit / case.name
    folder.mkdir()
    held, not_held = write_models(folder, case)
    bundle = record_case(folder / FORMATS["hf"], case, detect)
    bundle.save(folder / "golden")
    schedule = bundle.schedule.padded(case.pads, PAD)
    with writing(folder / "tokens.txt") as file:
        file.write("".join(f"{i}\n" for i in schedule.tokens).encode())
    return {
        "name": case.name,
        "sentence": case.sentence,
        "models": held,
        "not_held": not_held,
        "golden": f"{case.name}/golden",
        "tokens_file": f"{case.name}/tokens.txt",
        "tokens": list(schedule.tokens),
        "steps": list(schedule.steps),
        "prompt": case.pads + case.prompt,
        "pads": case.pads,
        "slow": case.slow,
    }


def write_kit(
    target: str | Path,
    cases: Sequence[Case] = CASES,
    detect: bool = True,
    progress: Progress = no_progress,
) -> None:
    """Write the kit as the directory `target`, which appears when it is whole.

    detect: let each golden say which faults it can see. Raises InputError if `target` is there.
    """
    with new_directory(Path(target)) as made:
        entries = []
        for done, case in enumerate(cases):
            progress(done, len(cases), case.name)
            entries.append(write_case(made, case, detect))
        progress(len(cases), len(cases), "")
        write_json(made / KIT, {"version": VERSION, "cases": entries}, indent=1)


# — reading —


@dataclass(frozen=True)
class Entry:
    """One case of a kit on disk."""

    name: str
    sentence: str
    models: dict[str, Path]  # by format
    not_held: dict[str, str]  # by format: why not
    golden: Path
    tokens_file: Path
    schedule: Schedule  # what a program is to run
    prompt: int
    slow: bool
    pads: int  # so many tokens at the beginning; the golden is of the run without them


def inside(kit: Path, name: object) -> Path:
    """A path that the index names. Raises ValueError for the kit itself, and for what leaves it."""
    path = Path(str(name))
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{shown(name)} is not inside the kit")
    return kit / path


def parse_entry(kit: Path, raw: dict[str, Any]) -> Entry:
    """One case of the index. Raises all sorts of errors for what is not so."""
    unknown = [name for name in (*raw["models"], *raw["not_held"]) if name not in FORMATS]
    if unknown:
        raise ValueError(f"the format {shown(unknown[0])} is not one of {', '.join(FORMATS)}")
    if "hf" not in raw["models"]:
        raise ValueError("every case must be there in the format hf, in which it is judged")
    if not NAME.fullmatch(str(raw["name"])):
        raise ValueError(f"{shown(raw['name'])} is no name of a case")
    schedule = Schedule(tuple(map(int, raw["tokens"])), tuple(map(int, raw["steps"])))
    pads = int(raw.get("pads", 0))
    if not 0 <= pads < schedule.steps[0]:
        raise ValueError(f"{pads} pads do not fit into a first step of {schedule.steps[0]} tokens")
    return Entry(
        name=str(raw["name"]),
        sentence=str(raw["sentence"]),
        models={name: inside(kit, path) for name, path in raw["models"].items()},
        not_held={name: str(why) for name, why in raw["not_held"].items()},
        golden=inside(kit, raw["golden"]),
        tokens_file=inside(kit, raw["tokens_file"]),
        schedule=schedule,
        prompt=int(raw["prompt"]),
        slow=bool(raw["slow"]),
        pads=pads,
    )


def read_kit(kit: str | Path) -> list[Entry]:
    """The cases of a kit. Raises InputError for one that is none, or broken."""
    kit = Path(kit)
    path = kit / KIT
    if not path.is_file():
        raise InputError(f"{kit}: is no kit: it has no {KIT}; `llama-np golden kit -o` makes one")
    index = parse_json(read_small(path, MAX_JSON, InputError), str(path), InputError)
    version = index.get("version") if isinstance(index, dict) else None
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InputError(f"{path}: has the version {shown(version)}; this program reads {VERSION}")
    try:
        return [parse_entry(kit, raw) for raw in index["cases"]]
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as wrong:
        raise InputError(f"{path}: is not a whole index of a kit: {wrong}") from None


def load_cases(kit: str | Path) -> dict[str, tuple[Llama, Bundle, bool]]:
    """Of each case its model, its golden, and whether it is slow."""
    return {
        entry.name: (load_model(entry.models["hf"]), load(entry.golden), entry.slow)
        for entry in read_kit(kit)
    }
