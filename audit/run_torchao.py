"""transformers, its linear layers in int8 by torchao."""

import sys

import numpy as np
import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import LlamaForCausalLM

path, tokens, steps, out = sys.argv[1:]
tokens, steps = [int(i) for i in tokens.split(",")], [int(n) for n in steps.split(",")]
torch.set_grad_enabled(False)
torch.set_num_threads(1)
model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
quantize_(model, Int8WeightOnlyConfig())
cache, rows, start = None, [], 0
for n in steps:
    came = model(torch.tensor([tokens[start : start + n]]), past_key_values=cache, use_cache=True)
    cache, start = came.past_key_values, start + n
    rows.append(came.logits[0].numpy())
np.save(out + ".npy", np.concatenate(rows))
