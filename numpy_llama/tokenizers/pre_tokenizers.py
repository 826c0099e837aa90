"""How byte-level BPE vocabularies cut text into words, by the name that GGUF files give the rule.

Merges never cross a cut, so the wrong rule gives other ids for ordinary text, and nothing fails.
Every pattern of a rule cuts what the ones before it left; in the end bytes become BPE's letters.
Source of names and rules: llama.cpp, src/llama-vocab.cpp, which cites the models' tokenizer.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..formats.storage.strict_json import shown

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SEED = QWEN2.replace(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}\r\n]+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGIT = r"\p{N}"
NEWLINE = r"[\r\n]"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

# DeepSeek writes out the letters that have a case, as of one version of Unicode.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
PUNCTUATION = r"\s?[!-/:-~" + "\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"


@dataclass(frozen=True)
class PreTokenizer:
    """One rule: its patterns, and two habits of the vocabularies that use it."""

    patterns: tuple[str, ...]
    whole_words: bool = False  # a word that is itself a token is taken before any merge
    adds_bos: bool = False  # what a GGUF file without tokenizer.ggml.add_bos_token means


GPT2_RULE = PreTokenizer((GPT2,))
DIGITS_RULE = PreTokenizer((DIGIT, GPT2))
LLAMA3_RULE = PreTokenizer((LLAMA3,), whole_words=True, adds_bos=True)
QWEN2_RULE = PreTokenizer((QWEN2,))

PRE_TOKENIZERS = {
    "gpt-2": GPT2_RULE,
    "trillion": GPT2_RULE,
    "smollm": DIGITS_RULE,
    "starcoder": DIGITS_RULE,
    "refact": DIGITS_RULE,  # Granite's code models
    "minerva-7b": DIGITS_RULE,
    "llama-bpe": LLAMA3_RULE,
    "llama3": LLAMA3_RULE,
    "llama-v3": LLAMA3_RULE,
    "falcon3": LLAMA3_RULE,
    "pixtral": LLAMA3_RULE,
    "midm-2.0": LLAMA3_RULE,
    "smaug-bpe": PreTokenizer((LLAMA3,)),
    "qwen2": QWEN2_RULE,
    "deepseek-r1-qwen": QWEN2_RULE,
    "megrez": QWEN2_RULE,
    "seed-coder": PreTokenizer((SEED,)),
    "tekken": PreTokenizer((TEKKEN,), whole_words=True, adds_bos=True),
    "deepseek-llm": PreTokenizer(
        (NEWLINE, rf"\s?[{CASED}]+", PUNCTUATION, r"\s+$", CJK, r"\p{N}+")
    ),
    "deepseek-coder": PreTokenizer((NEWLINE, r"\s?\p{L}+", r"\s?\p{P}+", CJK, DIGIT)),
}


def pre_tokenizer(name: object, source: Path) -> PreTokenizer:
    """The rule of that name, or TokenizerError with the names that are known."""
    if name in PRE_TOKENIZERS:
        return PRE_TOKENIZERS[str(name)]
    given = "is missing" if name is None else f"{shown(name)} is not known"
    raise TokenizerError(
        f"{source}: the pre-tokenizer tokenizer.ggml.pre {given}; "
        f"known are {', '.join(PRE_TOKENIZERS)}"
    )


# "ByteLevel" as tokenizer.json has it: bytes to letters, or letters to bytes, and nothing else.
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def as_json(rule: PreTokenizer) -> dict[str, Any]:
    """A rule as tokenizer.json writes it: one cut after another, then bytes into BPE's letters."""
    cuts: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in rule.patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*cuts, BYTE_LEVEL]}
