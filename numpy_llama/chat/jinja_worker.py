"""Renders Jinja templates, in a process that may compute for a moment and do nothing else.

A template is a program from whoever made the model. Jinja's sandbox keeps it from Python's
insides, but not from working for ever: nested loops, 'a' * 10**9, a list that contains ten times a
list that contains ten times … and is then printed. No list of forbidden things is complete, so the
system bounds the whole process: processor time, memory, and no file, socket or child to open.

One request a line on stdin, one answer a line on stdout, both JSON. Run as a script by jinja.py,
with sys.path as the argument; it imports nothing of this package.
"""

import json
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, BinaryIO

SECONDS = 0.3  # of processor time for a rendering; the longest real templates take a tenth of it
DATA_BYTES = 48 << 20  # of memory for data, Python's own 12 MB included
# Rendered before the doors close: Python and Jinja load parts of themselves on first use.
WARM_UP = ("{{ 1|pprint }}{{ [1]|tojson }}{{ strftime_now('%d %b %Y') }}", "{{ none() }}", "{%")
SHOWN = 300  # characters of an error; a template can make them long


def strftime_now(form: str) -> str:
    """Today's date for the templates that tell it to the model."""
    return datetime.now().strftime(form)


def confine() -> None:
    """Give up, for good, what rendering does not need. Nothing more can be imported afterwards."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only bound
        return
    limits = {"DATA": DATA_BYTES, "NOFILE": 3, "FSIZE": 0, "NPROC": 0, "CORE": 0}
    for name, limit in limits.items():
        if (kind := getattr(resource, f"RLIMIT_{name}", None)) is not None:
            hard = resource.getrlimit(kind)[1]  # which nobody may raise again
            if hard != resource.RLIM_INFINITY:
                limit = min(limit, hard)
            resource.setrlimit(kind, (limit, limit))


def clock(seconds: float) -> None:
    """Let the kernel end this process after `seconds` of computing; 0 lets it live.

    SIGPROF has no handler here: Python would run one only after the operation that takes too long.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def make_environment() -> Any:
    """Jinja as transformers sets it up, so that templates mean the same here."""
    from jinja2.exceptions import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def tojson(value: Any, ensure_ascii: bool = False, **style: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **style)  # no HTML: &, < and > stay

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    del env.globals["lipsum"]  # random text
    return env


def render(compile: Any, request: dict[str, Any]) -> dict[str, str]:
    """{"text": …}; {"refused": …} where the template raised; {"broken": …} for anything else."""
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    pieces: list[str] = []
    length = 0
    try:
        for piece in compile(request["template"]).generate(request["variables"]):
            length += len(piece)
            if length > request["most"]:
                return {"broken": f"writes more than {request['most']:,} characters"}
            pieces.append(piece)
        return {"text": "".join(pieces)}
    except TemplateSyntaxError as error:
        return {"broken": f"line {error.lineno}: {error.message}"}
    except TemplateError as error:
        # raise_exception's is this class itself; the sandbox and undefined names have their own.
        own = type(error) is TemplateError
        return {"refused" if own else "broken": str(error.message or type(error).__name__)[:SHOWN]}
    except RecursionError:
        return {"broken": "nests too deeply"}
    except MemoryError:
        pieces.clear()
        return {"broken": f"needs more than {DATA_BYTES >> 20} MiB of memory"}
    except Exception as error:  # whatever a stranger's program can raise
        return {"broken": f"{type(error).__name__}: {error}"[:SHOWN]}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one line with one line, until there are no more."""
    env = make_environment()
    compile = lru_cache(maxsize=1)(env.from_string)
    for template in WARM_UP:
        render(compile, {"template": template, "variables": {}, "most": 1000})
    confine()
    for line in requests:
        clock(SECONDS)
        answer = render(compile, json.loads(line))
        text = json.dumps(answer, ensure_ascii=False)
        clock(0)
        answers.write(text.encode("utf-8", "surrogatepass") + b"\n")
        answers.flush()


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    serve(sys.stdin.buffer, sys.stdout.buffer)
