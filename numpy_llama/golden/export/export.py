"""A golden in the formats that other languages read.

npy   a directory of NumPy files             hex   a directory of words for $readmemh
npz   one NumPy archive                      c     one header with arrays
f32   a directory of raw little-endian float32, with a JSON index
json  one file of nested lists
"""

import fnmatch
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...choices import EXPORTS
from ...errors import InputError
from ...formats.storage.directory import new_directory
from ...formats.storage.files import new_file, write_json
from ...taps import tap_axes
from ...wording import did_you_mean
from ..record.bundle import Bundle
from .hex_words import hex_words, parse_encoding

Taps = Mapping[str, np.ndarray]

INDEX = "index.json"


def description(bundle: Bundle, taps: Taps) -> dict[str, Any]:
    """What whoever reads the files has to know besides the values."""
    return {
        "tokens": list(bundle.schedule.tokens),
        "steps": list(bundle.schedule.steps),
        "greedy": list(bundle.greedy),
        "taps": {
            name: {"shape": list(array.shape), "axes": " ".join(tap_axes(name))}
            for name, array in taps.items()
        },
    }


def write_index(directory: Path, content: Mapping[str, Any]) -> None:
    """The JSON index of a directory."""
    write_json(directory / INDEX, content, indent=1)


def export_npy(bundle: Bundle, taps: Taps, directory: Path) -> str:
    for name, array in taps.items():
        np.save(file := io.BytesIO(), array, allow_pickle=False)  # to a file, it hides the errno
        (directory / f"{name}.npy").write_bytes(file.getbuffer())
    write_index(directory, description(bundle, taps))
    return "float32"


def export_f32(bundle: Bundle, taps: Taps, directory: Path) -> str:
    for name, array in taps.items():
        (directory / f"{name}.f32").write_bytes(array.astype("<f4").tobytes())
    detail = "IEEE 754 binary32, little-endian, the last axis fastest, no header"
    write_index(directory, {"encoding": detail, **description(bundle, taps)})
    return detail


def export_hex(bundle: Bundle, taps: Taps, directory: Path, word: str) -> str:
    encoding = parse_encoding(word)
    outside = {}
    for name, array in taps.items():
        words, outside[name] = encoding.encode(np.ascontiguousarray(array, np.float32))
        (directory / f"{name}.hex").write_bytes(hex_words(words, encoding.digits))
    tokens = np.array(bundle.schedule.tokens)
    (directory / "tokens.hex").write_bytes(hex_words(tokens, 8))
    saturated = {name: count for name, count in outside.items() if count}
    about = {"word": word, "encoding": encoding.detail, "digits": encoding.digits}
    write_index(directory, about | {"saturated": saturated} | description(bundle, taps))
    lost = f"; {sum(saturated.values())} values did not fit" if saturated else ""
    return encoding.detail + lost


def c_literal(value: float) -> str:
    """A float32 such that a C compiler reads the same bits: nine digits suffice."""
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def c_array(declaration: str, items: list[str]) -> str:
    """A definition of an array, eight items a line."""
    lines = (", ".join(items[i : i + 8]) for i in range(0, len(items), 8))
    return f"{declaration} = {{\n" + ",\n".join(f"  {line}" for line in lines) + "\n};\n"


def export_c(bundle: Bundle, taps: Taps, file: BinaryIO) -> str:
    """One header. Taps are flat arrays, the last axis fastest; GOLDEN_… give their sizes."""
    schedule, config = bundle.schedule, bundle.config
    sizes = {
        "ROWS": len(schedule.tokens),
        "PROMPT": schedule.prompt,
        "DIM": config.dim,
        "LAYERS": config.n_layers,
        "HEADS": config.n_heads,
        "KV_HEADS": config.n_kv_heads,
        "HEAD_DIM": config.head_dim,
        "HIDDEN_DIM": config.hidden_dim,
        "VOCAB": config.vocab_size,
    }
    text = ["#ifndef LLAMA_GOLDEN_H\n#define LLAMA_GOLDEN_H\n#include <stdint.h>\n"]
    text += [f"#define GOLDEN_{name} {size}" for name, size in sizes.items()]
    for name, ids in (("tokens", schedule.tokens), ("greedy", bundle.greedy)):
        text.append(c_array(f"static const int32_t golden_{name}[{len(ids)}]", [*map(str, ids)]))
    file.write("\n".join(text).encode())
    for name, array in taps.items():
        shape = " x ".join(map(str, array.shape))
        file.write(f"\n/* {name}: {' '.join(tap_axes(name))} = {shape} */\n".encode())
        items = [c_literal(value) for value in array.reshape(-1).tolist()]
        what = f"static const float golden_{name.replace('.', '_')}[{array.size}]"
        file.write(c_array(what, items).encode())
    file.write(b"\n#endif\n")
    return "float32, nine digits: the same bits"


def export_json(bundle: Bundle, taps: Taps, file: BinaryIO) -> str:
    """One object: the ids, and each tap as nested lists. `check` reads the same."""
    about = description(bundle, taps)
    values = {name: array.tolist() for name, array in taps.items()}
    file.write(json.dumps({key: about[key] for key in ("tokens", "greedy")} | values).encode())
    file.write(b"\n")
    return "float32, as the shortest decimals of the same doubles"


def export_npz(bundle: Bundle, taps: Taps, file: BinaryIO) -> str:
    ids = {"tokens": np.array(bundle.schedule.tokens), "greedy": np.array(bundle.greedy)}
    np.savez(file, allow_pickle=False, **ids, **taps)
    return "float32"


def chosen_taps(bundle: Bundle, patterns: list[str]) -> list[str]:
    """The taps of a golden that match any of the patterns. Raises InputError for one without."""
    names: dict[str, None] = {}
    for pattern in patterns:
        matching = fnmatch.filter(bundle.values, "*" if pattern == "all" else pattern)
        if not matching:
            like = did_you_mean(pattern, bundle.values)
            raise InputError(
                f"no tap of this golden matches {pattern!r}{like}; `golden show` tells more"
            )
        names.update(dict.fromkeys(matching))
    return [name for name in bundle.values if name in names]


DIRECTORIES = {"npy": export_npy, "f32": export_f32}
FILES = {"npz": export_npz, "c": export_c, "json": export_json}


def export(
    bundle: Bundle,
    target: str | Path,
    to: str,
    taps: list[str] | None = None,
    word: str = "float32",
    force: bool = False,
) -> str:
    """Write a golden to `target` in one of EXPORTS; returns how numbers are encoded.

    taps: patterns (default: all that were recorded). word: of "hex" (see `parse_encoding`).
    Raises InputError for an unknown format, word or pattern, and for a target that is there.
    """
    if to not in EXPORTS:
        raise InputError(f"{to!r} is not one of {', '.join(EXPORTS)}")
    chosen = chosen_taps(bundle, taps or ["all"])
    values = Chosen(bundle.values, chosen)
    target = Path(target)
    if to in FILES:
        with new_file(target, force) as file:
            return FILES[to](bundle, values, file)
    parse_encoding(word)  # before anything is made
    with new_directory(target, INDEX, force) as directory:
        if to == "hex":
            return export_hex(bundle, values, directory, word)
        return DIRECTORIES[to](bundle, values, directory)


class Chosen(Mapping[str, np.ndarray]):
    """Some taps of a golden, each read when its turn comes."""

    def __init__(self, values: Taps, names: list[str]):
        self.values_of, self.names = values, names

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values_of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
