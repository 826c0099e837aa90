"""llama.c, compiled and run: the same model in C, which writes its taps with llama_tap.h."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from numpy_llama.config import LlamaConfig
from numpy_llama.formats.checkpoint import expected_shapes
from numpy_llama.golden.export.c_header import write_header
from numpy_llama.golden.replay.rows import by_key, tap_shape
from numpy_llama.rope_scaling import frequencies

SOURCE = Path(__file__).parent / "llama.c"
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")

compiler = shutil.which("cc")
keep: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def built(*flags: str) -> Path:
    """The program, compiled against the header that the package ships; it is gone at the end."""
    made = tempfile.TemporaryDirectory(prefix="golden-c-")
    keep.append(made)
    path = Path(made.name)
    write_header(path)
    files = [f"-I{path}", str(SOURCE), "-o", str(path / "llama"), "-lm"]
    subprocess.run([str(compiler), *FLAGS, *flags, *files], check=True)
    return path / "llama"


def write_model(
    path: Path, c: LlamaConfig, tensors: Mapping[str, np.ndarray], tokens: Sequence[int]
) -> None:
    """A model and tokens, as llama.c reads them."""
    sizes = [c.dim, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.hidden_dim, c.vocab_size]
    f, magnitude = frequencies(c, len(tokens))
    names = [name for name, _ in expected_shapes(c)]
    if c.tied_head:
        names.append("tok_embeddings")
    with open(path, "wb") as file:
        file.write(np.array([*sizes, len(tokens), c.attention_bias, c.mlp_bias], "<i4").tobytes())
        file.write(np.array([c.norm_eps, magnitude, *f], "<f4").tobytes())
        file.write(np.array(tokens, "<i4").tobytes())
        for name in names:
            file.write(np.ascontiguousarray(tensors[name], "<f4").tobytes())


def read_tap(path: Path, config: LlamaConfig, T: int) -> np.ndarray:
    """One tap of a dump; the probabilities of each row are of the keys that there were."""
    values = np.fromfile(path, "<f4")
    shape = tap_shape(path.stem, config, T)
    if not by_key(path.stem):
        return values.reshape(shape)
    square, at = np.zeros(shape, np.float32), 0
    for row in range(T):
        n = shape[0] * (row + 1)
        square[:, row, : row + 1] = values[at : at + n].reshape(shape[0], row + 1)
        at += n
    return square


def run_in_c(
    config: LlamaConfig, tensors: Mapping[str, np.ndarray], tokens: Sequence[int], *flags: str
) -> dict[str, np.ndarray]:
    """The taps of the program, compiled with these flags."""
    with tempfile.TemporaryDirectory(prefix="golden-c-") as made:
        model, dump = Path(made, "model"), Path(made, "dump")
        dump.mkdir()
        write_model(model, config, tensors, tokens)
        subprocess.run([built(*flags), model, dump], check=True)
        return {path.stem: read_tap(path, config, len(tokens)) for path in dump.glob("*.f32")}
