"""Stage 5: the feed-forward network, SwiGLU. Each token is worked on by itself.

A matrix is stored (out, in): use it as x @ w.T.

Letters of the shapes: L tokens, D features of a token, F features inside.
"""

import numpy as np


def swish(z):
    """A smooth ReLU, also called SiLU.

    swish(z) = z / (1 + e^(-z))

    Any shape; returns the same.
    """
    return z / (1 + np.exp(-z))


def swiglu(gate, up):
    """The swish of the gate decides how much of `up` passes.

    swiglu = swish(gate) · up,   feature by feature

    gate, up: (L, F). Returns (L, F).
    """
    return swish(gate) * up


def feed_forward(x, w_gate, w_up, w_down):
    """Project x to gate and up, join them by `swiglu`, and project back.

    x: (L, D); w_gate, w_up: (F, D); w_down: (D, F). Returns (L, D).
    """
    return swiglu(x @ w_gate.T, x @ w_up.T) @ w_down.T
