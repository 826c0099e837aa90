"""curated-transformers: the LlamaCausalLM that it makes of the directory's config and weights."""

import json
import sys

import numpy as np
import torch
from curated_transformers.layers import AttentionMask
from curated_transformers.models import LlamaCausalLM
from safetensors.torch import load_file

model, tokens, steps, out = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
if hf["head_dim"] * hf["num_attention_heads"] != hf["hidden_size"]:
    sys.exit("it takes head_dim for hidden_width / n_query_heads")
if hf["attention_bias"]:
    sys.exit("it has no biases for a Llama")
llama = LlamaCausalLM.from_hf_config(hf_config=hf).eval()
weights = load_file(model + "/model.safetensors")
weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])  # where they are tied
llama.load_state_dict(llama.state_dict_from_hf(weights))
ids = torch.tensor([[int(i) for i in tokens.split(",")]])
rows, cache, seen = [], None, 0
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        seen += step.shape[1]
        mask = AttentionMask(torch.ones(1, seen, dtype=torch.bool))
        output = llama(step, mask, cache=cache, store_cache=True)
        cache = output.cache
        rows.append(output.logits[0])
np.save(out + ".npy", torch.cat(rows).numpy())
