"""A tokenizer with the control tokens of chats, and conversations to try."""

import json
from functools import cache
from pathlib import Path

import pytest

from numpy_llama.chat import message
from numpy_llama.tokenizers import Settings, Tokenizer

CONTROL = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
TEXT = "the quick brown fox; Hello there. I am fine, user assistant system who are you? " * 4


@cache
def chat_tokenizer(template: str | None = None, adds_bos: bool = False) -> Tokenizer:
    """A byte-level BPE of 400 tokens whose BOS is <s>; an answer ends with </s>."""
    tokenizers = pytest.importorskip("tokenizers")
    from numpy_llama.tokenizers.bpe import BytePairTokenizer

    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    engine.pre_tokenizer = byte_level(add_prefix_space=False, use_regex=True)
    engine.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROL,
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator([TEXT], trainer)
    spec = json.dumps(json.loads(engine.to_str()))
    settings = Settings(bos_id=0, eos_ids=(1,), adds_bos=adds_bos, chat_template=template)
    return BytePairTokenizer(spec, settings, Path("tokenizer.json"))


def user(content: str) -> dict[str, str]:
    return message("user", content)


def assistant(content: str) -> dict[str, str]:
    return message("assistant", content)


def system(content: str) -> dict[str, str]:
    return message("system", content)


CONVERSATIONS = {
    "one turn": [user("Hello")],
    "a system message": [system("Be brief."), user("Hello")],
    "three turns": [user("A"), assistant("B"), user("C"), assistant("D"), user("E")],
    "three turns and a system message": [
        system("Be\n\nbrief."),
        user("A"),
        assistant("B"),
        user("C"),
        assistant("D"),
        user("E"),
    ],
    "white space": [system(" s\n"), user("\n  A \t"), assistant(" B "), user("C\n\n")],
    "other scripts": [user("Wie heißt du? 你好 🦙"), assistant("مرحبا"), user("{{ 1 + 1 }} <b>&")],
    "nothing": [user(""), assistant(""), user("")],
}
