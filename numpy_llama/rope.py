"""Rotary position embedding (RoPE): turn each pair of features, further with each position.

Rotating q by its position m and k by its position n leaves q·k dependent on m - n alone. This file
has the frequencies, the rotation matrices, the rotation, and the two layouts in which programs keep
the pairs; rope_scaling.py has what stretches it to longer contexts. Su et al. 2021, section 3.2.
"""

import numpy as np

from .backend import Array


def base_frequencies(theta: float, hd: int) -> Array:
    """Radians per position of each pair of features: fᵢ = θ^(-2i/hd), shape (hd/2,), float64."""
    return theta ** -(np.arange(0, hd, 2) / hd)


def rotation_matrices(f: Array, positions: Array, magnitude: float, like: Array) -> Array:
    """The table of rotations: R[l, i] turns pair i of the token at positions[l] by its angle.

    R = magnitude · [[cos φ, -sin φ], [sin φ, cos φ]],  φ = position · fᵢ

    f: (hd/2,); positions: (L,); returns (L, hd/2, 2, 2) with the dtype and on the device of `like`.
    magnitude: 1, but for YaRN. Angles are float64: in float32 one near 10⁵ is off by 0.004.
    """
    angle = positions[:, None] * f  # (L, hd/2)
    cos, sin = magnitude * np.cos(angle), magnitude * np.sin(angle)
    R = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    return np.asarray(R.astype(like.dtype), like=like)


def rotate_by_matmul(x: Array, R: Array) -> Array:
    """Rotate the pairs of every head by their position: the textbook form.

    (x₂ᵢ, x₂ᵢ₊₁)ᵀ ← R[l, i] (x₂ᵢ, x₂ᵢ₊₁)ᵀ

    x: (L, H, hd); R: (L, hd/2, 2, 2). Su et al. 2021, eq. 15.
    """
    L, H, hd = x.shape
    pairs = x.reshape(L, H, hd // 2, 2, 1)  # each pair a column
    return (R[:, None] @ pairs).reshape(L, H, hd)


def rotate(x: Array, R: Array) -> Array:
    """`rotate_by_matmul` with the 2×2 product written out, which NumPy does many times faster.

    Example: one head with the pairs (1, 0) and (0, 2), each turned by a right angle.

    >>> quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> rotate(np.array([[[1.0, 0.0, 0.0, 2.0]]]), np.array([[quarter, quarter]]))
    array([[[ 0.,  1., -2.,  0.]]])
    """
    R = R[:, None]  # the same rotation for every head
    a, b = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = R[..., 0, 0] * a + R[..., 0, 1] * b
    out[..., 1::2] = R[..., 1, 0] * a + R[..., 1, 1] * b
    return out


# The two layouts. The paper, Meta, llama2.c and GGUF pair feature 2i of a head with 2i + 1
# (adjacent), and so do we; Hugging Face pairs i with i + hd/2 (half-split). Scores are the same in
# both, for q and k move alike. With hd = 6, ours are Hugging Face's features 0 3 1 4 2 5.


def adjacent(x: Array) -> Array:
    """Heads (…, hd) of a program that has Hugging Face's layout, in ours."""
    return x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(x.shape)


def half_split(x: Array) -> Array:
    """The inverse of `adjacent`."""
    return x.reshape(*x.shape[:-1], -1, 2).swapaxes(-1, -2).reshape(x.shape)


def adjacent_rows(w: Array, n_heads: int) -> Array:
    """The same for the rows of a query or key projection, (n_heads · hd, D), or of its bias."""
    return w.reshape(n_heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def half_split_rows(w: Array, n_heads: int) -> Array:
    """The inverse of `adjacent_rows`."""
    return w.reshape(n_heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
