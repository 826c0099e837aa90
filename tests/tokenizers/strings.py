"""3,200 strings that tokenizers get wrong, the same on every machine and every Python.

`random.Random` promises the same sequence for `random()` alone, so all choices go through it.
"""

import hashlib
import random

N_STRINGS = 3200

# First and last character of stretches of Unicode, several scripts and what lies between them.
STRETCHES = {
    "ascii": (0x20, 0x7E),
    "letters": (0x61, 0x7A),
    "capitals": (0x41, 0x5A),
    "digits": (0x30, 0x39),
    "latin": (0xC0, 0x24F),
    "greek": (0x391, 0x3C9),
    "cyrillic": (0x410, 0x44F),
    "armenian": (0x561, 0x586),
    "hebrew": (0x5D0, 0x5EA),
    "arabic": (0x620, 0x64A),
    "arabic digits": (0x660, 0x669),
    "devanagari": (0x904, 0x94D),
    "bengali": (0x985, 0x9B9),
    "tamil": (0xB85, 0xBCD),
    "thai": (0xE01, 0xE3A),
    "georgian": (0x10D0, 0x10F0),
    "hangul": (0xAC00, 0xD7A3),
    "hiragana": (0x3041, 0x3096),
    "katakana": (0x30A1, 0x30FA),
    "han": (0x4E00, 0x9FA5),
    "full width": (0xFF01, 0xFF5E),
    "punctuation": (0x2010, 0x205E),
    "symbols": (0x2190, 0x23FF),
    "combining": (0x300, 0x36F),
    "emoji": (0x1F300, 0x1F64F),
    "mathematical": (0x1D400, 0x1D4FF),
    "controls": (0x01, 0x1F),
    "more controls": (0x7F, 0x9F),
    "numbers": (0x2150, 0x218B),
}
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\v",
    "\f",
]
FIXED = [
    "",
    " ",
    "  leading and trailing  ",
    "I'm you're he's we've they'll I'd can't DON'T IT'S",
    "ｆｕｌｌ　ｗｉｄｔｈ １２３",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 ½ ² ٣ 四",
    "def f(x):\n    return x ** 2  # square\n\n\n\tpass\r\n",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️",
    "e\u0301 \u00e9 ﬁ ﬀ Å \u212b \u2126",
    "<|im_start|>user\nhi<|im_end|> <s> </s> <|endoftext|> [INST]",
    "zero\u200bwidth\u200djoiner \ufeff mark",
    "日本語と한국어 и русский και ελληνικά עברית العربية ไทย हिन्दी",
    "http://example.com/a_b?c=d&e=%20#f ~/x/y.tar.gz C:\\dir",
    "!!!??? ... --- === *** ((([[[{{{<<<>>>}}}]]])))",
    "CamelCase snake_case kebab-case SHOUT miXeD x1y2z3",
    "a" * 300,
    " " * 100,
    "\n" * 20,
    "ab " * 50,
    "\u2581under\u2581score",
]


def pick(chance: random.Random, items: list) -> object:
    """One of `items`."""
    return items[int(chance.random() * len(items))]


def word(chance: random.Random, stretch: tuple[int, int]) -> str:
    """Up to nine characters of one stretch."""
    first, last = stretch
    length = 1 + int(chance.random() * 9)
    return "".join(chr(first + int(chance.random() * (last - first + 1))) for _ in range(length))


def sentence(chance: random.Random) -> str:
    """Up to twelve words, half of them from the Latin alphabet, with all kinds of space between."""
    stretches, parts = list(STRETCHES.values()), []
    for _ in range(1 + int(chance.random() * 12)):
        plain = chance.random() < 0.5
        parts.append(word(chance, STRETCHES["letters"] if plain else pick(chance, stretches)))
        if chance.random() < 0.7:
            parts.append(" " if chance.random() < 0.7 else pick(chance, SPACES))
    return "".join(parts)


def strings(count: int = N_STRINGS) -> list[str]:
    """The fixed strings, then random sentences."""
    chance = random.Random(20240719)
    return [*FIXED, *(sentence(chance) for _ in range(count - len(FIXED)))]


def digest(ids: list[int]) -> str:
    """Six hexadecimal digits that stand for a list of ids in a fixture."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:6]
