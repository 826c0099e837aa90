"""Numbers that need no trained model: counted operations, measured memory, rotated pairs."""

import tracemalloc
from collections import Counter

import numpy as np

from numpy_llama.attention import attend, attend_blocked
from numpy_llama.norm import rms, rms_norm
from numpy_llama.rope import base_frequencies, rotate, rotation_matrices


class Counted(np.ndarray):
    """An array that counts in `done` what is computed with it: FLOPs of products, element steps."""

    done: Counter = Counter()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(i) for i in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(o) for o in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counted.done["products"] += 2 * result.size * plain[0].shape[-1]
        elif method == "reduce":
            Counted.done["reductions"] += 1
            Counted.done["elementwise"] += plain[0].size
        else:
            Counted.done["elementwise"] += result.size
        return result.view(Counted) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, types, inputs, options):
        result = super().__array_function__(function, types, inputs, options)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def counted(compute) -> Counter:
    """What `compute()` did, on arrays that are Counted."""
    Counted.done = Counter()
    compute()
    return Counted.done


def layer_norm(x, gain, bias, eps: float):
    """LayerNorm, to compare with: centre, scale by the deviation, gain and bias."""
    centred = x - x.mean(axis=-1)[:, None]
    deviation = np.sqrt(np.square(centred).mean(axis=-1) + eps)
    return centred / deviation[:, None] * gain + bias


def norm_steps(D: int) -> tuple[Counter, Counter]:
    """What RMSNorm and LayerNorm do for one row of D features."""
    x = np.random.default_rng(0).normal(size=(1, D)).view(Counted)
    ones = np.ones(D)
    ours = counted(lambda: rms_norm(x, ones, rms(x, 1e-5)))
    return ours, counted(lambda: layer_norm(x, ones, ones, 1e-5))


def attention_memory(L: int, H: int = 9, K: int = 3, hd: int = 64) -> tuple[int, int]:
    """Bytes at the peak of one attention over L tokens in float32: textbook, and blocked."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=(L, H, hd)).astype(np.float32)
    k, v = rng.normal(size=(2, K, L, hd)).astype(np.float32)
    peaks = []
    for function in (attend, attend_blocked):
        tracemalloc.start()
        function(q, k, v)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks[0], peaks[1]


def scores_at(m: int, n: int, hd: int = 8, seed: int = 0) -> float:
    """The product of one query at m and one key at n, both turned."""
    q, k = np.random.default_rng(seed).normal(size=(2, 1, 1, hd))
    f = base_frequencies(1e4, hd)
    turn = [rotation_matrices(f, np.array([p]), 1.0, like=q) for p in (m, n)]
    return float(np.sum(rotate(q, turn[0]) * rotate(k, turn[1])))


def whole_matrix(position: int, hd: int) -> np.ndarray:
    """RoPE as one (hd, hd) matrix, zero but for 2×2 blocks on its diagonal: Su et al., eq. 15."""
    R = rotation_matrices(base_frequencies(1e4, hd), np.array([position]), 1.0, like=np.zeros(0))[0]
    whole = np.zeros((hd, hd))
    for i, block in enumerate(R):
        whole[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
    return whole
