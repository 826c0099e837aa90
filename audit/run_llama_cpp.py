"""llama.cpp, by the low-level functions of llama-cpp-python: every token's logits, on the CPU."""

import sys

import llama_cpp as lc
import numpy as np

model_path, tokens, steps, out, cache = sys.argv[1:]
tokens, steps = [int(i) for i in tokens.split(",")], [int(n) for n in steps.split(",")]
settings = lc.llama_model_default_params()
settings.n_gpu_layers = 0
model = lc.llama_model_load_from_file(model_path.encode(), settings)
settings = lc.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch = len(tokens) + 8, max(steps), max(steps)
if cache == "f32":  # the defaults: a cache in float16, and flash attention where it can be
    settings.type_k = settings.type_v = lc.GGML_TYPE_F32
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
    if lc.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")
    for i in range(n):
        row = lc.llama_get_logits_ith(context, i)
        rows.append(np.ctypeslib.as_array(row, (vocabulary,)).copy())
    start += n
np.save(out + ".npy", np.stack(rows))
