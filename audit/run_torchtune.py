"""torchtune: its Llama 2, with the weights that its own converter makes."""

import json
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torchtune.models.convert_weights import hf_to_tune
from torchtune.models.llama2 import llama2

model, tokens, steps, out = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
heads, groups, dim = hf["num_attention_heads"], hf["num_key_value_heads"], hf["hidden_size"]
hf["head_dim"] * heads == dim or sys.exit("it takes head_dim for embed_dim / num_heads")
if hf["rope_scaling"] or hf["attention_bias"]:
    sys.exit("it has no biases, and only Llama 3.1's scaling of a context of 8192")
llama = llama2(
    hf["vocab_size"],
    hf["num_hidden_layers"],
    heads,
    groups,
    dim,
    max_seq_len=hf["max_position_embeddings"],
    intermediate_dim=hf["intermediate_size"],
    norm_eps=hf["rms_norm_eps"],
    rope_base=hf["rope_theta"],
).eval()
state = hf_to_tune(load_file(model + "/model.safetensors"), heads, groups, dim)
llama.load_state_dict({"output.weight": state["tok_embeddings.weight"]} | state)
ids, rows, start = torch.tensor([[int(i) for i in tokens.split(",")]]), [], 0
length = ids.shape[1]
llama.setup_caches(batch_size=1, dtype=torch.float32, decoder_max_seq_len=length)
causal = torch.tril(torch.ones(1, length, length, dtype=torch.bool))
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        at = torch.arange(start, start + step.shape[1])
        rows.append(llama(step, mask=causal[:, at], input_pos=at[None])[0])
        start += step.shape[1]
np.save(out + ".npy", torch.cat(rows).numpy())
