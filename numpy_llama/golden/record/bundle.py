"""A golden: what a correct model gives for one prompt, and how far from it noise may lead.

golden.json         what, of which model, how measured: all but the values
golden.safetensors  the taps, float64 rounded to float32

A golden that takes the place of another is there from one moment to the next: when its JSON is.
Its values wait until then as golden-HASH.safetensors, and are found under that name too.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config import LlamaConfig, RopeScaling
from ...errors import InputError, LlamaError
from ...formats.checkpoint import StoredTensor
from ...formats.huggingface.safetensors import read_file, write_file
from ...formats.storage.files import read_small, sha256_of, sync_directory, write_json
from ...formats.storage.lock import locked
from ...formats.storage.strict_json import parse_json, shown
from ...taps import tap_names
from ..replay.metrics import DIVERGENT, Groups, group_errors, relative_rms
from ..replay.precision import MEASURED, UNIT_ROUNDOFF, check_dtype
from ..replay.rows import rows_of, tap_shape
from ..replay.schedule import Schedule
from .source import path_of, seen_from

VERSION = 2  # of 1, a floor is one number a tap, of one run: read, but to be recorded again
JSON, VALUES = "golden.json", "golden.safetensors"
UNNAMED = "golden-.safetensors"  # while its hash is not known
MAX_JSON = 64 << 20
MOST_VALUES = 1_000_000  # floors of hundreds of taps, each in dozens of chunks


@dataclass(frozen=True)
class Detection:
    """Whether a golden can see a fault at a dtype: where first, and how many floors large."""

    visible: bool
    tap: str  # the first that shows it; of an invisible one, the nearest to showing it
    ratio: float
    logits: float | None = None  # how many floors it is in the logits; older goldens do not say


@dataclass(frozen=True)
class Bundle:
    """One golden. Rows are all of the schedule's: the prompt's, then the decode steps'."""

    config: LlamaConfig
    schedule: Schedule
    prompt: str | None  # the text, where there was one
    greedy: tuple[int, ...]  # the most likely token after the prompt, and after each decode step
    values: Mapping[str, np.ndarray]  # float32, in causal order, as `run` joins them
    floors: Mapping[str, Mapping[str, Groups]]  # dtype → tap → relative RMS error of each group
    logit_noise: Mapping[str, float]  # dtype → largest absolute error of a logit
    margins: tuple[float, ...]  # per row: how far the largest logit is above the second
    detectability: Mapping[str, Mapping[str, Detection]]  # fault → dtype
    weights_sha256: str
    source: str  # the model: a path, relative to the golden, or a name; see source.py
    environment: Mapping[str, str]
    version: int = VERSION
    place: Path | None = None  # the directory that this was read from

    def group_floors(self, tap: str, dtype: str) -> Groups:
        """The error of right programs at a dtype, in each group of rows; at least one rounding."""
        least = UNIT_ROUNDOFF[check_dtype(dtype)]
        nothing = (least,) * len(self.schedule.groups)
        return tuple(max(f, least) for f in self.floors.get(dtype, {}).get(tap, nothing))

    def floor(self, tap: str, dtype: str) -> float:
        """The largest of the floors of a tap's groups."""
        return max(self.group_floors(tap, dtype))

    def in_floors(self, tap: str, errors: Sequence[float], dtype: str) -> float:
        """Errors, one for each group of rows, in units of their floors: the largest."""
        floors = self.group_floors(tap, dtype)
        return max(error / floor for error, floor in zip(errors, floors, strict=True))

    def worst_group(
        self, tap: str, got: np.ndarray, rows: Sequence[int], dtype: str
    ) -> tuple[float, float]:
        """The error and the floor of that group of rows in which a tap is off by most floors.

        rows: those of the schedule that `got` gives.
        """
        floors, schedule = self.group_floors(tap, dtype), self.schedule
        found = []
        for floor, group in zip(floors, schedule.groups, strict=True):
            given = [i for i, row in enumerate(rows) if group.start <= row < group.stop]
            if given:
                want = rows_of(tap, self.values[tap], [rows[i] for i in given])
                found.append((relative_rms(rows_of(tap, got, given), want), floor))
        return max(found, key=lambda pair: pair[0] / pair[1])

    def ratio(self, tap: str, got: np.ndarray, dtype: str) -> float:
        """How many floors a tap is off, all its rows given."""
        return self.in_floors(tap, group_errors(tap, got, self.values[tap], self.schedule), dtype)

    def judgeable(self, dtype: str, tap: str = "logits") -> bool:
        """Whether an error of 100 %, such as that of zeros, would be told from noise."""
        return DIVERGENT * self.floor(tap, dtype) < 1

    @property
    def remark(self) -> str:
        """What its user should know of it, if anything."""
        if self.version == VERSION:
            return ""
        return "an older version recorded this golden, with floors of one run each: record it again"

    def noise(self, dtype: str) -> float:
        """The largest absolute error of a logit at a dtype."""
        return self.logit_noise.get(check_dtype(dtype), 0.0)

    def positions(self) -> list[tuple[int, str]]:
        """Of each row, its position and whether it is prefill or decode."""
        rows = range(len(self.schedule.tokens))
        return [(row, self.schedule.phase(row)) for row in rows]

    def save(self, directory: str | Path) -> None:
        """Write both files into `directory`. Ended at any point, it leaves the old golden or this.

        The values go where no reader looks, the JSON that asks for them takes the place of the
        old one, and then they get their name.
        """
        directory = Path(directory)
        with locked(directory / "golden"):
            self.replace(directory)

    def replace(self, directory: Path) -> None:
        """Write both files over what is there, and over what a run that was ended left."""
        tensors = [
            (name, "F32", array.shape, np.ascontiguousarray(array, np.float32))
            for name, array in self.values.items()
        ]
        digest = write_file(directory / UNNAMED, tensors, {"format": "numpy_llama golden"})
        os.replace(directory / UNNAMED, waiting := directory / waiting_name(digest[:16]))
        sync_directory(directory)  # on the disk before the JSON is: a power cut keeps no order
        content = self.as_json(digest) | {"source": self.source_in(directory)}
        write_json(directory / JSON, signed(content), indent=1)
        os.replace(waiting, directory / VALUES)
        for left in directory.glob(waiting_name("[0-9a-f]" * 16)):  # by a run that was ended
            left.unlink()
        sync_directory(directory)

    def source_in(self, directory: Path) -> str:
        """How this names its model once it is in `directory`."""
        return seen_from(directory, path_of(self.source, self.place))

    def as_json(self, values_sha256: str) -> dict[str, Any]:
        """All but the values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["values"], fields["place"]
        fields["config"] = dataclasses.asdict(self.config)
        fields["schedule"] = dataclasses.asdict(self.schedule)
        fields["detectability"] = {
            fault: {dtype: dataclasses.asdict(detection) for dtype, detection in detections.items()}
            for fault, detections in self.detectability.items()
        }
        rows = [{"position": p, "phase": phase} for p, phase in self.positions()]
        version = fields.pop("version")
        return {"version": version, **fields, "rows": rows, "values_sha256": values_sha256}


def waiting_name(sha256: str) -> str:
    """The file of a golden's values until its JSON is there."""
    return f"golden-{sha256}.safetensors"


