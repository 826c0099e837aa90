"""A trace page as a reader without a browser sees it: its elements, and its numbers unpacked."""

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np

from numpy_llama.show.packing import Packed, unpack

VOID = {"meta", "input", "br"}  # elements without an end


class TracePage(HTMLParser):
    """Elements by their tag, each with its attributes and its text; and the numbers."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[list[Any]] = []
        self.seen: list[list[Any]] = []
        self.feed(text)
        scripts = {attrs.get("id"): inside for attrs, inside in self.all("script")}
        self.head: dict[str, Any] = json.loads(scripts["head"])
        self.script: str = scripts[None]
        self.blob: str = scripts["blob"]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append([tag, dict(attrs), ""])
        if tag not in VOID:
            self.open.append(self.seen[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element[2] += data

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [(attrs, text) for name, attrs, text in self.seen if name == tag]

    def arrays(self) -> dict[str, np.ndarray]:
        return unpack(Packed(self.blob, self.head["arrays"]))
