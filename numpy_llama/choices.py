"""The names that options choose from: for the commands, and for the code that acts on them.

No NumPy here: so `--help` can list them without loading it.
"""

from typing import Literal

DTYPES = ("float32", "float64")  # that a model is computed in
DEVICES = ("cpu", "cuda", "auto")
Target = Literal["keep", "f32", "f16", "bf16"]  # the dtype of tensors that `convert` writes
RopeLayout = Literal["adjacent", "half-split"]  # how wq and wk keep RoPE's pairs; see rope.py

MOST_POSITIONS = 1 << 31  # of a context: sizes of arrays are products of it, in 64 bits
TASKS = ("generate", "logits", "score")  # of a batch
# By which each library of linear algebra is told how many threads to use, before it is loaded.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)

# Of golden outputs.
CANDIDATE_DTYPES = ("float32", "bfloat16", "float16", "float64")  # that a candidate computed in
EXPORTS = ("npy", "npz", "f32", "hex", "c", "json")  # the formats that a golden is written in
MODEL_FORMATS = ("hf", "gguf", "llama2c")  # the formats that a kit has its models in
