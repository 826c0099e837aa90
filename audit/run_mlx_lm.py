"""mlx-lm: the model that its own loader makes of the directory, on the CPU."""

import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

model, tokens, steps, out = sys.argv[1:]
mx.set_default_device(mx.cpu)
llama, _ = load_model(Path(model))
ids, cache = [int(i) for i in tokens.split(",")], make_prompt_cache(llama)
rows, start = [], 0
for n in map(int, steps.split(",")):
    rows.append(np.array(llama(mx.array([ids[start : start + n]]), cache=cache)[0]))
    start += n
np.save(out + ".npy", np.concatenate(rows))
