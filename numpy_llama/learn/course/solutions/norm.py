"""Stage 1: RMSNorm. Bring every row of numbers to the same size, then scale each feature.

Letters of the shapes: L tokens, D features of a token.
"""

import numpy as np


def rms(x, eps):
    """The root mean square of each row: its size.

    rms(x) = √(mean of x² + eps)

    x: (L, D). Returns (L,): one number for each row.
    """
    return np.sqrt(np.mean(x * x, axis=-1) + eps)


def rms_norm(x, gain, eps):
    """Divide each row by its root mean square; then multiply each feature by its gain.

    y = x / rms(x) · gain

    x: (L, D); gain: (D,). Returns (L, D). You may use `rms`.
    """
    return x / rms(x, eps)[:, None] * gain