def values_path(directory: Path, sha256: object) -> Path:
    """The file of the values with this hash. Raises InputError if there is none."""
    files = (directory / VALUES, directory / waiting_name(str(sha256)[:16]))
    for path in files:
        if path.is_file() and sha256_of(path) == sha256:
            return path
    if not files[0].is_file():
        raise InputError(f"{files[0]}: does not exist")
    raise InputError(f"{files[0]}: is not the file that {JSON} was written with")


def text_of(content: dict[str, Any]) -> str:
    """A golden's JSON."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """The content and, last, the sha256 of its text without that."""
    content = {name: value for name, value in content.items() if name != "sha256"}
    return content | {"sha256": hashlib.sha256(text_of(content).encode()).hexdigest()}


class StoredValues(Mapping[str, np.ndarray]):
    """The taps of a file, each mapped when it is asked for."""

    def __init__(self, tensors: Mapping[str, StoredTensor], order: list[str]):
        self.tensors = tensors
        self.order = order

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def load(directory: str | Path) -> Bundle:
    """Read a golden. Raises InputError or CheckpointError for one that is broken."""
    directory = Path(directory)
    path = directory / JSON
    if not path.is_file():
        raise InputError(f"{directory}: is not a golden: it has no {JSON}")
    content = parse_json(read_small(path, MAX_JSON, InputError), str(path), InputError, MOST_VALUES)
    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InputError(f"{path}: has the version {shown(version)}; this program reads {VERSION}")
    if version > 1 and content.get("sha256") != signed(content)["sha256"]:
        raise InputError(f"{path}: was changed after it was written: its sha256 is another one")
    try:
        fields = parse_fields(content)
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise InputError(f"{path}: is not a whole golden: {type(wrong).__name__} {wrong}") from None
    except LlamaError as wrong:
        raise InputError(f"{path}: {wrong}") from None
    stored = values_path(directory, content.get("values_sha256"))
    values = read_values(stored, fields["config"], len(fields["schedule"].tokens))
    for dtype, floors in fields["floors"].items():
        if lacking := [tap for tap in values if tap not in floors]:
            raise InputError(f"{path}: has no floor of {lacking[0]} at {dtype}")
    return Bundle(values=values, place=directory, **fields)


def parse_fields(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Bundle but its values. Raises all sorts of errors for what is not so."""
    config = dict(content["config"])
    scaling = RopeScaling(**config.pop("rope_scaling"))
    V = config["vocab_size"]
    tokens = tuple(checked_id(i, V) for i in content["schedule"]["tokens"])
    schedule = Schedule(tokens, tuple(int(n) for n in content["schedule"]["steps"]))
    return {
        "version": content["version"],
        "config": LlamaConfig(**config, rope_scaling=scaling),
        "schedule": schedule,
        "prompt": None if content["prompt"] is None else str(content["prompt"]),
        "greedy": tuple(checked_id(i, V) for i in content["greedy"]),
        "floors": {
            dtype: {
                tap: checked_floors(floors, len(schedule.groups))
                for tap, floors in content["floors"][dtype].items()
            }
            for dtype in MEASURED
        },
        "logit_noise": {d: checked_size(content["logit_noise"][d], "noise") for d in MEASURED},
        "margins": tuple(float(gap) for gap in content["margins"]),
        "detectability": {
            fault: {dtype: Detection(**detection) for dtype, detection in detections.items()}
            for fault, detections in content["detectability"].items()
        },
        "weights_sha256": str(content["weights_sha256"]),
        "source": str(content["source"]),
        "environment": {str(k): str(v) for k, v in content["environment"].items()},
    }


