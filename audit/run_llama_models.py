"""llama-models: Meta's own Transformer. Its weights pair neighbours, so q and k are permuted."""

import json
import sys

import numpy as np
import torch
from fairscale.nn.model_parallel.initialize import initialize_model_parallel
from llama_models.llama3.args import ModelArgs
from llama_models.llama3.model import Transformer
from safetensors.torch import load_file

NAMES = """model.embed_tokens=tok_embeddings model.norm=norm model.layers=layers mlp=feed_forward
    post_attention_layernorm=ffn_norm input_layernorm=attention_norm self_attn=attention
    gate_proj=w1 down_proj=w2 up_proj=w3 q_proj=wq k_proj=wk v_proj=wv o_proj=wo lm_head=output"""
model, tokens, steps, out = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
dim, heads, width = hf["hidden_size"], hf["num_attention_heads"], hf["intermediate_size"]
if hf["head_dim"] * heads != dim or hf["rope_scaling"] or hf["attention_bias"]:
    sys.exit("its heads are dim / n_heads wide, without biases; only Llama 3.1 is scaled")
args = ModelArgs(dim=dim, n_heads=heads, n_kv_heads=hf["num_key_value_heads"], max_batch_size=1)
args.n_layers, args.norm_eps = hf["num_hidden_layers"], hf["rms_norm_eps"]
args.vocab_size, args.rope_theta, args.max_seq_len = hf["vocab_size"], hf["rope_theta"], 8192
args.multiple_of, args.ffn_dim_multiplier = width, width / int(8 * dim / 3)  # so that F is F
alone = {"store": torch.distributed.HashStore(), "rank": 0, "world_size": 1}
torch.distributed.init_process_group("gloo", **alone)  # its layers want a group
initialize_model_parallel(1)
llama, state = Transformer(args).eval(), {}
for name, weight in load_file(model + "/model.safetensors").items():
    if "q_proj" in name or "k_proj" in name:
        weight = weight.view(-1, 2, dim // heads // 2, dim).transpose(1, 2).reshape(-1, dim)
    for pair in NAMES.split():
        name = name.replace(*pair.split("="))
    state[name] = weight
llama.load_state_dict({"output.weight": state["tok_embeddings.weight"]} | state)
ids, rows, start = torch.tensor([[int(i) for i in tokens.split(",")]]), [], 0
for step in ids.split([int(n) for n in steps.split(",")], dim=1):
    rows.append(llama(step, start)[0])
    start += step.shape[1]
np.save(out + ".npy", torch.cat(rows).numpy())
