"""Run a model over a fixed sequence, in fixed steps, and see every intermediate.

A *row* is one position of the sequence. Rows of all steps are joined, so that a tap of a run does
not show in which steps it was made, unless the model is wrong.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...attention import attend, attend_blocked
from ...backend import to_host
from ...errors import InputError
from ...model import Llama
from ...taps import tap_axes, tap_names

Phase = Literal["prefill", "decode"]

# What looks at a run while it goes on: a tap's name, the row where its step begins, its array.
See = Callable[[str, int, np.ndarray], None]


@dataclass(frozen=True)
class Schedule:
    """Which tokens a run sees, and in which forward calls.

    The tokens are given (teacher-forced), never sampled, so that one wrong choice does not make
    all that follows incomparable. `steps` are the sizes of consecutive forward calls: the chunks of
    the prompt, then decode steps of one token. A one-token call after the first is a decode step.
    """

    tokens: tuple[int, ...]
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.tokens or min(self.steps, default=0) < 1 or sum(self.steps) != len(self.tokens):
            raise InputError(
                f"a schedule of the steps {list(self.steps)} does not cover "
                f"{len(self.tokens)} tokens: the steps must be positive and add up to the tokens"
            )

    @classmethod
    def of(
        cls, prompt: Collection[int], decode: Collection[int] = (), chunk: int | None = None
    ) -> "Schedule":
        """The prompt in chunks of at most `chunk` tokens (None: in one), then one token a step."""
        size = chunk or max(len(prompt), 1)
        chunks = [min(size, len(prompt) - at) for at in range(0, len(prompt), size)]
        return cls((*prompt, *decode), (*chunks, *[1] * len(decode)))

    @functools.cached_property
    def prompt(self) -> int:
        """How many rows are the prompt's: all before the decode steps at the end."""
        steps = list(self.steps)
        while len(steps) > 1 and steps[-1] == 1:
            steps.pop()
        return sum(steps)

    def phase(self, row: int) -> Phase:
        """Whether a row was computed with the prompt, or as a decode step."""
        return "prefill" if row < self.prompt else "decode"

    @functools.cached_property
    def groups(self) -> list[slice]:
        """The rows of each chunk of the prompt, then those of all decode steps together.

        Errors are measured in each group by itself: two wrong decode rows must not drown among
        five hundred right ones of the prompt.
        """
        rows, start = [], 0
        for size in self.steps:
            if start < self.prompt:
                rows.append(slice(start, start + size))
            start += size
        return rows if start == self.prompt else [*rows, slice(self.prompt, start)]


def play(model: Llama, schedule: Schedule, see: See) -> None:
    """Run `model` over `schedule`, showing every tap of every step to `see`.

    `see` may raise to end the run early.
    """
    cache = model.new_cache(len(schedule.tokens))
    start = 0
    for size in schedule.steps:
        step = schedule.tokens[start : start + size]

        def tap(name: str, array: np.ndarray, start: int = start) -> None:
            see(name, start, array)

        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            model.forward(step, cache, tap)  # a faulty model may overflow; the judge will see it
        start += size


@functools.cache
def row_axis(name: str) -> int:
    """Which axis of a tap counts the rows: 0, but for scores and probs (H, L, S)."""
    return tap_axes(name).index("L")


def visible(T: int) -> np.ndarray:
    """The cells (row, key) of T rows in which a row may see a key: (T, T)."""
    return np.tri(T, dtype=bool)


@functools.cache
def by_key(name: str) -> bool:
    """Whether a tap has an axis of keys: scores and probs."""
    return tap_axes(name)[-1] == "S"


def place(name: str, array: np.ndarray, start: int, joined: np.ndarray) -> None:
    """Copy one step's array to its rows in the joined tap.

    Scores and probs (H, L, S) go to (H, T, T): column j is row j of the cache. A faulty model may
    look at more keys than there are rows so far; of those, the first T have a place.
    """
    if not by_key(name):
        joined[start : start + len(array)] = array
        return
    L, S = array.shape[1:]
    keys = min(S, joined.shape[-1])
    joined[:, start : start + L, :keys] = array[:, :, :keys]


def empty_joined(name: str, array: np.ndarray, T: int) -> np.ndarray:
    """Zeros for all T rows of a tap of which one step is `array`."""
    if by_key(name):
        return np.zeros((array.shape[0], T, T), array.dtype)
    return np.zeros((T, *array.shape[1:]), array.dtype)


class Enough(Exception):
    """Raised by what looks at a run, to end it early."""


def look_away(name: str, start: int, array: np.ndarray) -> None:
    """Look at nothing."""


def run(
    model: Llama,
    schedule: Schedule,
    wanted: Collection[str] | None = None,
    see: See = look_away,
) -> dict[str, np.ndarray]:
    """Every tap (or those `wanted`) of a run, in causal order, the rows of all steps joined.

    Axes are the tap's with L = T rows; scores and probs are (H, T, T). Scores that a row may not
    see are 0: what an implementation keeps there is its own affair. Probabilities are kept as they
    are: there they must be 0. `see` is shown each array, and may raise Enough: rows that were not
    computed by then are 0. Raises InputError for a tap given twice in a step.
    """
    T = len(schedule.tokens)
    taps: dict[str, np.ndarray] = {}
    seen: set[tuple[str, int]] = set()

    def keep(name: str, start: int, array: np.ndarray) -> None:
        if wanted is not None and name not in wanted:
            return
        if (name, start) in seen:
            raise InputError(f"the tap {name} was given twice in one forward call")
        seen.add((name, start))
        array = to_host(array)
        if name not in taps:
            taps[name] = empty_joined(name, array, T)
        place(name, array, start, taps[name])
        see(name, start, array)

    with contextlib.suppress(Enough):
        play(with_scores(model, wanted), schedule, keep)
    for name in taps:
        if name.endswith(".scores"):
            taps[name] = np.where(visible(T), taps[name], np.zeros((), taps[name].dtype))
    return {name: taps[name] for name in tap_names(model.config.n_layers) if name in taps}


def with_scores(model: Llama, wanted: Collection[str] | None) -> Llama:
    """The model with an attention that shows its scores, where they are wanted."""
    if model.attention is not attend_blocked:
        return model
    if wanted is not None and not any(by_key(name) for name in wanted):
        return model
    return dataclasses.replace(model, attention=attend)


def rows_of(name: str, array: np.ndarray, rows: slice | list[int]) -> np.ndarray:
    """Some rows of a joined tap."""
    return array[:, rows] if row_axis(name) == 1 else array[rows]


def last_rows(name: str, array: np.ndarray, n: int) -> np.ndarray:
    """The last n rows of a joined tap; of scores and probs, as seen among those n alone."""
    rows = array.shape[row_axis(name)]
    if rows <= n:
        return array
    tail = rows_of(name, array, slice(rows - n, None))
    return tail[..., rows - n :] if by_key(name) else tail
