"""What the judge reads: goldens, kits, tables of names, and candidates of every kind."""

import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numpy_llama.formats.huggingface.safetensors import make_header
from numpy_llama.golden import check
from numpy_llama.golden.candidate.read import read_candidate
from numpy_llama.golden.kit.kit import read_kit
from numpy_llama.golden.record.bundle import Bundle, load
from numpy_llama.golden.record.disk import JSON, VALUES, text_of
from numpy_llama.golden.record.record import record
from numpy_llama.golden.record.show import describe
from numpy_llama.golden.report.text import as_text
from tests.fuzz.format import Build, Format
from tests.fuzz.mutate import mutated_bytes, mutated_json
from tests.models import random_model, tiny_config

CONFIG = tiny_config(n_layers=1, dim=8, hidden_dim=6, head_dim=4, n_heads=2, n_kv_heads=1)


@functools.cache
def golden() -> Bundle:
    """Of one layer, two tokens of prompt and a step; only what every candidate has."""
    model = random_model(CONFIG, dtype=np.float32)
    taps = ["embed", "layers.0.resid_post", "final_norm", "logits"]
    return record(model, [3, 5], 1, taps=taps, source="model")


def signed_again(raw: bytes) -> bytes:
    """With the hash of what it now says, as who forges one would."""
    try:
        content = json.loads(raw)
        content.pop("sha256", None)
        text = text_of(content).encode("utf-8", "surrogatepass")
        return json.dumps(content | {"sha256": hashlib.sha256(text).hexdigest()}).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return raw


def show(folder: Path) -> None:
    """Load a golden, and say all that there is to say of it."""
    bundle = load(folder)
    assert describe(bundle)
    assert all(array.dtype == np.float32 for array in bundle.values.values())


def golden_json(folder: Path) -> Format:
    golden().save(folder)

    def use(folder: Path, content: bytes) -> None:
        (folder / JSON).write_bytes(signed_again(content))
        show(folder)

    return Format((folder / JSON).read_bytes(), use, mutated_json)


def golden_values(folder: Path) -> Format:
    golden().save(folder)
    about = json.loads((folder / JSON).read_bytes())

    def use(folder: Path, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        forged = json.dumps(about | {"values_sha256": digest}).encode()
        (folder / JSON).write_bytes(signed_again(forged))
        (folder / VALUES).write_bytes(content)
        show(folder)
        logits = golden().values["logits"]
        as_text(check(load(folder), {"logits": logits}, name_mistakes=False))

    return Format((folder / VALUES).read_bytes(), use)


def kit_json(folder: Path) -> Format:
    entry = {
        "name": "tiny",
        "sentence": "of few sizes",
        "models": {"hf": "tiny/hf", "gguf": "tiny/model.gguf"},
        "not_held": {"llama2c": "has no biases"},
        "golden": "tiny/golden",
        "tokens_file": "tiny/tokens.txt",
        "tokens": [3, 5, 7],
        "steps": [2, 1],
        "prompt": 2,
        "pads": 1,
        "slow": False,
    }

    def use(folder: Path, content: bytes) -> None:
        (folder / "kit.json").write_bytes(content)
        for found in read_kit(folder):
            assert folder in found.golden.parents

    seed = json.dumps({"version": 2, "cases": [entry, entry | {"name": "other"}]}).encode()
    return Format(seed, use, mutated_json)


def judge(path: Path) -> None:
    """The verdict on what another program left, as text."""
    as_text(check(golden(), path, name_mistakes=False))


def candidate(name: str, seed: Callable[[], bytes], json_: bool = False) -> Build:
    """A candidate that is one file of this name."""

    def use(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        judge(folder / name)

    return lambda folder: Format(seed(), use, mutated_json if json_ else mutated_bytes)


def npz() -> bytes:
    np.savez(out := io.BytesIO(), allow_pickle=False, **golden().values)
    return out.getvalue()


def npy() -> bytes:
    np.save(out := io.BytesIO(), golden().values["logits"], allow_pickle=False)
    return out.getvalue()


def safetensors() -> bytes:
    arrays = [(name, "F32", array.shape, array) for name, array in golden().values.items()]
    return make_header(arrays, {}) + b"".join(a.tobytes() for *_, a in arrays)


def lists() -> bytes:
    values = {name: array.tolist() for name, array in golden().values.items()}
    scalars = {"final_norm": {"sum": 1.5, "first": [0.1, 0.2]}}
    return json.dumps(values | scalars | {"greedy": [3, 4], "tokens": [3, 5, 7]}).encode()


def floats() -> bytes:
    return golden().values["logits"].tobytes()


def text() -> bytes:
    last = golden().values["logits"][-1]
    return "".join(f"{i}: {value}\n" for i, value in enumerate(last)).encode()


def names(folder: Path) -> Format:
    """A table from the candidate's names to ours."""
    np.savez(folder / "c.npz", allow_pickle=False, out=golden().values["logits"])

    def use(folder: Path, content: bytes) -> None:
        (folder / "names.json").write_bytes(content)
        read_candidate(folder / "c.npz", 1, names=str(folder / "names.json"))

    return Format(b'{"out": "logits", "h.{i}": "layers.{i}.resid_post"}', use, mutated_json)


FORMATS: dict[str, Build] = {
    "golden.json": golden_json,
    "golden.safetensors": golden_values,
    "kit.json": kit_json,
    "candidate.npz": candidate("c.npz", npz),
    "candidate.npy": candidate("c.npy", npy),
    "candidate.safetensors": candidate("c.safetensors", safetensors),
    "candidate.json": candidate("c.json", lists, json_=True),
    "candidate.f32": candidate("c.f32", floats),
    "candidate.txt": candidate("c.txt", text),
    "names.json": names,
}
