"""The one place through which everything passes that a terminal is shown.

Names in a stranger's files may hold escape sequences, which a terminal obeys; and a pipe may be of
an encoding that has no 日. Both are written as JSON writes them, \\u001b, so that JSON stays JSON.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

# C0 but tab and newline, DEL, C1; what turns the direction of the text around; lone surrogates.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

MATHEMATICS = ("norm", "rope", "attention", "feed_forward", "model")
OVERFLOW = "a number was too large for its dtype on the way: the result may mean nothing"


def spelled(text: str) -> str:
    """Each character as JSON escapes it: two of them above U+FFFF."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(*[iter(units)] * 2, strict=True))


def encodable(text: str, encoding: str) -> str:
    """The same text, what `encoding` does not have spelled out."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        start, end = error.start, error.end
        rest = encodable(text[end:], encoding)
        return text[:start] + spelled(text[start:end]) + rest
    return text


def harmless(text: str) -> str:
    """The same text, with every character spelled out that a terminal would obey."""
    return CONTROL.sub(lambda found: spelled(found[0]), text)


def one_line(text: str) -> str:
    """A sentence that quotes a stranger: it cannot go on in a line of its own."""
    return harmless(text.replace("\n", "\\n"))


class Harmless:
    """A text stream that passes on only what is harmless; in all else, the stream under it."""

    encoding = "utf-8"  # click goes around a stream that says ASCII; what it lacks is spelled out

    def __init__(self, stream: TextIO):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def exactly(self, text: str) -> int:
        """Write what may hold control characters, because no terminal reads it."""
        return self.stream.write(encodable(text, self.stream.encoding or "utf-8"))

    def write(self, text: str) -> int:
        self.exactly(harmless(text))
        return len(text)


@contextmanager
def overflow_told() -> Iterator[None]:
    """None of NumPy's warnings on stderr: where it matters, the command ends with an error.

    But a number that overflows inside the model may come out as a zero, and the text as nonsense:
    that is said, once, below a text that was printed. Whoever asks for warnings, with -W or
    PYTHONWARNINGS, gets them.
    """
    where: list[str] = []

    def remember(message: Warning | str, category: Any, filename: str, *rest: Any) -> None:
        if category.__name__ == "Told":  # of loading/open.py, which not every command imports
            print(message, file=sys.stderr)
        elif category is not RuntimeWarning:
            show(message, category, filename, *rest)
        elif Path(filename).stem in MATHEMATICS and "overflow" in str(message):
            where.append(Path(filename).name)

    with warnings.catch_warnings():
        show = warnings.showwarning
        if not sys.warnoptions:
            warnings.simplefilter("always", RuntimeWarning)
            warnings.showwarning = remember  # type: ignore[assignment]
        try:
            yield
        except SystemExit as end:
            if where and not end.code:
                print(f"Note: {OVERFLOW} ({where[0]})", file=sys.stderr)
            raise


@contextmanager
def harmless_streams() -> Iterator[None]:
    """stdout and stderr harmless, for the time of a command."""
    before = sys.stdout, sys.stderr
    try:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            if stream is not None and not isinstance(stream, Harmless):
                setattr(sys, name, Harmless(stream))
        with overflow_told():
            yield
    finally:
        sys.stdout, sys.stderr = before


def beneath(stream: Any) -> TextIO:
    """The stream under a harmless one, for what moves the cursor by itself: a progress bar."""
    return stream.stream if isinstance(stream, Harmless) else stream


def write_text(text: str) -> None:
    """A text that is the product: to a terminal harmless, to a file or a pipe as it is."""
    stream = sys.stdout
    if isinstance(stream, Harmless) and not stream.isatty():
        stream.exactly(text)
    else:
        stream.write(text)
    stream.flush()