def checked_size(value: object, what: str) -> float:
    """A number that is finite and not negative. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{shown(value)} is no {what}")
    return float(value)  # type: ignore[arg-type]


def checked_floors(value: object, groups: int) -> Groups:
    """A floor for each group of rows; of version 1, one for all. Raises ValueError otherwise."""
    floors = value if isinstance(value, list) else [value] * groups
    if len(floors) != groups:
        raise ValueError(f"{len(floors)} floors for {groups} groups of rows")
    return tuple(checked_size(floor, "floor") for floor in floors)


def checked_id(value: object, vocab_size: int) -> int:
    """A token id. Raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < vocab_size:
        raise ValueError(f"{shown(value)} is no token id")
    return value


def read_values(path: Path, config: LlamaConfig, T: int) -> StoredValues:
    """The taps of a golden's file, their names and shapes checked."""
    tensors = read_file(path)
    order = tap_names(config.n_layers)
    for name, tensor in tensors.items():
        if name not in order:
            raise InputError(f"{path}: {shown(name)} is no tap of the model in {JSON}")
        expected = tap_shape(name, config, T)
        if tensor.shape != expected or tensor.dtype != "F32":
            raise InputError(
                f"{path}: {name} is {tensor.dtype} {tensor.shape}, {JSON} calls for F32 {expected}"
            )
    if not tensors:
        raise InputError(f"{path}: holds no taps")
    return StoredValues(tensors, [name for name in order if name in tensors])
