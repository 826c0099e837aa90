"""Stage 2: rotary position embedding (RoPE). Write the position of a token into its vectors.

A head's vector is cut into pairs of neighbours: (0, 1), (2, 3), … Each pair is an arrow in the
plane, and is turned: further with each position, and slower from pair to pair.

Letters of the shapes: L tokens, H heads, hd features of a head (even).
"""

import numpy as np


def angles(positions, theta, hd):
    """By what angle each pair is turned at each position, in radians.

    angle of pair i at position p = p · θ^(-2i/hd),   i = 0, 1, … hd/2 - 1

    positions: (L,), whole numbers that need not begin at 0. Returns (L, hd/2).
    """
    frequency = theta ** (-np.arange(0, hd, 2) / hd)
    return positions[:, None] * frequency


def rotate(x, angle):
    """Turn each pair (a, b) of neighbours by its angle, counter-clockwise.

    a' = a · cos - b · sin
    b' = a · sin + b · cos

    x: (L, H, hd); angle: (L, hd/2), the same for all heads of a token. Returns (L, H, hd).
    """
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]  # (L, 1, hd/2)
    a, b = x[..., 0::2], x[..., 1::2]
    y = np.empty_like(x)
    y[..., 0::2] = a * cos - b * sin
    y[..., 1::2] = a * sin + b * cos
    return y
