"""What a run cost: speed and memory, for people and for programs."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...loading.threads import in_use

if TYPE_CHECKING:
    from ...completion import Completion


@dataclass(frozen=True)
class Stats:
    """What a run cost. Rates in tokens a second, times in seconds."""

    model: str
    seed: int
    load_seconds: float
    prompt_tokens: int
    time_to_first_token: float
    prompt_tokens_per_second: float
    generated_tokens: int
    generation_tokens_per_second: float
    peak_memory_bytes: int
    threads: int  # of the linear algebra
    finish_reason: str | None  # stop, length or context; None where it was interrupted

    def line(self) -> str:
        """One line for people."""
        return (
            f"load {self.load_seconds:.2f} s | "
            f"prompt {self.prompt_tokens} tokens, {self.prompt_tokens_per_second:.1f} tokens/s | "
            f"first token after {self.time_to_first_token:.2f} s | "
            f"generation {self.generated_tokens} tokens, "
            f"{self.generation_tokens_per_second:.1f} tokens/s | "
            f"peak memory {self.peak_memory_bytes / 2**20:.0f} MiB | "
            f"{self.threads} thread{'s' * (self.threads > 1)} | seed {self.seed} | "
            f"finish {self.finish_reason or 'interrupted'}"
        )


def peak_memory() -> int:
    """The most bytes that this process has had in memory; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def stats_of(model: str, load_seconds: float, completion: "Completion") -> Stats:
    """What a text has cost so far; a rate is 0 where there are too few tokens for one."""
    times = completion.times
    first = times[0] if times else 0.0
    return Stats(
        model=model,
        seed=completion.seed,
        load_seconds=load_seconds,
        prompt_tokens=completion.prompt_tokens,
        time_to_first_token=first,
        prompt_tokens_per_second=completion.prompt_tokens / first if times else 0.0,
        generated_tokens=len(times),
        generation_tokens_per_second=(len(times) - 1) / (times[-1] - first) if times[1:] else 0.0,
        peak_memory_bytes=peak_memory(),
        threads=in_use(),
        finish_reason=completion.finish_reason,
    )


def report(stats: Stats, verbose: bool, file: Path | None) -> None:
    """A line on stderr where it is wanted, and a JSON file where one is named."""
    if verbose:
        print(stats.line(), file=sys.stderr)
    if file:
        from ...formats.storage.files import write_json

        write_json(file, asdict(stats))
