"""penzai on JAX: what its converter makes of transformers' model, decoding with its KV cache."""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from penzai import pz
from penzai.models.transformer.sampling_mode import KVCachingTransformerLM
from penzai.models.transformer.variants.llama import llama_from_huggingface_model
from transformers import LlamaForCausalLM

jax.config.update("jax_default_matmul_precision", "float32")
model, tokens, steps, out = sys.argv[1:]
hf = LlamaForCausalLM.from_pretrained(model)
hf.config._name_or_path = ""  # a field that its converter does not know
if hf.config.head_dim * hf.config.num_attention_heads != hf.config.hidden_size:
    sys.exit("it takes head_dim for hidden_size / num_attention_heads")
ids = jnp.array([int(i) for i in tokens.split(",")])
llama = KVCachingTransformerLM.from_uncached(
    llama_from_huggingface_model(hf), cache_len=len(ids), batch_axes={}, pad_id=-1
)
rows, start = [], 0
for n in map(int, steps.split(",")):
    logits = llama(pz.nx.wrap(ids[start : start + n]).tag("seq"))
    rows.append(np.asarray(logits.untag("seq", "vocabulary").unwrap()))
    start += n
np.save(out + ".npy", np.concatenate(rows))
