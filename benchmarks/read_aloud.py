"""`python -m benchmarks.read_aloud [FILE …]`: how many minutes a file takes to read aloud.

At 150 words a minute. Words are what one would say: names (each part between underscores is a
word), keywords, numbers, docstrings and comments. Not said: symbols, strings of the program,
examples (from `Example:` to the end of its docstring, `>>>` lines and what they print), drawings.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

WORDS_A_MINUTE = 150
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # letters and digits; "model's" is one
DRAWING = re.compile("[\u2500-\u257f]")  # a line with characters that boxes are drawn with
EXAMPLE = re.compile(r"^ *(Example:|>>> ).*", re.MULTILINE | re.DOTALL)

MODEL = ("taps", "norm", "rope", "rope_scaling", "attention", "kv_cache", "feed_forward")
FILES = [f"numpy_llama/{name}.py" for name in (*MODEL, "parameters", "model")]


def said(token: tokenize.TokenInfo, is_docstring: bool) -> str:
    """What of a token is said."""
    match token.type:
        case tokenize.NAME | tokenize.COMMENT:
            return "" if DRAWING.search(token.string) else token.string
        case tokenize.NUMBER:
            return token.string.replace(".", "")  # 0.5 is one number
        case tokenize.STRING if is_docstring:
            lines = EXAMPLE.sub("", token.string).splitlines()
            return "\n".join(line for line in lines if not DRAWING.search(line))
    return ""


def words(source: str) -> Iterator[str]:
    """All words of a Python file, in their order."""
    new_statement, inside = True, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # From Python 3.12 on, an f-string is several tokens; before, it is one.
        kind = tokenize.tok_name[token.type]
        inside += (kind == "FSTRING_START") - (kind == "FSTRING_END")
        if not inside:
            yield from WORD.findall(said(token, is_docstring=new_statement))
        if kind not in ("COMMENT", "NL"):
            new_statement = kind in ("NEWLINE", "INDENT", "DEDENT", "ENCODING")


def minutes(path: Path) -> float:
    """How long the file takes to read aloud."""
    return sum(1 for _ in words(path.read_text(encoding="utf-8"))) / WORDS_A_MINUTE


def main() -> None:
    for name in sys.argv[1:] or FILES:
        print(f"{minutes(Path(name)):5.1f} min  {name}")


if __name__ == "__main__":
    main()
