"""keras-hub on JAX: the Llama that its own converter makes of the directory.

The converter leaves the norm's ε out: the word "eps" hands it over, as a careful user would.
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import keras_hub
import numpy as np

jax.config.update("jax_default_matmul_precision", "float32")
model, tokens, steps, out, *words = sys.argv[1:]
hf = json.load(open(model + "/config.json"))
if hf["attention_bias"]:
    sys.exit("it has no place for biases")
if hf["head_dim"] * hf["num_attention_heads"] != hf["hidden_size"]:
    sys.exit("it takes head_dim for hidden_dim / num_query_heads")
more = {"layer_norm_epsilon": hf["rms_norm_eps"]} if "eps" in words else {}
backbone = keras_hub.models.Llama3Backbone.from_preset(model, **more)
llama = keras_hub.models.Llama3CausalLM(backbone=backbone, preprocessor=None)
ids = np.array([[int(i) for i in tokens.split(",")]])
shape = (1, backbone.num_layers, 2, ids.shape[1], backbone.num_key_value_heads, hf["head_dim"])
cache, rows, start = np.zeros(shape, "float32"), [], 0
for n in map(int, steps.split(",")):
    logits, _, cache = llama.call_with_cache(ids[:, start : start + n], cache, start)
    rows.append(np.asarray(logits[0]))
    start += n
np.save(out + ".npy", np.concatenate(rows))
