"""The stages of the course, in order: their functions, what they build on, how they are tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

SOLUTIONS = Path(__file__).with_name("solutions")


@dataclass(frozen=True)
class Stage:
    """One file of the course."""

    name: str
    title: str
    functions: tuple[str, ...]  # and classes, in the order in which they are to be written
    cases: tuple[str, ...]  # of the conformance kit, on which the whole model is run
    needs: tuple[str, ...] = ()  # the stages that its file imports
    gives: tuple[str, ...] = ("*",)  # the taps that decide whether it is right

    @property
    def file(self) -> str:
        return f"{self.name}.py"

    @property
    def solution(self) -> str:
        """The text of a right file."""
        return (SOLUTIONS / self.file).read_text(encoding="utf-8")


STAGES = (
    Stage("norm", "RMSNorm", ("rms", "rms_norm"), ("gqa", "tiny-norms")),
    Stage("rope", "positions, by rotation", ("angles", "rotate"), ("gqa", "head-dim")),
    Stage(
        "attention",
        "attention with grouped heads",
        ("attention_scores", "softmax", "causal_mask", "attend"),
        ("gqa", "mqa-tied", "head-dim", "chunks"),
    ),
    Stage("kv_cache", "the KV cache", ("KVCache",), ("gqa", "chunks")),
    Stage("feed_forward", "SwiGLU", ("swish", "swiglu", "feed_forward"), ("gqa",)),
    Stage(
        "block",
        "one block",
        ("project", "multi_head", "block"),
        ("gqa", "head-dim", "chunks"),
        ("norm", "rope", "attention", "kv_cache", "feed_forward"),
        ("*.resid_post", "logits"),
    ),
    Stage(
        "model",
        "the whole model",
        ("forward",),
        ("gqa", "mqa-tied"),
        ("norm", "rope", "attention", "kv_cache", "feed_forward", "block"),
        ("logits",),
    ),
)
NAMES = tuple(stage.name for stage in STAGES)


def find_stage(name: str) -> Stage:
    """The stage of that name, with or without `.py`. Raises InputError."""
    for stage in STAGES:
        if name in (stage.name, stage.file):
            return stage
    raise InputError(f"there is no stage {name!r}; there are {', '.join(NAMES)}")


def with_needs(chosen: Sequence[str]) -> list[Stage]:
    """Those stages and all that they build on, in the order of the course; all for none."""
    wanted = {need for name in chosen for need in (name, *find_stage(name).needs)}
    return [stage for stage in STAGES if not chosen or stage.name in wanted]
