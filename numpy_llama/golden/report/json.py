"""A judgement for machines: one JSON object, whose keys are documented in docs/golden.md."""

import dataclasses
import math
from typing import Any

from ..compare.verdict import Diagnosis, LogitsVerdict, Report, Suspect, TapVerdict
from ..faults import KNOWN

VERSION = 2


def plain(value: Any) -> Any:
    """What JSON can hold: an infinite number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def tap_json(tap: TapVerdict) -> dict[str, Any]:
    return dataclasses.asdict(tap) | {"ratio": tap.ratio}


def suspect_json(suspect: Suspect) -> dict[str, Any]:
    """A suspect with what the catalogue says of its faults."""
    about = ("id", "family", "sentence", "mathematics", "seen_in", "fix", "harmless")
    faults = [{key: getattr(KNOWN[id], key) for key in about} for id in suspect.faults]
    return {"faults": faults, "residual": suspect.residual, "tap": suspect.tap}


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    other = diagnosis.runner_up
    return {
        "outcome": diagnosis.outcome,
        "suspects": [suspect_json(suspect) for suspect in diagnosis.suspects],
        "runner_up": suspect_json(other) if other else None,
        "stage": diagnosis.stage,
        "tried": diagnosis.tried,
        "detail": diagnosis.detail,
    }


def logits_json(logits: LogitsVerdict) -> dict[str, Any]:
    flips = [dataclasses.asdict(f) | {"within_noise": f.within_noise} for f in logits.flips]
    return dataclasses.asdict(logits) | {"flips": flips}


def as_json(report: Report) -> dict[str, Any]:
    """The report for machines. The keys are documented in docs/golden.md, and stay."""
    first, operation = report.first_divergent, report.first_bad_operation
    logits, greedy = report.logits, report.greedy
    return plain(
        {
            "version": VERSION,
            "summary": report.summary,
            "exit_code": report.exit_code,
            "dtype": report.dtype,
            "first_divergent": tap_json(first) if first else None,
            "first_bad_operation": operation.tap if operation else None,
            "diagnosis": diagnosis_json(report.diagnosis) if report.diagnosis else None,
            "logits": logits_json(logits) if logits else None,
            "greedy": dataclasses.asdict(greedy) | {"verdict": greedy.verdict} if greedy else None,
            "taps": [tap_json(tap) for tap in report.taps],
            "scalars": [tap_json(tap) for tap in report.scalars],
            "isolated": [dataclasses.asdict(s) | {"ratio": s.ratio} for s in report.isolated],
            "required": list(report.required),
            "unknown": list(report.unknown),
            "notes": list(report.notes),
            "judgeable": report.judgeable,
            "not_excluded": None
            if report.not_excluded is None
            else [dataclasses.asdict(one) for one in report.not_excluded],
            "chosen": list(report.chosen),
            "allowed": list(report.allowed),
        }
    )
