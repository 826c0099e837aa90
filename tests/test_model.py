"""The whole forward pass: against the naive one, in chunks, and in what it must not depend on."""

from dataclasses import replace
from itertools import cycle, product
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.config import LlamaConfig, RopeScaling
from numpy_llama.errors import InputError
from numpy_llama.model import Llama
from numpy_llama.rope import adjacent_rows, half_split_rows
from numpy_llama.taps import Recorder
from tests import naive
from tests.models import (
    ROPES,
    random_model,
    random_tensors,
    random_tokens,
    tiny_config,
    weights_of,
)

YARNS = {
    "attention_factor": replace(ROPES["yarn"], attention_factor=0.7),
    "mscale": replace(ROPES["yarn"], mscale=0.5, mscale_all_dim=1.2),
    "no truncation": replace(ROPES["yarn"], truncate=False),
    "no width": RopeScaling("yarn", factor=4.0, original_context=6),
    "the ramp ends beyond the last pair": replace(ROPES["yarn"], beta_slow=1e-6),
    "no extension": RopeScaling("yarn", factor=1.0, original_context=40),
}
STATIC_ROPES = [name for name in ROPES if name != "dynamic"]
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}


def relative(a: Any, b: Any) -> float:
    """The largest difference over the largest value."""
    return float(np.abs(np.asarray(a) - b).max() / np.abs(b).max())


def difference_from_naive(config: LlamaConfig, length: int, seed: int) -> float:
    """The largest relative difference of any tap."""
    tensors = random_tensors(config, seed)
    tokens = random_tokens(config, length, seed)
    recorder = Recorder(config)
    Llama(config, weights_of(config, tensors)).forward(tokens, tap=recorder)
    expected = naive.forward(config, tensors, tokens)
    assert recorder.arrays.keys() == expected.keys()
    return max(relative(array, expected[name]) for name, array in recorder.arrays.items())


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_equals_the_naive_one(rope: str, n_kv_heads: int) -> None:
    """Every RoPE and every sharing of heads, crossed with tied heads and both kinds of biases."""
    for seed, (tied, attention_bias, mlp_bias) in enumerate(product([False, True], repeat=3)):
        config = tiny_config(
            n_layers=2,
            n_kv_heads=n_kv_heads,
            rope_scaling=ROPES[rope],
            max_context=5,  # `dynamic` stretches what is longer
            tied_head=tied,
            attention_bias=attention_bias,
            mlp_bias=mlp_bias,
        )
        assert difference_from_naive(config, 9, seed) <= 1e-12


@pytest.mark.parametrize("yarn", YARNS)
def test_equals_the_naive_one_with_every_option_of_yarn(yarn: str) -> None:
    assert difference_from_naive(tiny_config(rope_scaling=YARNS[yarn]), 9, seed=1) <= 1e-12


@pytest.mark.parametrize(
    "shape",
    [
        {"dim": 48},  # D = H·hd, as in most models
        {"head_dim": 2, "rope_theta": 500.0},
        {"n_heads": 1, "n_kv_heads": 1, "n_layers": 1},
        {"hidden_dim": 1, "vocab_size": 1, "dim": 1},
        {"norm_eps": 0.3},
    ],
    ids=str,
)
def test_equals_the_naive_one_in_every_shape(shape: dict[str, Any]) -> None:
    assert difference_from_naive(tiny_config(**shape), 7, seed=2) <= 1e-12


def in_chunks(model: Llama, tokens: list[int], sizes: list[int]) -> np.ndarray:
    """The logits of `tokens` fed in chunks of `sizes`, over and over until none is left."""
    cache = model.new_cache(len(tokens))
    out, rest = [], cycle(sizes)
    start = 0
    while start < len(tokens):
        stop = start + next(rest)
        out.append(model.forward(tokens[start:stop], cache))
        start = stop
    return np.concatenate(out)


@pytest.mark.parametrize("rope", ROPES)
def test_rotations_count_the_cached_positions(rope: str) -> None:
    model = random_model(tiny_config(rope_scaling=ROPES[rope], max_context=8))
    assert np.array_equal(model.rotations(9, 3), model.rotations(0, 12)[9:])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rope", ROPES)
