"""The four ways in which most Llamas were taught to converse, written without Jinja.

style    its markers                                            who uses it
llama2   [INST] [/INST] <<SYS>> <</SYS>>                        Llama 2 Chat, CodeLlama Instruct
llama3   <|start_header_id|> <|end_header_id|> <|eot_id|>       Llama 3 Instruct
chatml   <|im_start|> <|im_end|>                                SmolLM2, Yi, OpenHermes
zephyr   <|system|> <|user|> <|assistant|>                      TinyLlama Chat, Zephyr

They are used where they are asked for, and in place of the model's own template where Jinja is not
installed and that template is certainly one of them: see `recognise`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import InputError
from .messages import ROLES, Message, check_messages, message
from .template import Template


@dataclass(frozen=True)
class Words:
    """What a style needs to know of a model."""

    bos: str = ""
    eos: str = ""
    system: str = ""  # what the template says where the conversation has no system message


def chatml(messages: Sequence[Message], words: Words) -> str:
    """<|im_start|>user⏎Hello<|im_end|>⏎ … <|im_start|>assistant⏎"""
    if words.system and messages[0]["role"] != "system":
        messages = [message("system", words.system), *messages]
    turns = (f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
    return words.bos + "".join(turns) + "<|im_start|>assistant\n"


def llama3(messages: Sequence[Message], words: Words) -> str:
    """<|start_header_id|>user<|end_header_id|>⏎⏎Hello<|eot_id|> … then the assistant's header."""

    def header(role: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n"

    turns = (header(each["role"]) + each["content"].strip() + "<|eot_id|>" for each in messages)
    return words.bos + "".join(turns) + header("assistant")


def zephyr(messages: Sequence[Message], words: Words) -> str:
    """<|user|>⏎Hello</s>⏎ … <|assistant|>⏎"""
    turns = (f"<|{each['role']}|>\n{each['content']}{words.eos}\n" for each in messages)
    return words.bos + "".join(turns) + "<|assistant|>\n"


def llama2(messages: Sequence[Message], words: Words) -> str:
    """<s>[INST] Hello [/INST] Hi </s><s>[INST] … [/INST]

    The system message is a part of the first turn. Raises InputError unless the turns alternate,
    which no other style minds.
    """
    system = ""
    if messages[0]["role"] == "system":
        system = f"<<SYS>>\n{messages[0]['content']}\n<</SYS>>\n\n"
        messages = messages[1:]
    text = ""
    for place, each in enumerate(messages):
        if each["role"] != ("assistant" if place % 2 else "user"):
            raise InputError("Llama 2 converses in turns: user, assistant, user, …, user first")
        content = ("" if place else system) + each["content"]
        if each["role"] == "user":
            text += f"{words.bos}[INST] {content.strip()} [/INST]"
        else:
            text += f" {content.strip()} {words.eos}"
    return text


@dataclass(frozen=True)
class Style:
    """A way to write conversations, and what shows that a Jinja template is of it."""

    render: Callable[[Sequence[Message], Words], str]
    markers: tuple[str, ...]  # a template has all of them, and no words besides
    end: str = ""  # what comes after an answer; "": EOS
    trims: bool = False  # the white space around a content
    always_bos: bool = False  # else only where the template mentions it


STYLES = {
    "llama2": Style(
        llama2, ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"), trims=True, always_bos=True
    ),
    "llama3": Style(
        llama3,
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        end="<|eot_id|>",
        trims=True,
        always_bos=True,
    ),
    "chatml": Style(chatml, ("<|im_start|>", "<|im_end|>"), end="<|im_end|>"),
    "zephyr": Style(zephyr, ("<|system|>", "<|user|>", "<|assistant|>")),
}

TAG = re.compile(r"{%.*?%}|{{.*?}}", re.DOTALL)
LITERAL = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
RAISE = re.compile(r"raise_exception\([^()]*\)")
DEFAULT_SYSTEM = re.compile(r"<\|im_start\|>system\n(.+?)<\|im_end\|>\n", re.DOTALL)


def texts_of(source: str) -> list[str]:
    """The texts that a Jinja template can write: what is outside its tags, and literals in them."""
    source = RAISE.sub("", source)
    literals = [
        (single or double).replace("\\n", "\n")
        for tag in TAG.findall(source)
        for single, double in LITERAL.findall(tag)
    ]
    return [*TAG.split(source), *literals]


def is_made_of(texts: Sequence[str], markers: Sequence[str]) -> bool:
    """Whether `texts` have each of `markers`, and besides them only roles and field names."""
    known = [*markers, *ROLES, "role", "content"]
    words = re.compile("|".join(re.escape(word) for word in sorted(known, key=len, reverse=True)))
    everything = "\0".join(texts)
    rest = words.sub("", everything)
    return all(marker in everything for marker in markers) and not rest.strip(" \n\0")


def recognise(source: str) -> tuple[str, str] | None:
    """The style that a Jinja template certainly is of, and its default system message ("": none).

    Every text in the template must be one of the style's: one that also writes a date, as Llama
    3.1's, or tools, as Qwen's, would be rendered wrongly and is not recognised.
    """
    texts = texts_of(source)
    system = ""
    if "!= 'system'" in source and (found := DEFAULT_SYSTEM.search("\0".join(texts))):
        system = found[1]
        texts = [text.replace(found[0], "") for text in texts]
    trims = re.search(r"\|\s*trim|\.strip\(\)", source) is not None
    for name, style in STYLES.items():
        if trims == style.trims and is_made_of(texts, style.markers):
            return (name, system) if name == "chatml" or not system else None
    return None


class BuiltInTemplate(Template):
    """One of STYLES."""

    def __init__(self, name: str, words: Words):
        self.name = f"{name} (built in)"
        self.style, self.words = STYLES[name], words
        self.ends = (self.style.end,) if self.style.end else ()

    def render(self, messages: Sequence[Message]) -> str:
        return self.style.render(check_messages(messages), self.words)


def stand_in(source: str, bos: str, eos: str) -> BuiltInTemplate | None:
    """The built-in template that does what the Jinja template `source` does, None without one."""
    if (found := recognise(source)) is None:
        return None
    name, system = found
    writes_bos = STYLES[name].always_bos or "bos_token" in source
    return BuiltInTemplate(name, Words(bos if writes_bos else "", eos, system))
