"""What other programs call our taps. `{i}` stands for a layer.

llama.cpp          the names that its graph gives to tensors, which the eval callback sees; with
                   .rope after a query or key that was rotated, for it then has the same name
transformers       module paths of LlamaForCausalLM: what a module returns, or with .input, what it
                   is given
transformerlens    hook points of HookedTransformer, loaded without processing
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ...errors import InputError
from ...formats.storage.files import read_small
from ...formats.storage.strict_json import parse_json, shown

# From a name to our tap; None where there is none.
Translate = Callable[[str], str | None]

TABLES: dict[str, dict[str, str]] = {
    "llama.cpp": {
        "embd": "embed",
        "inp_embd": "embed",
        "attn_norm-{i}": "layers.{i}.attn_norm",
        "Qcur-{i}": "layers.{i}.q",
        "Kcur-{i}": "layers.{i}.k",
        "Vcur-{i}": "layers.{i}.v",
        "Qcur-{i}.rope": "layers.{i}.q_rot",
        "Kcur-{i}.rope": "layers.{i}.k_rot",
        "kq_soft_max-{i}": "layers.{i}.probs",
        "kqv_out-{i}": "layers.{i}.heads",
        "attn_out-{i}": "layers.{i}.attn_out",
        "ffn_inp-{i}": "layers.{i}.resid_mid",
        "ffn_norm-{i}": "layers.{i}.ffn_norm",
        "ffn_gate-{i}": "layers.{i}.gate",
        "ffn_up-{i}": "layers.{i}.up",
        "ffn_swiglu-{i}": "layers.{i}.swiglu",
        "ffn_gate_par-{i}": "layers.{i}.swiglu",
        "ffn_out-{i}": "layers.{i}.ffn_out",
        "l_out-{i}": "layers.{i}.resid_post",
        "result_norm": "final_norm",
        "result_output": "logits",
    },
    "transformers": {
        "model.embed_tokens": "embed",
        "model.layers.{i}.input_layernorm": "layers.{i}.attn_norm",
        "model.layers.{i}.self_attn.q_proj": "layers.{i}.q",
        "model.layers.{i}.self_attn.k_proj": "layers.{i}.k",
        "model.layers.{i}.self_attn.v_proj": "layers.{i}.v",
        "attentions.{i}": "layers.{i}.probs",
        "model.layers.{i}.self_attn.o_proj.input": "layers.{i}.heads",
        "model.layers.{i}.self_attn.o_proj": "layers.{i}.attn_out",
        "model.layers.{i}.self_attn": "layers.{i}.attn_out",
        "model.layers.{i}.post_attention_layernorm.input": "layers.{i}.resid_mid",
        "model.layers.{i}.post_attention_layernorm": "layers.{i}.ffn_norm",
        "model.layers.{i}.mlp.gate_proj": "layers.{i}.gate",
        "model.layers.{i}.mlp.up_proj": "layers.{i}.up",
        "model.layers.{i}.mlp.down_proj.input": "layers.{i}.swiglu",
        "model.layers.{i}.mlp.down_proj": "layers.{i}.ffn_out",
        "model.layers.{i}.mlp": "layers.{i}.ffn_out",
        "model.layers.{i}": "layers.{i}.resid_post",
        "model.norm": "final_norm",
        "lm_head": "logits",
    },
    "transformerlens": {
        "hook_embed": "embed",
        "blocks.{i}.ln1.hook_scale": "layers.{i}.attn_norm.rms",
        "blocks.{i}.attn.hook_q": "layers.{i}.q",
        "blocks.{i}.attn.hook_k": "layers.{i}.k",
        "blocks.{i}.attn.hook_v": "layers.{i}.v",
        "blocks.{i}.attn.hook_rot_q": "layers.{i}.q_rot",
        "blocks.{i}.attn.hook_rot_k": "layers.{i}.k_rot",
        "blocks.{i}.attn.hook_attn_scores": "layers.{i}.scores",
        "blocks.{i}.attn.hook_pattern": "layers.{i}.probs",
        "blocks.{i}.attn.hook_z": "layers.{i}.heads",
        "blocks.{i}.hook_attn_out": "layers.{i}.attn_out",
        "blocks.{i}.hook_resid_mid": "layers.{i}.resid_mid",
        "blocks.{i}.ln2.hook_scale": "layers.{i}.ffn_norm.rms",
        "blocks.{i}.mlp.hook_pre": "layers.{i}.gate",
        "blocks.{i}.mlp.hook_pre_linear": "layers.{i}.up",
        "blocks.{i}.mlp.hook_post": "layers.{i}.swiglu",
        "blocks.{i}.hook_mlp_out": "layers.{i}.ffn_out",
        "blocks.{i}.hook_resid_post": "layers.{i}.resid_post",
        "ln_final.hook_scale": "final_norm.rms",
    },
}


def translator(table: Mapping[str, str]) -> Translate:
    """A table as a function; in both columns `{i}` is the same layer."""
    plain = {theirs: ours for theirs, ours in table.items() if "{i}" not in theirs}
    patterns = [
        (re.compile(re.escape(theirs).replace(r"\{i\}", r"(0|[1-9]\d{0,4})", 1)), ours)
        for theirs, ours in table.items()
        if "{i}" in theirs
    ]

    def translate(name: str) -> str | None:
        if name in plain:
            return plain[name]
        for pattern, ours in patterns:
            found = pattern.fullmatch(name)
            if found:
                return ours.replace("{i}", found[1])
        return None

    return translate


def read_table(path: Path) -> dict[str, str]:
    """A user's own table: a JSON object from their names to ours. Raises InputError."""
    table = parse_json(read_small(path, 16 << 20, InputError), str(path), InputError)
    if not isinstance(table, dict) or not all(isinstance(ours, str) for ours in table.values()):
        raise InputError(f"{path}: must be an object from names to taps, not {shown(table)}")
    return table


def find_names(spec: str | None) -> Translate:
    """The table of a name in TABLES, or of a user's file; without one, names are ours."""
    if spec is None:
        return lambda name: None
    if spec in TABLES:
        return translator(TABLES[spec])
    path = Path(spec)
    if not path.exists():
        raise InputError(f"{spec}: is no file, and not one of {', '.join(TABLES)}")
    return translator(read_table(path))
