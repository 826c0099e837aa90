"""transformers 4: as it was before its rewritings; a static cache and torch.compile, if asked."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

model, tokens, steps, out, attention, cache, dtype = sys.argv[1:]
hf = json.loads(Path(model, "config.json").read_text())
version = tuple(int(n) for n in transformers.__version__.split(".")[:2])
if version < (4, 43) and (scaling := hf["rope_scaling"]):  # two fields alone, of other names
    if scaling["rope_type"] not in ("linear", "dynamic"):
        sys.exit(f"it has no rope type {scaling['rope_type']!r}")
    hf["rope_scaling"] = {"type": scaling["rope_type"], "factor": scaling["factor"]}
if version < (4, 46) and hf["head_dim"] * hf["num_attention_heads"] != hf["hidden_size"]:
    sys.exit("it takes head_dim for hidden_size / num_attention_heads")
if version < (4, 44) and hf["mlp_bias"]:
    sys.exit("it has no biases in the feed-forward")
config = LlamaConfig(**hf)
how = {"attn_implementation": attention} if version >= (4, 36) else {}
llama = LlamaForCausalLM.from_pretrained(
    model, config=config, torch_dtype=getattr(torch, dtype), **how
).eval()
ids = torch.tensor([[int(i) for i in tokens.split(",")]])
rows, seen = [], 0
past = None
if cache == "static":
    from transformers import StaticCache

    past = StaticCache(config, 1, max_cache_len=ids.shape[1], device="cpu", dtype=llama.dtype)
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        at = torch.arange(seen, seen + step.shape[1])
        more = {"cache_position": at} if cache == "static" else {}
        output = llama(step, past_key_values=past, use_cache=True, **more)
        past = output.past_key_values
        rows.append(output.logits[0])
        seen += step.shape[1]
np.save(out + ".npy", torch.cat(rows).float().numpy())
