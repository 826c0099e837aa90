"""The score as JUnit's XML, which CI systems read."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from ..report.text import as_text
from .run import Result
from .score import counts


def is_legal(c: str) -> bool:
    """Whether XML 1.0 can hold a character: no control, no surrogate, not U+FFFE or U+FFFF."""
    return c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"


def legal(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return "".join(c if is_legal(c) else "?" for c in text)


def junit(results: Sequence[Result]) -> bytes:
    """An XML report as CI systems read it: what was not judged is an error.

    Diverged is a failure, and so is a choice that was not declared; their types tell them apart.
    """
    number = counts(results)
    errors = number["failed"] + number["incomplete"]
    suite = ET.Element(
        "testsuite",
        name="llama-np golden run",
        tests=str(len(results)),
        failures=str(number["diverged"] + number["choice"]),
        errors=str(errors),
        skipped=str(number["skipped"]),
        time=f"{sum(r.seconds for r in results):.3f}",
    )
    tags = {"diverged": "failure", "choice": "failure", "failed": "error", "incomplete": "error"}
    tags |= {"skipped": "skipped"}
    for r in results:
        time = f"{r.seconds:.3f}"
        case = ET.SubElement(suite, "testcase", classname="golden", name=r.name, time=time)
        if r.status in tags:
            said = ET.SubElement(case, tags[r.status], message=legal(r.detail))
            if tags[r.status] == "failure":
                said.set("type", r.status)
            said.text = legal(as_text(r.report)) if r.report else None
    ET.indent(suite)
    return ET.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n"
