"""What a run of a model shows: its stream, its attention, its guesses layer by layer."""

from dataclasses import replace

import numpy as np

from numpy_llama import Llama, Recorder, attend
from numpy_llama.norm import rms, rms_norm
from numpy_llama.rope import base_frequencies, rotate, rotation_matrices


def record(model: Llama, ids: list[int]) -> dict[str, np.ndarray]:
    """Every tap of one forward."""
    recorder = Recorder(model.config)
    replace(model, attention=attend).forward(ids, tap=recorder)
    return recorder.arrays


def stream(taps: dict[str, np.ndarray], n_layers: int) -> np.ndarray:
    """The residual stream, after the embedding and after each layer: (N + 1, L, D)."""
    return np.stack([taps["embed"], *(taps[f"layers.{i}.resid_post"] for i in range(n_layers))])


def stream_sizes(taps: dict[str, np.ndarray], n_layers: int) -> np.ndarray:
    """The RMS of each token in the stream: (N + 1, L)."""
    return np.sqrt(np.square(stream(taps, n_layers).astype(np.float64)).mean(axis=-1))


def mean_share(taps: dict[str, np.ndarray], n_layers: int) -> np.ndarray:
    """mean² as a part of the mean square, over all tokens: (N + 1,). LayerNorm takes it away."""
    x = stream(taps, n_layers).astype(np.float64)
    return (x.mean(axis=-1) ** 2).mean(axis=-1) / np.square(x).mean(axis=(-1, -2))


def all_probabilities(taps: dict[str, np.ndarray], n_layers: int) -> np.ndarray:
    """The attention of every layer and head: (N, H, L, S)."""
    return np.stack([taps[f"layers.{i}.probs"] for i in range(n_layers)]).astype(np.float64)


def by_distance(probs: np.ndarray, distance: int) -> float:
    """The mean probability of the key `distance` tokens back, the first token left out."""
    N, H, L, _ = probs.shape
    rows = np.arange(distance + 1, L)
    return float(probs[:, :, rows, rows - distance].mean())


def first_token_share(probs: np.ndarray, skip: int = 1) -> float:
    """The mean probability that goes to token 0, of the queries after the first `skip`."""
    return float(probs[:, :, skip:, 0].mean())


def lens_rank(model: Llama, x: np.ndarray, token: int) -> int:
    """The rank (0: first) of a token were the model to end here.  x: (D,), of the stream."""
    row = x[None]
    scores = rms_norm(row, model.weights.final_norm, rms(row, model.config.norm_eps))
    scores = (scores @ model.weights.lm_head.T)[0]
    return int((scores > scores[token]).sum())


def replaced_scores(taps: dict[str, np.ndarray], model: Llama, distances: list[int]) -> np.ndarray:
    """The scores of real queries and keys, were they to stand `distance` apart.

    All pairs of tokens, heads and layers: (distances, N · H · L · L). Keys stand at 0.
    """
    c = model.config
    f = base_frequencies(c.rope_theta, c.head_dim)
    rows = []
    for d in distances:
        row = []
        for i in range(c.n_layers):
            q, k = taps[f"layers.{i}.q"], taps[f"layers.{i}.k"].repeat(c.group_size, axis=1)
            R = rotation_matrices(f, np.full(len(q), d), 1.0, like=q)
            row.append(np.einsum("ihd,jhd->hij", rotate(q, R), k) / np.sqrt(c.head_dim))
        rows.append(np.concatenate([r.ravel() for r in row]))
    return np.stack(rows)


def decay_bound(theta: float, hd: int, distances: np.ndarray) -> np.ndarray:
    """The bound of Su et al. 2021, section 3.4.3, on how large a score can be at a distance.

    The mean of |S_i|, S_i = Σ_{j<i} e^{i · distance · f_j}, over the hd/2 pairs, divided by its
    value at distance 0.
    """
    f = base_frequencies(theta, hd)
    sums = np.cumsum(np.exp(1j * np.outer(distances, f)), axis=1)
    return np.abs(sums).mean(axis=1) / (np.arange(1, hd // 2 + 1).mean())
