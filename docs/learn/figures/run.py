"""One run of SmolLM2, from which figures and tests take their numbers; each is computed once."""

from functools import cached_property

import numpy as np

import numpy_llama as ll

from . import seen, variants


class Run:
    """The model on the first 64 tokens of a story, and on a question about a capital."""

    @cached_property
    def text(self) -> ll.TextModel:
        return ll.load("smollm2-135m")

    @property
    def model(self) -> ll.Llama:
        return self.text.llama

    @property
    def layers(self) -> int:
        return self.model.config.n_layers

    @cached_property
    def ids(self) -> list[int]:
        return self.text.encode(variants.STORY)[: variants.TOKENS]

    @cached_property
    def taps(self) -> dict[str, np.ndarray]:
        return seen.record(self.model, self.ids)

    @cached_property
    def sizes(self) -> np.ndarray:
        return seen.stream_sizes(self.taps, self.layers)

    @cached_property
    def mean_share(self) -> np.ndarray:
        return seen.mean_share(self.taps, self.layers)

    @cached_property
    def probs(self) -> np.ndarray:
        return seen.all_probabilities(self.taps, self.layers)

    @cached_property
    def base(self) -> float:
        return variants.loss(self.model, self.ids)

    @cached_property
    def activations(self) -> dict[str, float]:
        """The loss with each activation."""
        found = {}
        for name, function in variants.ACTIVATIONS.items():
            found[name] = variants.loss(variants.with_activation(self.model, function), self.ids)
        return found

    @cached_property
    def without(self) -> dict[str, float]:
        """The loss without one part."""
        changes = {
            "mask": variants.without_mask,
            "√hd": variants.without_scale,
            "RoPE": variants.without_rope,
            "norms": variants.without_norms,
        }
        with np.errstate(all="ignore"):
            return {k: variants.loss(f(self.model), self.ids) for k, f in changes.items()}

    @cached_property
    def pooled(self) -> float:
        return variants.loss(variants.with_pooled_keys(self.model, 1), self.ids)

    @cached_property
    def scaled(self) -> dict[tuple[str, int], float]:
        """The loss with each scaling of RoPE, on a text that needs none."""
        return {
            (kind, factor): variants.loss(variants.with_rope(self.model, kind, factor), self.ids)
            for kind in ("linear", "yarn", "dynamic")
            for factor in (2, 4, 8)
        }

    @cached_property
    def lens(self) -> list[int]:
        """The rank of " Paris" after "The capital of France is", were the model to end earlier."""
        ids, paris = self.text.encode("The capital of France is"), self.text.encode(" Paris")[0]
        stream = seen.stream(seen.record(self.model, ids), self.layers)
        return [seen.lens_rank(self.model, x[-1], paris) for x in stream]

    @cached_property
    def girl(self) -> np.ndarray:
        """The logits of what follows: a girl, a town, …"""
        return self.text.logits("Once upon a time, there was a little", last_only=True)[0]

    @cached_property
    def replaced(self) -> dict[int, np.ndarray]:
        """All scores of the story, were each query and key to stand so far apart."""
        distances = [0, 1, 16, 64, 256, 1024, 4096]
        return dict(
            zip(distances, seen.replaced_scores(self.taps, self.model, distances), strict=True)
        )
