"""CTranslate2: what its converter makes of transformers' model; all tokens in one forward call."""

import shutil
import sys
from types import SimpleNamespace

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter

model, tokens, steps, out, dtype = sys.argv[1:]


class Converter(TransformersConverter):
    """The kit's models have no tokenizer: here are its words, one for each id."""

    def load_tokenizer(self, tokenizer_class, model_name_or_path, **options):
        none = dict.fromkeys(["bos_token", "eos_token", "unk_token"], "0")
        return SimpleNamespace(get_vocab=lambda: {"0": 0}, **none)


converted = Converter(model).convert(out + ".ct2", quantization=dtype)
llama = ctranslate2.Generator(converted, device="cpu", compute_type=dtype, intra_threads=1)
words = [[int(i) for i in tokens.split(",")]]
logits = llama.forward_batch(words, return_log_probs=False)
np.save(out + ".npy", np.array(logits)[0])
shutil.rmtree(converted)