def test_token_by_token_equals_one_prefill(rope: str, dtype: str) -> None:
    """`dynamic` too, within its context: it changes nothing there."""
    config = tiny_config(rope_scaling=ROPES[rope])
    model = random_model(config, 3, dtype)
    tokens = random_tokens(config, 20)
    assert relative(in_chunks(model, tokens, [1]), model.forward(tokens)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("attention", [attend, attend_blocked])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rope", STATIC_ROPES)
@settings(max_examples=15, phases=[Phase.generate])  # its failures are short enough
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_chunks_of_any_sizes_equal_one_prefill(
    rope: str, dtype: str, attention: Any, sizes: list[int]
) -> None:
    """Not `dynamic`: there the angles of a key depend on the length when it was cached."""
    config = tiny_config(rope_scaling=ROPES[rope])
    model = random_model(config, 3, dtype, attention)
    tokens = random_tokens(config, 20)
    assert relative(in_chunks(model, tokens, sizes), model.forward(tokens)) <= TOLERANCE[dtype]


def test_dynamic_rope_past_its_context_depends_on_the_chunks() -> None:
    """Keys in the cache keep the angles of the length at which they were computed."""
    model = random_model(tiny_config(rope_scaling=ROPES["dynamic"], max_context=8))
    tokens = random_tokens(model.config, 12)
    whole, chunked = model.forward(tokens), in_chunks(model, tokens, [6])
    assert relative(chunked[:6], model.forward(tokens[:6])) <= 1e-12
    assert relative(chunked[6:], whole[6:]) > 1e-3


@pytest.mark.parametrize("attention", [attend, attend_blocked])
@pytest.mark.parametrize("changed", [1, 5, 11])
def test_a_future_token_changes_no_bit_before_it(changed: int, attention: Any) -> None:
    model = random_model(tiny_config(), attention=attention)
    tokens = random_tokens(model.config, 12)
    before = model.forward(tokens)
    tokens[changed] = (tokens[changed] + 1) % model.config.vocab_size
    after = model.forward(tokens)
    assert np.array_equal(before[:changed], after[:changed])
    assert (before[changed:] != after[changed:]).any(axis=1).all()


def test_grouped_queries_equal_repeated_heads() -> None:
    """K = 2 with G = 3 is K = 6 whose key and value heads are three times the same."""
    few = tiny_config(attention_bias=True)
    many = replace(few, n_kv_heads=few.n_heads)
    tensors = random_tensors(few)
    repeated = dict(tensors)
    for name, tensor in tensors.items():
        if name.rpartition(".")[2] in ("wk", "wv", "bk", "bv"):
            heads = tensor.reshape(few.n_kv_heads, few.head_dim, *tensor.shape[1:])
            repeated[name] = np.concatenate([heads[h // 3] for h in range(6)])
    tokens = random_tokens(few, 11)
    grouped = Llama(few, weights_of(few, tensors)).forward(tokens)
    assert relative(Llama(many, weights_of(many, repeated)).forward(tokens), grouped) <= 1e-12


@pytest.mark.parametrize("rope", ROPES)
def test_the_other_layout_of_pairs_is_another_order_of_the_same_rows(rope: str) -> None:
    """Rows permuted to halves and back give the same logits; left in halves, they do not."""
    config = tiny_config(rope_scaling=ROPES[rope], attention_bias=True)
    ours = random_tensors(config)
    heads = {"wq": config.n_heads, "bq": config.n_heads, "wk": 2, "bk": 2}
    halves, back = dict(ours), dict(ours)
    for name, tensor in ours.items():
        if n := heads.get(name.rpartition(".")[2]):
            halves[name] = half_split_rows(tensor, n)
            back[name] = adjacent_rows(halves[name], n)
    tokens = random_tokens(config, 9)
    logits = [Llama(config, weights_of(config, t)).forward(tokens) for t in (ours, halves, back)]
    assert np.array_equal(logits[2], logits[0])
    assert relative(logits[1], logits[0]) > 1e-3


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rope", ROPES)
def test_the_dtype_of_the_weights_is_the_dtype_of_every_tap(rope: str, dtype: str) -> None:
    config = tiny_config(rope_scaling=ROPES[rope], attention_bias=True, mlp_bias=True)
    model = random_model(config, dtype=dtype)
    for attention in (attend, attend_blocked):
        recorder = Recorder(config)
        cache = model.new_cache(8)
        logits = replace(model, attention=attention).forward([1, 2, 3], cache, recorder)
        assert {a.dtype.name for a in recorder.arrays.values()} == {dtype}
        assert (logits.dtype, cache.k.dtype, cache.v.dtype) == (dtype, dtype, dtype)


@pytest.mark.parametrize("length", [1, 6])
def test_last_only_is_the_last_row(length: int) -> None:
    model = random_model(tiny_config())
    tokens = random_tokens(model.config, length)
    last = model.forward(tokens, last_only=True)
    assert last.shape == (1, 61)
    assert relative(last, model.forward(tokens)[-1:]) <= 1e-12


def test_a_forward_writes_to_the_cache_and_to_nothing_else() -> None:
    model = random_model(tiny_config())
    before = random_model(tiny_config())
    tokens = np.array([1, 2, 3])
    assert np.array_equal(model.forward(tokens), model.forward(tokens))
    assert tokens.tolist() == [1, 2, 3]
    assert np.array_equal(model.weights.tok_embeddings, before.weights.tok_embeddings)
    assert np.array_equal(model.weights.layers[0].wq, before.weights.layers[0].wq)


@pytest.mark.parametrize(
    "tokens",
    [[], [[1, 2]], [1.0], ["1"], [True], [None], 3, [2**80], np.zeros((0,), np.int64)],
    ids=repr,
)
def test_what_is_no_sequence_of_ids_is_refused(tokens: Any) -> None:
    with pytest.raises(InputError, match="at least one whole number"):
        random_model(tiny_config()).forward(tokens)


@pytest.mark.parametrize("wrong", [-1, 61, 2**40, -(2**63)])
def test_an_id_outside_the_vocabulary_is_named(wrong: int) -> None:
    with pytest.raises(InputError, match=f"token id {wrong} is outside the vocabulary of 61"):
        random_model(tiny_config()).forward([0, 60, wrong])


def test_a_prompt_that_does_not_fit_changes_nothing() -> None:
    model = random_model(tiny_config())
    cache = model.new_cache(4)
    model.forward([1, 2, 3], cache)
    keys = cache.k.copy()
    with pytest.raises(InputError, match="5 positions do not fit in a KV cache of 4"):
        model.forward([4, 5], cache)
    assert cache.length == 3
    assert np.array_equal(cache.k, keys)
