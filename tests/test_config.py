"""LlamaConfig and RopeScaling: what they accept, and that each refusal names field and value."""

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from numpy_llama.config import MAX_COUNTS, LlamaConfig, RopeScaling
from numpy_llama.errors import ConfigError
from tests.models import random_model, tiny_config

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("name", MAX_COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2**63, 10**30, 1.0, "8", True, None, NAN])
def test_a_count_is_a_whole_number_within_bounds(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be"):
        tiny_config(**{name: value})


@pytest.mark.parametrize("name", ["norm_eps", "rope_theta"])
@pytest.mark.parametrize(
    "value", [-1e-9, INF, -INF, NAN, 1e16, 10**400, "1", True, None], ids=lambda v: repr(v)[:9]
)
def test_a_real_number_is_finite_and_positive(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be"):
        tiny_config(**{name: value})


@pytest.mark.parametrize("name", ["tied_head", "attention_bias", "mlp_bias"])
@pytest.mark.parametrize("value", [0, 1, None, "true"])
def test_a_flag_is_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be true or false, not {value!r}"):
        tiny_config(**{name: value})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"n_heads": 6, "n_kv_heads": 4}, "n_heads 6 is not a multiple of n_kv_heads 4"),
        ({"n_heads": 2, "n_kv_heads": 4}, "n_heads 2 is not a multiple of n_kv_heads 4"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"rope_theta": 0}, "rope_theta must be above zero, not 0"),
        ({"head_dim": 2, "rope_scaling": RopeScaling("dynamic")}, "needs head_dim ≥ 4, not 2"),
        ({"rope_theta": 1.0, "rope_scaling": RopeScaling("yarn")}, "needs rope_theta > 1, not 1.0"),
    ],
)
def test_values_that_contradict_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"norm_eps": 0.0},
        {"norm_eps": 0},
        {"rope_theta": 1.0},
        {"head_dim": 2},
        {"n_heads": 1, "n_kv_heads": 1},
        {"dim": 23},
    ],
)
def test_unusual_values_that_are_allowed(values: dict[str, Any]) -> None:
    config = tiny_config(**values)
    assert all(getattr(config, name) == value for name, value in values.items())


@pytest.mark.parametrize("type_", ["longrope", "su", "mrope", "proportional", "", "Default", None])
def test_another_type_of_rope_is_refused_by_name(type_: Any) -> None:
    with pytest.raises(ConfigError, match=rf"rope type {type_!r} is not supported; .*llama3, yarn"):
        RopeScaling(type_)


@pytest.mark.parametrize(
    "name",
    ["factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow"]
    + ["attention_factor", "mscale", "mscale_all_dim"],
)
@pytest.mark.parametrize("value", [0, -1.0, INF, NAN, 1e300, "4", True])
def test_a_number_of_the_scaling_is_finite_and_positive(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"rope {name} must be"):
        RopeScaling("yarn", **{name: value})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"original_context": 0}, "rope original_context must be in 1"),
        ({"original_context": 8192.0}, "rope original_context must be a whole number"),
        ({"truncate": 1}, "rope truncate must be true or false, not 1"),
        (
            {"type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 4.0},
            "rope low_freq_factor 4.0 must be below high_freq_factor 4.0",
        ),
    ],
)
def test_other_refusals_of_the_scaling(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RopeScaling(**values)


def test_the_largest_numbers_that_are_allowed_overflow_nothing() -> None:
    """pytest makes a warning an error. The exponent of `dynamic` is largest with hd = 4."""
    dynamic = RopeScaling("dynamic", factor=1e15)
    config = tiny_config(rope_scaling=dynamic, rope_theta=1e15, head_dim=4, max_context=1)
    for extreme in (config, tiny_config(norm_eps=1e15)):
        assert np.isfinite(random_model(extreme, dtype=np.float32).forward([1, 2, 3])).all()


def test_the_group_size_is_queries_per_key_head() -> None:
    assert tiny_config().group_size == 3
    assert tiny_config(n_kv_heads=6).group_size == 1


def test_a_config_does_not_change() -> None:
    config: Any = tiny_config()
    with pytest.raises(FrozenInstanceError):
        config.dim = 48


def test_the_defaults_are_those_of_llama_2() -> None:
    shape = {name: 2 for name in MAX_COUNTS}
    config = LlamaConfig(**shape)
    assert (config.norm_eps, config.rope_theta) == (1e-5, 10000.0)
    assert config.rope_scaling == RopeScaling("default")
    assert not (config.tied_head or config.attention_bias or config.mlp_bias)
