"""transformers with a narrow cache, weights or softmax: each is named as the choice that it is.

Where the choice is above ten floors of the declared dtype, it is CHOICE with that name, and passes
where that was declared; where it is below, it passes as it is.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from numpy_llama import load
from numpy_llama.config import LlamaConfig
from numpy_llama.golden import Candidate, Report, as_text, check
from numpy_llama.golden.record.bundle import Bundle
from numpy_llama.golden.record.record import record
from numpy_llama.golden.replay.precision import MEASURED
from numpy_llama.loading.threads import cores
from numpy_llama.loading.weights import load_model
from numpy_llama.model import Llama
from numpy_llama.store.find import DEFAULT_MODEL, local_models, models_dir
from tests.models import weights_of

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import DynamicCache  # noqa: E402
from transformers.models.llama import modeling_llama  # noqa: E402

from . import right_programs as programs  # noqa: E402
from .test_right_programs import QUICK, model_of, smollm2  # noqa: E402

pytestmark = pytest.mark.oracle

Tensors = Mapping[str, np.ndarray]


@contextlib.contextmanager
def narrow_cache() -> Iterator[None]:
    """transformers' cache with its keys and values in float16."""
    theirs = DynamicCache.update

    def update(self: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        key, value = (x.half().to(x.dtype) for x in (key, value))
        return theirs(self, key, value, *rest, **options)

    DynamicCache.update = update  # type: ignore[method-assign]
    try:
        yield
    finally:
        DynamicCache.update = theirs  # type: ignore[method-assign]


def narrow_softmax(module, query, key, value, attention_mask, scaling, **rest):  # type: ignore[no-untyped-def]
    """transformers' eager attention with its softmax in bfloat16."""
    key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
    value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probs = torch.softmax(scores.to(torch.bfloat16), -1).to(query.dtype)
    return (probs @ value).transpose(1, 2).contiguous(), None


def in_int8(tensor: np.ndarray, size: int | None) -> np.ndarray:
    """Symmetric int8, by rows or by groups of a row, and back."""
    if tensor.ndim != 2:
        return tensor
    w = torch.from_numpy(np.array(tensor, np.float32))
    groups = w.reshape(-1, size or w.shape[1])
    scale = groups.abs().amax(1, keepdim=True) / 127
    return ((groups / scale).round().to(torch.int8) * scale).reshape(w.shape).numpy()


def program(
    choice: str, config: LlamaConfig, tensors: Tensors, bundle: Bundle, dtype: str
) -> dict[str, np.ndarray]:
    """All that transformers shows, with this choice made."""
    sizes = {"weights-int8-row": None, "weights-int8-group-32": 32}
    if choice in sizes:
        tensors = {name: in_int8(tensor, sizes[choice]) for name, tensor in tensors.items()}
    ways = {
        "kv-float16": narrow_cache(),
        "softmax-bfloat16": programs.eager_attention(narrow_softmax),
    }
    with ways.get(choice, contextlib.nullcontext()):
        return programs.of_transformers(config, tensors, bundle.schedule, dtype)


def fits(choice: str, config: LlamaConfig) -> bool:
    widths = (config.dim, config.hidden_dim, config.n_heads * config.head_dim)
    return "group-32" not in choice or all(width % 32 == 0 for width in widths)


CHOICES = ("kv-float16", "weights-int8-row", "weights-int8-group-32", "softmax-bfloat16")


PROMPTS = (
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) +",
    "Dear Sir or Madam, I am writing to complain about the quality of the",
    "Q: What is the largest planet of the solar system?\nA:",
)


def told(report: Report, choice: str) -> bool:
    """Whether a report says what it should of a program that makes this choice."""
    off = any((tap.ratio or 0.0) > 10 for tap in report.taps)
    if not off:
        return report.summary == "passed" and not report.chosen
    found = report.diagnosis.suspects if report.diagnosis else ()
    return report.summary == "choice" and (choice,) in [suspect.faults for suspect in found]


def hold(
    model: Llama, bundle: Bundle, taps: Mapping[str, np.ndarray], dtype: str, choice: str
) -> bool:
    """Assert that the choice is told, and passes where it is declared. Returns whether it shows."""
    candidate = Candidate(taps, dtype)
    report = check(bundle, candidate, model=model, jobs=cores())
    assert told(report, choice), as_text(report)
    if report.summary == "choice":
        declared = check(bundle, candidate, model=model, allow=(choice,), jobs=cores())
        assert declared.summary == "passed", as_text(declared)
    return report.summary == "choice"


@functools.cache
def our_model(name: str) -> Llama:
    config, tensors, _ = model_of(name)
    return Llama(config, weights_of(config, tensors))


@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", QUICK)
def test_a_choice_of_transformers_is_named(name: str, choice: str, dtype: str) -> None:
    config, tensors, bundle = model_of(name)
    if not fits(choice, config):
        pytest.skip("its rows are no whole groups")
    if not bundle.judgeable(dtype):
        pytest.skip("nothing can pass at this dtype")
    taps = program(choice, config, tensors, bundle, dtype)
    shows = hold(our_model(name), bundle, {"logits": taps["logits"]}, dtype, choice)
    if dtype == "float32":
        assert shows or name in ("large-norms", "one-token")
        given = {tap: taps[tap] for tap in bundle.values if tap in taps}
        assert hold(our_model(name), bundle, given, dtype, choice)


@pytest.mark.smollm2
@pytest.mark.skipif(DEFAULT_MODEL not in local_models(), reason="`make model` gets the model")
@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_of_transformers_is_named_on_smollm2(choice: str) -> None:
    config, tensors, bundle = smollm2()
    taps = program(choice, config, tensors, bundle, "float32")
    model = load_model(models_dir() / DEFAULT_MODEL)
    assert hold(model, bundle, {"logits": taps["logits"]}, "float32", choice)


@pytest.mark.smollm2
@pytest.mark.skipif(DEFAULT_MODEL not in local_models(), reason="`make model` gets the model")
@pytest.mark.timeout(1200)
def test_a_float16_cache_is_named_with_most_prompts_and_never_a_mistake() -> None:
    """With some its noise is as large as what it changes: which, the last digits may decide."""
    config, tensors, _ = smollm2()
    loaded = load(DEFAULT_MODEL)
    named = 0
    for text in PROMPTS:
        bundle = record(loaded.llama, loaded.encode(text), 4, taps=["logits"], detect=False)
        taps = program("kv-float16", config, tensors, bundle, "float32")
        report = check(bundle, Candidate(taps, "float32"), model=loaded.llama, jobs=cores())
        suspects = report.diagnosis.suspects if report.diagnosis else ()
        named += told(report, "kv-float16")
        assert all("kv-float16" in suspect.faults for suspect in suspects), as_text(report)
    assert named >= 2
