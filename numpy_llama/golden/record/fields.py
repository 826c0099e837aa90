"""The fields of a golden out of its JSON, each of them checked."""

import math
from dataclasses import dataclass
from typing import Any

from ...config import LlamaConfig, RopeScaling
from ...formats.storage.strict_json import shown
from ..replay.metrics import Groups
from ..replay.precision import MEASURED
from ..replay.schedule import Schedule


@dataclass(frozen=True)
class Detection:
    """Whether a golden can see a fault at a dtype: where first, and how many floors large."""

    visible: bool
    tap: str  # the first that shows it; of an invisible one, the nearest to showing it
    ratio: float
    logits: float | None = None  # how many floors it is in the logits; older goldens do not say


def checked_size(value: object, what: str) -> float:
    """A number that is finite and not negative. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{shown(value)} is no {what}")
    return float(value)  # type: ignore[arg-type]


def checked_margins(value: list[object], rows: int) -> tuple[float, ...]:
    """How far the two largest logits are apart, for each row. Raises ValueError otherwise."""
    if len(value) != rows:
        raise ValueError(f"{len(value)} margins for {rows} rows")
    return tuple(checked_size(gap, "margin") for gap in value)


def checked_detection(
    visible: object, tap: object, ratio: object, logits: object = None
) -> Detection:
    """Whether a fault is seen. Raises ValueError for fields of other types."""
    if type(visible) is not bool or not isinstance(tap, str):
        raise ValueError(f"{shown(visible)} at {shown(tap)} is no detection")
    size = None if logits is None else checked_size(logits, "ratio")
    return Detection(visible, tap, checked_size(ratio, "ratio"), size)


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
        "margins": checked_margins(content["margins"], len(schedule.tokens)),
        "detectability": {
            fault: {dtype: checked_detection(**raw) for dtype, raw in detections.items()}
            for fault, detections in content["detectability"].items()
        },
        "weights_sha256": str(content["weights_sha256"]),
        "source": str(content["source"]),
        "environment": {str(k): str(v) for k, v in content["environment"].items()},
    }
