"""RMSNorm: divide a vector by its root mean square, then scale each feature by a learned gain.

Unlike LayerNorm it subtracts no mean and adds no bias: only the length of the vector is normalised.
"""

import numpy as np

from .backend import Array


def rms(x: Array, eps: float) -> Array:
    """The statistic of RMSNorm: the root mean square of each row.

    rms(x) = √(mean(x²) + ε)

    x: (L, D); returns (L,). ε stands inside the root: it bounds the result away from zero, so a
    row of zeros stays zero instead of becoming NaN. Zhang & Sennrich 2019, eq. 4 (ε is Llama's).
    """
    return np.sqrt(np.square(x).mean(axis=-1) + eps)


def rms_norm(x: Array, gain: Array, statistic: Array) -> Array:
    """Normalise each row of `x` by its `statistic`, and scale each feature by its gain.

    y = x / rms(x) · gain

    x: (L, D); gain: (D,); statistic: (L,), from `rms`. The statistic is an argument, and not
    computed here, so that it can be seen. Scaling a row of x leaves y as it was, up to ε.

    Example: the second row is ten times as long.

    >>> x = np.array([[3.0, 4.0], [30.0, 40.0]])
    >>> rms_norm(x, gain=np.ones(2), statistic=rms(x, eps=0.0)).round(3)
    array([[0.849, 1.131],
           [0.849, 1.131]])
    """
    return x / statistic[:, None] * gain
