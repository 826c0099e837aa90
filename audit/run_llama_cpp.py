"""llama.cpp, by the low-level functions of llama-cpp-python: every token's logits, on the CPU."""

import sys

import llama_cpp as lc
import numpy as np

path, tokens, steps, out, cache, kind = sys.argv[1:]
tokens, steps = [int(i) for i in tokens.split(",")], [int(n) for n in steps.split(",")]
made = path if kind == "f32" else f"{path}.{kind}"
if made != path:  # by its own quantiser
    settings = lc.llama_model_quantize_default_params()
    settings.ftype = getattr(lc, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    lc.llama_model_quantize(path.encode(), made.encode(), settings)
settings = lc.llama_model_default_params()
settings.n_gpu_layers = 0
model = lc.llama_model_load_from_file(made.encode(), settings)
settings = lc.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch = len(tokens) + 8, max(steps), max(steps)
if cache != "f16":  # the defaults: a cache in float16, and flash attention where it can be
    settings.type_k = settings.type_v = getattr(lc, f"GGML_TYPE_{cache.upper()}")
if cache == "f32":
    settings.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
context = lc.llama_init_from_model(model, settings)
vocabulary = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
rows, start = [], 0
for n in steps:
    batch = lc.llama_batch_init(n, 0, 1)
    batch.n_tokens = n
    for i in range(n):
        batch.token[i], batch.pos[i], batch.logits[i] = tokens[start + i], start + i, 1
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
    if lc.llama_decode(context, batch):
        sys.exit("llama_decode failed")
    read = (lc.llama_get_logits_ith(context, i) for i in range(n))
    rows += [np.ctypeslib.as_array(row, (vocabulary,)).copy() for row in read]
    start += n
np.save(out + ".npy", np.stack(rows))
