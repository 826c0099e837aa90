"""transformers: its LlamaForCausalLM, in the steps of the golden."""

import sys

import numpy as np
import torch
from transformers import LlamaForCausalLM

model, tokens, steps, out, attention, dtype, pads = sys.argv[1:]
llama = LlamaForCausalLM.from_pretrained(
    model, dtype=getattr(torch, dtype), attn_implementation=attention
).eval()
ids = torch.tensor([[int(i) for i in tokens.split(",")]])
mask = (torch.arange(ids.shape[1]) >= int(pads)).long()[None]
positions = (mask.cumsum(1) - 1).clamp(min=0)
rows, cache, seen = [], None, 0
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        now, seen = positions[:, seen : seen + step.shape[1]], seen + step.shape[1]
        output = llama(
            step, mask[:, :seen], position_ids=now, past_key_values=cache, use_cache=True
        )
        cache = output.past_key_values
        rows.append(output.logits[0])
np.save(out + ".npy", torch.cat(rows).float().numpy())
