"""A golden for people: what it is of, how noisy each dtype is, and which faults it cannot see."""

import textwrap

from ..replay.precision import MEASURED
from .bundle import Bundle

WIDTH = 100


def rows_line(bundle: Bundle) -> str:
    """How the rows were computed."""
    schedule = bundle.schedule
    chunks = [rows.stop - rows.start for rows in schedule.groups if rows.start < schedule.prompt]
    decode = len(schedule.tokens) - schedule.prompt
    how = f"in chunks of {', '.join(map(str, chunks))}" if len(chunks) > 1 else "at once"
    return f"{schedule.prompt} of the prompt ({how}), {decode} decode steps"


def floor_lines(bundle: Bundle) -> list[str]:
    """Of each dtype, the largest error that right programs make."""
    lines = []
    for dtype in MEASURED:
        floors = {tap: bundle.floor(tap, dtype) for tap in bundle.values}
        worst = max(floors, key=lambda tap: floors[tap])
        lines.append(
            f"{dtype:<11} logits {floors['logits']:.1e} (at most {bundle.noise(dtype):.1e} each), "
            f"at most {floors[worst]:.1e}, at {worst}"
            + ("" if bundle.judgeable(dtype) else ": too much to judge logits by")
        )
    return [*lines, bundle.remark] if bundle.remark else lines


def blind_lines(bundle: Bundle) -> list[str]:
    """Of each dtype, how many faults this golden sees, and the names of those it does not."""
    lines = []
    for dtype in MEASURED:
        seen = bundle.detectability.items()
        detections = {fault: of[dtype] for fault, of in seen if dtype in of}
        blind = [fault for fault, detection in detections.items() if not detection.visible]
        lines.append(
            f"{dtype:<11} sees {len(detections) - len(blind)} of {len(detections)} known faults"
        )
        if blind:
            text = f"not {', '.join(blind)}"
            lines += textwrap.wrap(text, WIDTH - 16, initial_indent=" " * 12,
                                   subsequent_indent=" " * 16)  # fmt: skip
    return lines or ["not measured"]


def shortened(text: str, most: int = 72) -> str:
    """A text in one line."""
    return text if len(text) <= most else f"{text[:most]}…"


def describe(bundle: Bundle) -> str:
    """Everything that `golden show` prints."""
    config, schedule = bundle.config, bundle.schedule
    row = min(range(len(bundle.margins)), key=bundle.margins.__getitem__)
    facts = [
        ("model", bundle.source or "not named"),
        ("weights", f"sha256 {bundle.weights_sha256}"),
        (
            "layers",
            f"{config.n_layers} of dim {config.dim}, {config.n_heads} heads on "
            f"{config.n_kv_heads}, vocabulary {config.vocab_size:,}",
        ),
    ]
    if bundle.prompt is not None:
        facts.append(("prompt", shortened(repr(bundle.prompt))))
    facts += [
        ("tokens", shortened(" ".join(map(str, schedule.tokens)))),
        ("rows", rows_line(bundle)),
        ("greedy", " ".join(map(str, bundle.greedy))),
        ("closest", f"row {row}: its two largest logits are {bundle.margins[row]:.2g} apart"),
        ("taps", f"{len(bundle.values)}, float64 rounded to float32"),
    ]
    facts += [("noise" if i == 0 else "", line) for i, line in enumerate(floor_lines(bundle))]
    blind = blind_lines(bundle) if bundle.detectability else ["not measured"]
    facts += [("faults" if i == 0 else "", line) for i, line in enumerate(blind)]
    facts.append(("recorded", ", ".join(f"{k} {v}" for k, v in bundle.environment.items())))
    return "\n".join(f"{label:<9} {text}" for label, text in facts)
