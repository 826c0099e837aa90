"""A golden: what a correct model gives for one prompt, and how far from it noise may lead.

golden.json         what, of which model, how measured: all but the values
golden.safetensors  the taps, float64 rounded to float32
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config import LlamaConfig
from ...errors import InputError, LlamaError
from ...formats.storage.files import read_small
from ...formats.storage.strict_json import parse_json, shown
from ..replay.metrics import DIVERGENT, Groups, group_errors, relative_rms
from ..replay.precision import UNIT_ROUNDOFF, check_dtype
from ..replay.rows import rows_of
from ..replay.schedule import Schedule
from .disk import JSON, read_values, replace_both, signed, values_path
from .fields import Detection, parse_fields
from .source import path_of, seen_from

VERSION = 2  # of 1, a floor is one number a tap, of one run: read, but to be recorded again
MAX_JSON = 64 << 20
MOST_VALUES = 1_000_000  # floors of hundreds of taps, each in dozens of chunks


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
        """Write both files. Ended at any point, this leaves the old golden or the new one."""
        into = Path(directory)
        replace_both(
            into,
            self.values,
            lambda sha256: self.as_json(sha256) | {"source": self.source_in(into)},
        )

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
    try:
        if version > 1 and content.get("sha256") != signed(content)["sha256"]:
            raise InputError("was changed after it was written: its sha256 is another one")
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
