"""RMSNorm: divide a vector by its root mean square, then scale each feature by a learned gain.

Unlike LayerNorm it subtracts no mean and adds no bias: only the length of the vector is normalised.
"""

import numpy as np


def rms(x: np.ndarray, eps: float) -> np.ndarray:
    """The statistic of RMSNorm: the root mean square of each row.

    rms(x) = √(mean(x²) + ε)

    x: (L, D); returns (L,). ε stands inside the root: it bounds the result away from zero, so a
    row of zeros stays zero instead of becoming NaN. Zhang & Sennrich 2019, eq. 4 (ε is Llama's).
    """
    return np.sqrt(np.square(x).mean(axis=-1) + eps)


def rms_norm(x: np.ndarray, gain: np.ndarray, statistic: np.ndarray) -> np.ndarray:
    """Normalise each row of `x` by its `statistic`, and scale each feature by its gain.

    y = x / rms(x) · gain

    x: (L, D); gain: (D,); statistic: (L,), from `rms`. The statistic is an argument, and not
    computed here, so that it can be seen. Scaling a row of x leaves y as it was, up to ε.
    """
    return x / statistic[:, None] * gain
