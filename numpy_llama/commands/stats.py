"""What a run cost: speed and memory, for people and for programs."""

import sys
from dataclasses import dataclass


@dataclass
class Stats:
    """What a run cost. Rates in tokens a second, times in seconds."""

    model: str
    seed: int
    load_seconds: float
    prompt_tokens: int
    time_to_first_token: float = 0.0
    prompt_tokens_per_second: float = 0.0
    generated_tokens: int = 0
    generation_tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0

    def measure(self, start: float, arrivals: list[float]) -> None:
        """Fill in from the clock: prefill began at `start`, tokens came at `arrivals`."""
        self.generated_tokens = len(arrivals)
        if arrivals:
            self.time_to_first_token = arrivals[0] - start
            self.prompt_tokens_per_second = self.prompt_tokens / self.time_to_first_token
        if len(arrivals) > 1:
            decoding = arrivals[-1] - arrivals[0]
            self.generation_tokens_per_second = (len(arrivals) - 1) / decoding
        self.peak_memory_bytes = peak_memory()

    def line(self) -> str:
        """One line for people."""
        return (
            f"load {self.load_seconds:.2f} s | "
            f"prompt {self.prompt_tokens} tokens, {self.prompt_tokens_per_second:.1f} tokens/s | "
            f"first token after {self.time_to_first_token:.2f} s | "
            f"generation {self.generated_tokens} tokens, "
            f"{self.generation_tokens_per_second:.1f} tokens/s | "
            f"peak memory {self.peak_memory_bytes / 2**20:.0f} MiB | seed {self.seed}"
        )


def peak_memory() -> int:
    """The most bytes that this process has had in memory; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
