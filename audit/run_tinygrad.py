"""tinygrad: the Transformer of its own tinygrad.llm, which reads GGUF; its blocks, run one by one.

Its forward gives the next token alone: embedding, blocks, norm and head are put together here.
"""

import os
import sys

os.environ["HALF"] = sys.argv[5]  # 1, its default: weights in float16
os.environ["DEV"] = "CPU"

import numpy as np
from tinygrad import Tensor
from tinygrad.llm.model import Transformer

model, tokens, steps, out, _ = sys.argv[1:]
llama, _ = Transformer.from_gguf(model)
ids, rows, start = [int(i) for i in tokens.split(",")], [], 0
for n in map(int, steps.split(",")):
    x = llama.token_embd(Tensor([ids[start : start + n]], dtype="int32")).float()
    for block in llama.blk:
        x = block(x, start)
    rows.append(llama.output(llama.output_norm(x))[0].float().numpy())
    start += n
np.save(out + ".npy", np.concatenate(rows))
