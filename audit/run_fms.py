"""ibm-fms: the LLaMA that its own converter makes of the directory, with masks as it wants them."""

import json
import sys

import numpy as np
import torch
from fms.models import get_model

model, tokens, steps, out = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
if hf["head_dim"] * hf["num_attention_heads"] != hf["hidden_size"]:
    sys.exit("it takes head_dim for emb_dim / nheads")
llama = get_model("hf_pretrained", model_path=model, data_type=torch.float32).eval()
ids = torch.tensor([[int(i) for i in tokens.split(",")]])
causal = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
rows, cache, start = [], None, 0
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        end = start + step.shape[1]
        more = {"mask": causal[:, start:end, :end], "position_ids": torch.arange(start, end)[None]}
        logits, cache = llama(step, past_key_value_states=cache, use_cache=True, **more)
        rows.append(logits[0])
        start = end
np.save(out + ".npy", torch.cat(rows).numpy())
