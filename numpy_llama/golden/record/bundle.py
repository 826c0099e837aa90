"""A golden: what a correct model gives for one prompt, and how far from it noise may lead.

golden.json         what, of which model, how measured: all but the values
golden.safetensors  the taps, float64 rounded to float32
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config import LlamaConfig, RopeScaling
from ...errors import InputError, LlamaError
from ...formats.checkpoint import StoredTensor
from ...formats.huggingface.safetensors import read_file, write_file
from ...formats.storage.files import read_small, sha256_of, write_json
from ...formats.storage.strict_json import parse_json, shown
from ...taps import tap_names
from ..replay.precision import MEASURED, UNIT_ROUNDOFF, check_dtype
from ..replay.rows import tap_shape
from ..replay.schedule import Schedule

VERSION = 1
JSON, VALUES = "golden.json", "golden.safetensors"
MAX_JSON = 64 << 20


@dataclass(frozen=True)
class Detection:
    """Whether a golden can see a fault at a dtype: where first, and how many floors large."""

    visible: bool
    tap: str  # the first that shows it; of an invisible one, the nearest to showing it
    ratio: float


@dataclass(frozen=True)
class Bundle:
    """One golden. Rows are all of the schedule's: the prompt's, then the decode steps'."""

    config: LlamaConfig
    schedule: Schedule
    prompt: str | None  # the text, where there was one
    greedy: tuple[int, ...]  # the most likely token after the prompt, and after each decode step
    values: Mapping[str, np.ndarray]  # float32, in causal order, as `run` joins them
    floors: Mapping[str, Mapping[str, float]]  # dtype → tap → relative RMS error
    logit_noise: Mapping[str, float]  # dtype → largest absolute error of a logit
    margins: tuple[float, ...]  # per row: how far the largest logit is above the second
    detectability: Mapping[str, Mapping[str, Detection]]  # fault → dtype
    weights_sha256: str
    source: str  # the model, as it was named when this was recorded
    environment: Mapping[str, str]

    def floor(self, tap: str, dtype: str) -> float:
        """The error of this model itself at a dtype; never below what one rounding does."""
        measured = self.floors.get(check_dtype(dtype), {}).get(tap, 0.0)
        return max(measured, UNIT_ROUNDOFF[dtype])

    def noise(self, dtype: str) -> float:
        """The largest absolute error of a logit at a dtype."""
        return self.logit_noise.get(check_dtype(dtype), 0.0)

    def positions(self) -> list[tuple[int, str]]:
        """Of each row, its position and whether it is prefill or decode."""
        rows = range(len(self.schedule.tokens))
        return [(row, self.schedule.phase(row)) for row in rows]

    def save(self, directory: str | Path) -> None:
        """Write both files into `directory`, the values first; what is there is replaced."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tensors = [
            (name, "F32", array.shape, np.ascontiguousarray(array, np.float32))
            for name, array in self.values.items()
        ]
        digest = write_file(directory / VALUES, tensors, {"format": "numpy_llama golden"})
        write_json(directory / JSON, self.as_json(digest), indent=1)

    def as_json(self, values_sha256: str) -> dict[str, Any]:
        """All but the values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["values"]
        fields["config"] = dataclasses.asdict(self.config)
        fields["schedule"] = dataclasses.asdict(self.schedule)
        fields["detectability"] = {
            fault: {dtype: dataclasses.asdict(detection) for dtype, detection in detections.items()}
            for fault, detections in self.detectability.items()
        }
        rows = [{"position": p, "phase": phase} for p, phase in self.positions()]
        return {"version": VERSION, **fields, "rows": rows, "values_sha256": values_sha256}


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
    content = parse_json(read_small(path, MAX_JSON, InputError), str(path), InputError)
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise InputError(f"{path}: has the version {shown(version)}; this program reads {VERSION}")
    try:
        fields = parse_fields(content)
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise InputError(f"{path}: is not a whole golden: {type(wrong).__name__} {wrong}") from None
    except LlamaError as wrong:
        raise InputError(f"{path}: {wrong}") from None
    if sha256_of(directory / VALUES) != content.get("values_sha256"):
        raise InputError(f"{directory / VALUES}: is not the file that {JSON} was written with")
    values = read_values(directory / VALUES, fields["config"], len(fields["schedule"].tokens))
    return Bundle(values=values, **fields)


def parse_fields(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Bundle but its values. Raises all sorts of errors for what is not so."""
    config = dict(content["config"])
    scaling = RopeScaling(**config.pop("rope_scaling"))
    V = config["vocab_size"]
    tokens = tuple(checked_id(i, V) for i in content["schedule"]["tokens"])
    return {
        "config": LlamaConfig(**config, rope_scaling=scaling),
        "schedule": Schedule(tokens, tuple(int(n) for n in content["schedule"]["steps"])),
        "prompt": None if content["prompt"] is None else str(content["prompt"]),
        "greedy": tuple(checked_id(i, V) for i in content["greedy"]),
        "floors": {
            dtype: {tap: float(floor) for tap, floor in content["floors"][dtype].items()}
            for dtype in MEASURED
        },
        "logit_noise": {dtype: float(content["logit_noise"][dtype]) for dtype in MEASURED},
        "margins": tuple(float(gap) for gap in content["margins"]),
        "detectability": {
            fault: {dtype: Detection(**detection) for dtype, detection in detections.items()}
            for fault, detections in content["detectability"].items()
        },
        "weights_sha256": str(content["weights_sha256"]),
        "source": str(content["source"]),
        "environment": {str(k): str(v) for k, v in content["environment"].items()},
    }


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
