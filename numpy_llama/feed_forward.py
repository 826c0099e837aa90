"""The feed-forward network of a block: SwiGLU, a gated linear unit whose gate is Swish."""

import numpy as np

from .backend import Array


def swish(z: Array, beta: float = 1.0) -> Array:
    """Swish, a smooth ReLU; with β = 1 it is also called SiLU.

    swish(z) = z · σ(βz) = z / (1 + e^(-βz))

    Any shape. β → ∞ gives ReLU, β = 0 gives z/2. Ramachandran et al. 2017, section 4.
    """
    # Far below zero e^(-βz) overflows to infinity, and z / ∞ = -0 is the right limit: no warning.
    with np.errstate(over="ignore"):
        return z / (1 + np.exp(-beta * z))


def swiglu(gate: Array, up: Array) -> Array:
    """Let the Swish of one projection decide how much of the other passes.

    swiglu(x) = swish(x W_gateᵀ) ⊙ (x W_upᵀ)

    gate, up: (L, F), already projected. Shazeer 2020, eq. 6. Which of the two is passed through
    Swish matters: exchanged, the model still speaks, and is wrong.

    Example: three features of up, all 5; the gate lets none, most, and a little of it through.

    >>> swiglu(gate=np.array([[0.0, 1.0, -4.0]]), up=np.array([[5.0, 5.0, 5.0]])).round(2)
    array([[ 0.  ,  3.66, -0.36]])
    """
    return swish(gate) * up
