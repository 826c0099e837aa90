"""From token ids to text, one at a time: characters whole, spaces neither lost nor added."""

import codecs
from collections.abc import Callable
from typing import SupportsIndex

ALL_SPACES = 1 << 62  # as `strip`: every space that the text begins with


class TextStream:
    """A decoder that is pushed ids and gives the text that each of them completes.

    Ids are turned into bytes, not into text: a token may be half an emoji. Bytes wait until their
    character is complete; broken ones become U+FFFD, as in Python's "replace".
    strip: how many spaces to drop where the text begins; SentencePiece writes one there itself.
    """

    def __init__(self, bytes_of: Callable[[SupportsIndex], bytes], strip: int = 0):
        self._bytes_of = bytes_of
        self._strip = strip
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: SupportsIndex) -> str:
        """The text that `token` completes; often a word, "" inside a character."""
        return self._after_start(self._utf8.decode(self._bytes_of(token)))

    def finish(self) -> str:
        """What is left: U+FFFD once if the last character never came to its end, else ""."""
        return self._after_start(self._utf8.decode(b"", final=True))

    def _after_start(self, text: str) -> str:
        if not self._strip or not text:
            return text
        spaces = min(len(text) - len(text.lstrip(" ")), self._strip)
        # Once something other than a dropped space was seen, the text has begun.
        self._strip = self._strip - spaces if spaces == len(text) else 0
        return text[spaces:]
