"""llama-np info: what a model is, and what running it needs."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import model_option
from .options.help import Command

if TYPE_CHECKING:
    from ..formats import Checkpoint


def about_tokenizer(path: Path) -> dict[str, Any]:
    """What the vocabulary of a model is, or why it cannot be read."""
    from ..errors import LlamaError
    from ..tokenizers import load_tokenizer

    try:
        tokenizer = load_tokenizer(path)
    except LlamaError as error:
        return {"error": str(error)}
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "bos_id": tokenizer.bos_id,
        "eos_ids": list(tokenizer.eos_ids),
        "adds_bos": tokenizer.adds_bos,
    }


def about_values(checkpoint: "Checkpoint") -> dict[str, Any]:
    """What reading every weight shows."""
    from ..loading.weights import count_not_finite

    return {"not_finite": count_not_finite(checkpoint)}


def describe(path: Path, check: bool = False) -> dict[str, Any]:
    """Everything that `info` prints, as plain values; bytes are bytes."""
    from ..formats import open_checkpoint
    from ..loading.memory import weight_memory
    from ..loading.streamed_matrix import TO_F32

    checkpoint = open_checkpoint(path)
    config = checkpoint.config
    parameters = sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())
    halves = {name for name, tensor in checkpoint.tensors.items() if tensor.dtype in TO_F32}
    need = weight_memory(config, halves=halves)
    return {
        "path": str(path),
        "format": checkpoint.format,
        "config": asdict(config),
        "parameters": parameters,
        "dtypes": sorted({tensor.dtype for tensor in checkpoint.tensors.values()}),
        "bytes_stored": checkpoint.nbytes,
        "bytes_resident": need.resident,  # as float32
        "bytes_streamed": need.streamed,  # with --stream
        "kv_cache_bytes_per_token": 2 * 4 * config.n_layers * config.n_kv_heads * config.head_dim,
        "tokenizer": about_tokenizer(path),
        **(about_values(checkpoint) if check else {}),
    }


def values_line(not_finite: dict[str, int]) -> str:
    """What --check found, for people: the first tensors, and how many more."""
    if not not_finite:
        return "all finite"
    first = [f"{count:,} in {name}" for name, count in list(not_finite.items())[:5]]
    more = f" and {len(not_finite) - 5} tensors more" if len(not_finite) > 5 else ""
    return f"not finite: {', '.join(first)}{more}"


def attention_kind(heads: int, kv_heads: int) -> str:
    """What the field calls this many key/value heads."""
    if kv_heads == heads:
        return "multi-head"
    return "multi-query" if kv_heads == 1 else "grouped-query"


def config_lines(config: dict[str, Any]) -> list[tuple[str, str]]:
    """The hyper-parameters for people."""
    heads, kv_heads = config["n_heads"], config["n_kv_heads"]
    head = "tied to the embeddings" if config["tied_head"] else "of its own"
    scaling = config["rope_scaling"]
    rope = f"theta {config['rope_theta']:g}, {scaling['type']}"
    if scaling["type"] != "default":
        rope += f", factor {scaling['factor']:g}"
    kind = attention_kind(heads, kv_heads)
    return [
        (
            "layers",
            f"{config['n_layers']} of dim {config['dim']}, hidden_dim {config['hidden_dim']}",
        ),
        (
            "heads",
            f"{heads} of head_dim {config['head_dim']} on {kv_heads} key/value heads ({kind})",
        ),
        ("vocabulary", f"{config['vocab_size']:,} tokens, head {head}"),
        ("context", f"{config['max_context']:,} positions"),
        ("RoPE", rope),
        ("norm_eps", f"{config['norm_eps']:g}"),
    ]


def memory_lines(about: dict[str, Any]) -> list[tuple[str, str]]:
    """What it takes, for people."""
    from ..loading.memory import human

    a_token, positions = about["kv_cache_bytes_per_token"], about["config"]["max_context"]
    resident, streamed = human(about["bytes_resident"]), human(about["bytes_streamed"])
    return [
        ("weights", f"{human(about['bytes_stored'])} stored"),
        ("memory", f"{resident} as float32, {streamed} with --stream"),
        (
            "KV cache",
            f"{human(a_token)} a token, {human(a_token * positions)} for the whole context",
        ),
    ]


def tokenizer_line(tokenizer: dict[str, Any]) -> str:
    """The vocabulary for people, or why there is none."""
    if "error" in tokenizer:
        return str(tokenizer["error"])
    added = "added" if tokenizer["adds_bos"] else "not added"
    ends = ", ".join(map(str, tokenizer["eos_ids"])) or "none"
    size = f"{tokenizer['vocab_size']:,} tokens"
    return f"{tokenizer['kind']}, {size}, BOS {tokenizer['bos_id']} {added}, EOS {ends}"


def lines(about: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people: a label and a value each."""
    shown = [
        ("path", about["path"]),
        ("format", f"{about['format']} ({', '.join(about['dtypes'])})"),
        ("parameters", f"{about['parameters']:,}"),
        *config_lines(about["config"]),
        *memory_lines(about),
        ("tokenizer", tokenizer_line(about["tokenizer"])),
    ]
    if "not_finite" in about:
        shown.append(("values", values_line(about["not_finite"])))
    return shown


@click.command(cls=Command)
@click.argument("model_argument", metavar="MODEL", required=False)
@model_option
@click.option(
    "--json", "as_json", is_flag=True, help="The same as a JSON object, bytes as numbers."
)
@click.option(
    "--check",
    is_flag=True,
    help="Read every weight, and exit 1 if any is NaN or infinite.",
)
def info(model_argument: str | None, model: str | None, as_json: bool, check: bool) -> None:
    """What MODEL is, and what running it needs. Reads headers only, unless --check."""
    from ..store.find import find_model

    about = describe(find_model(model_argument or model), check)
    if as_json:
        print(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        for label, value in lines(about):
            print(f"{label:<11} {value}")
    if about.get("not_finite"):
        raise SystemExit(1)
