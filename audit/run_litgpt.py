"""litgpt: its GPT with a Llama's config. Its converter knows no biases, so the names are ours."""

import json
import sys

import numpy as np
import torch
from litgpt import GPT, Config
from safetensors.torch import load_file

NAMES = """model.layers=transformer.h model.embed_tokens=transformer.wte up_proj=fc_2 gate_proj=fc_1
    post_attention_layernorm=norm_2 input_layernorm=norm_1 model.norm=transformer.ln_f
    self_attn.o_proj=attn.proj self_attn.q_proj=attn.qkv down_proj=proj"""
FIELDS = """n_layer=num_hidden_layers n_head=num_attention_heads n_query_groups=num_key_value_heads
    n_embd=hidden_size head_size=head_dim bias=attention_bias norm_eps=rms_norm_eps
    rope_base=rope_theta padded_vocab_size=vocab_size intermediate_size=intermediate_size
    block_size=max_position_embeddings"""
model, tokens, steps, out = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
if scaling := hf["rope_scaling"]:
    scaling["rope_type"] != "dynamic" or sys.exit("it has no dynamic NTK scaling")
    scaling["original_max_seq_len"] = scaling.get("original_max_position_embeddings")
    scaling["mscale"] = 1.0  # YaRN's own factor, 0.1 ln s + 1; without it there is none
fixed = {"norm_class_name": "RMSNorm", "mlp_class_name": "LLaMAMLP", "rotary_percentage": 1.0}
fixed |= {ours: hf[theirs] for ours, theirs in (pair.split("=") for pair in FIELDS.split())}
gpt = GPT(Config(**fixed, parallel_residual=False, rope_adjustments=scaling)).eval()
weights, state = load_file(model + "/model.safetensors"), {}
for name in [n for n in weights if "k_proj" not in n and "v_proj" not in n]:
    parts, called = [name.replace("q_proj", p) for p in ("q_proj", "k_proj", "v_proj")], name
    for pair in NAMES.split():
        called = called.replace(*pair.split("="))
    state[called] = torch.cat([weights[p] for p in (parts if "q_proj" in name else [name])])
gpt.load_state_dict({"lm_head.weight": state["transformer.wte.weight"]} | state)
gpt.set_kv_cache(1)
ids, rows, start = torch.tensor([[int(i) for i in tokens.split(",")]]), [], 0
with torch.no_grad():
    for step in ids.split([int(n) for n in steps.split(",")], dim=1):
        rows.append(gpt(step, torch.arange(start, start + step.shape[1]))[0])
        start += step.shape[1]
np.save(out + ".npy", torch.cat(rows).numpy())
