"""transformers on the kit's case with pads: right with its mask, and shown where it goes without.

What a mistake gives is theirs, not ours: each is the same model, called otherwise.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

from audit.run import HERE
from numpy_llama.golden import Report, check
from numpy_llama.golden.kit.cases import CASES
from numpy_llama.golden.kit.kit import Entry, read_kit, write_kit
from numpy_llama.golden.kit.run import Result, make_plan, run_case
from numpy_llama.golden.replay.precision import MEASURED

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.oracle

ATTENTIONS = ["eager", "sdpa"]


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    place = tmp_path_factory.mktemp("padded") / "kit"
    write_kit(place, [case for case in CASES if case.pads], detect=False)
    return read_kit(place)[0]


def llama(entry: Entry, attention: str = "eager", dtype: str = "float32"):  # type: ignore[no-untyped-def]
    model = transformers.LlamaForCausalLM.from_pretrained(
        entry.models["hf"], dtype=getattr(torch, dtype), attn_implementation=attention
    )
    return model.eval()


def mask_of(entry: Entry):  # type: ignore[no-untyped-def]
    """1 for each real token, 0 for each pad: (1, rows)."""
    return (torch.arange(len(entry.schedule.tokens)) >= entry.pads).long()[None]


def positions_of(entry: Entry):  # type: ignore[no-untyped-def]
    """Counted from the first real token, as `generate` counts them."""
    mask = mask_of(entry)
    return (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)


def logits(entry: Entry, model, mask, positions):  # type: ignore[no-untyped-def]
    """Of all rows, in the steps of the kit. mask, positions: of all tokens; None: as it has it."""
    ids = torch.tensor([entry.schedule.tokens])
    rows, cache, seen = [], None, 0
    with torch.no_grad():
        for step in ids.split(list(entry.schedule.steps), dim=1):
            start, seen = seen, seen + step.shape[1]
            output = model(
                step,
                None if mask is None else mask[:, :seen],
                position_ids=None if positions is None else positions[:, start:seen],
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            rows.append(output.logits[0])
    return torch.cat(rows).float().numpy()


def judged(entry: Entry, rows, dtype: str = "float32") -> Report:  # type: ignore[no-untyped-def]
    return check(entry.golden, {"logits": rows}, dtype, model=entry.models["hf"], pads=entry.pads)


def named(report: Report) -> list[tuple[str, ...]]:
    assert report.summary == "diverged" and report.diagnosis is not None
    return [suspect.faults for suspect in report.diagnosis.suspects]


@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("real", [True, False], ids=["all rows", "real rows"])
def test_with_its_mask_it_passes(entry: Entry, attention: str, dtype: str, real: bool) -> None:
    model = llama(entry, attention, dtype)
    rows = logits(entry, model, mask_of(entry), positions_of(entry))
    report = judged(entry, rows if real else rows[entry.pads :], dtype)
    assert report.summary == "passed" and (report.judged[0].ratio or 0) < 5, report


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_in_a_batch_with_a_longer_prompt_it_passes(entry: Entry, attention: str) -> None:
    """What pads are for: the other prompt is as long as this with its pads."""
    ids = list(entry.schedule.tokens[: entry.prompt])
    mask = mask_of(entry)[:, : entry.prompt]
    other = [(3 * i + 1) % 17 for i in range(entry.prompt)]
    with torch.no_grad():
        masks = torch.cat([mask, torch.ones_like(mask)])
        rows = llama(entry, attention)(torch.tensor([ids, other]), masks).logits
    assert judged(entry, rows[0].numpy()).summary == "passed"
    assert judged(entry, rows[1].numpy()).summary == "diverged"


def test_pads_that_are_positions_and_not_seen_do_no_harm(entry: Entry) -> None:
    """Without position_ids it counts the pads: RoPE sees differences alone."""
    rows = logits(entry, llama(entry), mask_of(entry), None)
    assert judged(entry, rows).summary == "passed"


@pytest.mark.parametrize("dtype", MEASURED)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_without_a_mask_it_is_named(entry: Entry, attention: str, dtype: str) -> None:
    rows = logits(entry, llama(entry, attention, dtype), None, None)
    assert named(judged(entry, rows, dtype)) == [("left-padding-seen",)]


def test_decode_positions_that_count_the_pads_are_named(entry: Entry) -> None:
    positions = positions_of(entry)
    positions[:, entry.prompt :] += entry.pads
    rows = logits(entry, llama(entry), mask_of(entry), positions)
    assert named(judged(entry, rows)) == [("left-padding-decode-positions",)]


def test_pads_that_are_seen_and_are_no_positions_are_shown(entry: Entry) -> None:
    rows = logits(entry, llama(entry), torch.ones_like(mask_of(entry)), positions_of(entry))
    assert named(judged(entry, rows)) in ([], [("left-padding-seen",)])


def test_a_mask_that_is_forgotten_when_decoding_is_shown(entry: Entry) -> None:
    model, mask = llama(entry), mask_of(entry)
    right = logits(entry, model, mask, None)
    seen = logits(entry, model, torch.ones_like(mask), None)
    # the keys of the prompt are those of a right run: only what decode rows see is otherwise
    ids, steps = torch.tensor([entry.schedule.tokens]), list(entry.schedule.steps)
    with torch.no_grad():
        first, *rest = ids.split(steps, dim=1)
        output = model(first, mask[:, : steps[0]], use_cache=True)
        rows = [output.logits[0]]
        for step in rest:
            output = model(step, past_key_values=output.past_key_values, use_cache=True)
            rows.append(output.logits[0])
    forgotten = torch.cat(rows).numpy()
    assert (forgotten[: entry.prompt] == right[: entry.prompt]).all()
    assert (forgotten != seen).any()
    report = judged(entry, forgotten)
    assert report.taps[-1].phase == "decode"
    assert named(report) == []


def test_a_mask_of_the_pad_s_id_hides_a_real_token(entry: Entry) -> None:
    """The kit's prompt has one that is its pad's too."""
    by_id = (torch.tensor([entry.schedule.tokens]) != 0).long()
    assert judged(entry, logits(entry, llama(entry), by_id, None)).summary == "diverged"


def test_rows_that_see_nothing_and_become_nan_are_shown(entry: Entry) -> None:
    """A mask of -∞ leaves a pad no key at all: 0 / 0, which spreads from its values to all rows."""
    L = entry.prompt
    keys = torch.arange(L)
    sees = (keys[None] <= keys[:, None]) & (keys[None] >= entry.pads)
    mask = torch.where(sees, 0.0, -torch.inf)[None, None]
    with torch.no_grad():
        ids = torch.tensor([entry.schedule.tokens[:L]])
        rows = llama(entry)(ids, mask).logits[0].numpy()
    (logits,) = (tap for tap in judged(entry, rows).judged if tap.tap == "logits")
    assert logits.verdict == "not finite"


def ran(entry: Entry, tmp_path: Path, program: Path, arguments: str) -> Result:
    words = f"{shlex.quote(sys.executable)} {shlex.quote(str(program))} {arguments}"
    return run_case(make_plan(words, tmp_path / "work", timeout=300.0), entry)


def test_the_audit_s_glue_takes_pads(entry: Entry, tmp_path: Path) -> None:
    how = "{model} {tokens} {steps} {out} eager float32 {pads}"
    result = ran(entry, tmp_path, HERE / "run_transformers.py", how)
    assert result.status == "passed", result.detail


def test_the_recipe_of_the_document_takes_pads(entry: Entry, tmp_path: Path) -> None:
    text = (HERE.parent / "docs" / "kit.md").read_text()
    found = re.search(r"## Recipe: transformers\n+```python\n(.*?)```.*?run.py (.*?)'", text, re.S)
    assert found
    (tmp_path / "run.py").write_text(found[1])
    result = ran(entry, tmp_path, tmp_path / "run.py", found[2])
    assert result.status == "passed", result.detail
