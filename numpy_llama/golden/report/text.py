"""A judgement for people, to read in ten seconds. For machines: json.py, a page: html.py."""

from collections.abc import Iterable

from ...wording import listed
from ..compare.verdict import GreedyVerdict, LogitsVerdict, Report
from ..faults import CHOICES
from ..replay.metrics import DIVERGENT, SUSPICIOUS, floors
from .diagnosis import about_diagnosis
from .table import FINE, folded, table


def what_is_chosen(report: Report) -> str:
    """The choices as the end of a sentence, and how far they take the logits from the truth."""
    does = [CHOICES[id].sentence.rstrip(".") for id in report.chosen]
    said = " and ".join(f"{one[0].lower()}{one[1:]}" for one in does)
    left = report.diagnosis.suspects if report.diagnosis else ()
    rest = next((s.residual for s in left if s.faults == report.chosen), 0.0)
    worst = max(tap.ratio or 0.0 for tap in report.judged)
    kl = f", KL divergence {report.logits.kl_mean:.2g} nats" if report.logits else ""
    return (
        f"it {said}: {floors(worst)} floors from the truth{kl}, "
        f"{floors(rest)} from a model that does so"
    )


def headline(report: Report) -> str:
    """The verdict, and where the trouble begins."""
    given, of = sum(tap.verdict != "missing" for tap in report.taps), len(report.taps)
    judged = f"at {report.dtype}, {given} of {of} taps given"
    if report.summary == "passed":
        if report.chosen:
            return f"PASSED {judged}: right, with the declared choice: {what_is_chosen(report)}"
        worst = max((tap.ratio or 0.0 for tap in report.judged), default=0.0)
        return f"PASSED {judged}, the worst is off by {floors(worst)} floors"
    if report.summary == "choice":
        return f"CHOICE {judged}: right, and {what_is_chosen(report)}"
    first = report.first_divergent
    if report.summary == "incomplete":
        if not report.judgeable:
            return (
                f"INCOMPLETE {judged}: this dtype's noise may be as large as the values "
                "themselves, so that nothing can pass here: compute in float32"
            )
        if given := given or len(report.scalars):
            lacking = ", ".join(name for name in report.required if not was_given(report, name))
            return f"INCOMPLETE {judged}: what was given is right, but there is no {lacking}"
        return f"INCOMPLETE {judged}: nothing that was given is a tap of this golden"
    if first is None:
        return f"DIVERGED {judged}: the greedy ids differ"
    bad = sum(tap.verdict not in FINE for tap in report.judged)
    off = f"{floors(first.ratio)} floors" if first.verdict == "divergent" else first.verdict
    where = f" from row {first.first_bad_row} ({first.phase})" if first.phase else ""
    part = f" ({first.part})" if first.part else ""
    return f"DIVERGED {judged}, {bad} wrong, the first is {first.tap}{part}{where}: {off}"


def about_not_excluded(report: Report) -> list[str]:
    """Of what passed, which known mistakes could be there all the same: how many, and the worst."""
    if report.summary != "passed" or not report.not_excluded:
        return []
    worst = [f"{one.fault} ({floors(one.ratio)} floors)" for one in report.not_excluded]
    are = "mistake is" if len(worst) == 1 else "mistakes are"
    what = f"{len(worst)} known {are} too small to be seen at {report.dtype} in what was given"
    return [f"not excluded: {what}: {listed(worst, 3)}"]


def was_given(report: Report, name: str) -> bool:
    """Whether something that was required was there."""
    if name == "greedy":
        return report.greedy is not None
    return any(tap.tap == name for tap in report.judged)


def operation(report: Report) -> list[str]:
    """The first operation that is wrong by itself; without its inputs, where it must be."""
    stage = report.first_bad_operation
    if stage is None or not (stage.inputs or stage.tap == "embed"):
        return between(report)
    inputs = f"the candidate's own {' and '.join(stage.inputs)}" if stage.inputs else "the tokens"
    return [
        f"first wrong operation: {stage.tap} is off by {floors(stage.ratio)} floors "
        f"when computed from {inputs}"
    ]


def between(report: Report) -> list[str]:
    """Between which two things the mistake is, where taps are missing before the first wrong."""
    first = report.first_divergent
    if first is None or first not in report.taps:
        return []
    before = report.taps[: report.taps.index(first)]
    right = [tap.tap for tap in before if tap.verdict != "missing"]
    if len(right) == len(before):
        return []
    start = f"{right[-1]}, which is right," if right else "the tokens"
    return [f"it goes wrong somewhere between {start} and {first.tap}: more taps tell where"]


def numbers(values: Iterable[float]) -> str:
    """A few values below each other's: six digits, each in a column of its own."""
    return " ".join(f"{value:>13.6g}" for value in values)


def about_values(report: Report) -> list[str]:
    """What the candidate has at the worst place of the first wrong tap, and what it should be."""
    first = report.first_divergent
    if first is None or first.worst is None or not first.got:
        return []
    where = ", ".join(map(str, first.worst))
    return [
        f"furthest off in {first.tap} at [{where}]",
        f"    yours     {numbers(first.got)}",
        f"    should be {numbers(first.expected)}",
    ]


def about_logits(logits: LogitsVerdict) -> list[str]:
    """The distributions, and the rows that chose another token."""
    lines = [
        f"logits: KL divergence {logits.kl_mean:.2g} nats (at most {logits.kl_max:.2g}) over "
        f"{logits.rows} rows; the first choice agrees in {logits.top1:.1%} of them, "
        f"the first five by {logits.top5:.1%}"
    ]
    real = [flip for flip in logits.flips if not flip.within_noise]
    if logits.flips:
        within = len(logits.flips) - len(real)
        lines.append(f"        other first choices: {within} within noise, {len(real)} not")
    return lines


def about_greedy(greedy: GreedyVerdict) -> list[str]:
    """How far the greedy ids agree, and whether noise can have made them part."""
    text = f"greedy: the first {greedy.same} of {greedy.of} ids agree"
    if greedy.flip is None:
        return [text]
    flip = greedy.flip
    judged = "which noise can do" if flip.within_noise else "which noise cannot do"
    return [
        f"{text}; then {flip.got} for {flip.expected}, {judged}: their logits are "
        f"{flip.gap:.3g} apart, the noise is {flip.noise:.2g}"
    ]


def about_scalars(report: Report) -> list[str]:
    """Single numbers, each with its own line."""
    return [
        f"{tap.tap} {tap.part}: {tap.verdict}"
        + (f", {floors(tap.ratio)} floors" if tap.ratio is not None else "")
        for tap in report.scalars
    ]


def footnotes(report: Report) -> list[str]:
    """What was recognised, what was not looked at."""
    lines = [f"note: {note}" for note in report.notes]
    missing = [line.kind for line in folded(report.taps) if not line.given]
    if missing and len(missing) < len(folded(report.taps)):
        lines.append(f"note: not given, so not judged: {listed(missing, 8)}")
    if report.unknown:
        lines.append(f"note: not taps of this golden, so ignored: {listed(report.unknown, 6)}")
    return lines


def as_text(report: Report) -> str:
    """The report for people: verdict, first wrong operation, diagnosis, then the table."""
    lines = [headline(report), *about_not_excluded(report)]
    if not report.chosen:
        lines += [*operation(report), *about_values(report)]
    if report.diagnosis is not None:
        lines += about_diagnosis(report.diagnosis)
    if any(tap.verdict != "missing" for tap in report.taps):
        lines += ["", *table(folded(report.taps))]
        noise = f"(worst: error in units of the measured floor at {report.dtype}; "
        lines.append(f"{noise}up to {SUSPICIOUS:g} is noise, above {DIVERGENT:g} is not)")
    rest = about_scalars(report)
    rest += about_logits(report.logits) if report.logits else []
    rest += about_greedy(report.greedy) if report.greedy else []
    notes = footnotes(report)
    return "\n".join([*lines, *([""] if rest else []), *rest, *([""] if notes else []), *notes])
