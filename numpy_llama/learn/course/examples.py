"""Small examples that can be checked with a pencil: one call of a learner's function each.

They are run before the whole model is, and shown with what came out. `expected` is written by hand,
`why` says how; `idea` and `mend` are the second and third hint where the example fails.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """One call, as a learner can type it, and what it must give."""

    function: str  # whose example it is
    call: str  # a Python expression
    expected: Any  # nested lists of numbers
    why: str
    idea: str
    mend: str
    setup: tuple[str, ...] = ()  # lines to run before


NORM = (
    Example(
        "rms",
        "rms(np.array([[3.0, 4.0]]), eps=0.0)",
        [3.5355339],
        "√((3² + 4²) / 2) = √12.5",
        "The root mean square is read backwards: square each number, take the mean, take the "
        "root. It is not the variance: no mean is subtracted first. And it is a mean, not a sum.",
        "np.sqrt(np.mean(x * x, axis=-1) + eps)",
    ),
    Example(
        "rms",
        "rms(np.array([[3.0, 4.0], [6.0, 8.0]]), eps=0.0)",
        [3.5355339, 7.0710678],
        "one number for each row; the second row is twice as long",
        "Each token (row) has a size of its own: the mean goes over the features, the last axis.",
        "give np.mean the argument axis=-1, and return the shape (L,)",
    ),
    Example(
        "rms",
        "rms(np.array([[1.0, 1.0]]), eps=3.0)",
        [2.0],
        "√(1 + 3) = 2; outside the root it would be 1 + 3 = 4",
        "eps keeps the root away from zero, so that a row of zeros is not divided by zero. It is "
        "added to the mean, before the root is taken.",
        "np.sqrt(mean + eps), not np.sqrt(mean) + eps",
    ),
    Example(
        "rms_norm",
        "rms_norm(np.array([[3.0, 4.0]]), gain=np.array([1.0, 1.0]), eps=0.0)",
        [[0.8485281, 1.1313708]],
        "3 / 3.5355 and 4 / 3.5355",
        "A row is divided by its root mean square. Unlike LayerNorm, RMSNorm subtracts no mean: "
        "a row may have one.",
        "x / rms(x, eps)[:, None] * gain",
    ),
    Example(
        "rms_norm",
        "rms_norm(np.array([[3.0, 4.0], [30.0, 40.0]]), gain=np.array([1.0, 1.0]), eps=0.0)",
        [[0.8485281, 1.1313708], [0.8485281, 1.1313708]],
        "the second row is ten times as long, and after the norm the same",
        "Each row is divided by its own number. (L, D) divided by (L,) does not do that: NumPy "
        "lines shapes up at the end.",
        "make the statistic a column: rms(x, eps)[:, None]",
    ),
    Example(
        "rms_norm",
        "rms_norm(np.array([[3.0, 4.0]]), gain=np.array([2.0, 10.0]), eps=0.0)",
        [[1.6970563, 11.3137085]],
        "0.8485 · 2 and 1.1314 · 10",
        "The gain is learned: one number for each feature, which multiplies it after the division.",
        "multiply by gain; not by 1 + gain, and do not leave it out",
    ),
    Example(
        "rms_norm",
        "rms_norm(np.array([[1.0, 1.0]]), gain=np.array([1.0, 1.0]), eps=3.0)",
        [[0.5, 0.5]],
        "1 / √(1 + 3)",
        "eps belongs into the norm too: give it on to `rms`, inside the root.",
        "x / rms(x, eps)[:, None] * gain",
    ),
)

ROPE = (
    Example(
        "angles",
        "angles(np.array([0, 1, 2]), theta=100.0, hd=4)",
        [[0.0, 0.0], [1.0, 0.1], [2.0, 0.2]],
        "pair 0 turns by 100^0 = 1 for each position, pair 1 by 100^(-2/4) = 0.1",
        "Pair i turns by θ^(-2i/hd) for each position: hd features make hd/2 pairs, and the "
        "exponents are 0, -2/hd, -4/hd, … The first position, 0, is not turned at all.",
        "np.outer(positions, theta ** (-np.arange(0, hd, 2) / hd))",
    ),
    Example(
        "angles",
        "angles(np.array([7]), theta=100.0, hd=4)",
        [[7.0, 0.7]],
        "a single token, at position 7: 7 · 1 and 7 · 0.1",
        "The position is given: a token that comes later in the text begins at 7, not at 0.",
        "use `positions`, not np.arange(len(positions))",
    ),
    Example(
        "rotate",
        "rotate(np.array([[[1.0, 0.0]]]), angle=np.array([[np.pi / 2]]))",
        [[[0.0, 1.0]]],
        "an arrow to the right, turned by a quarter counter-clockwise, points up",
        "Turned counter-clockwise, (a, b) becomes (a cos - b sin, a sin + b cos). Look at the "
        "signs; and both need the old a and the old b.",
        "the first of the pair is a * cos - b * sin, the second a * sin + b * cos",
    ),
    Example(
        "rotate",
        "rotate(np.array([[[0.0, 1.0]]]), angle=np.array([[np.pi / 2]]))",
        [[[-1.0, 0.0]]],
        "an arrow up, turned by a quarter counter-clockwise, points to the left",
        "Both lines need the old a and the old b: if a was overwritten by then, b comes out wrong.",
        "compute both from copies of a and b, then put them into a new array",
    ),
    Example(
        "rotate",
        "rotate(np.array([[[1.0, 0.0, 0.0, 2.0]]]), angle=np.array([[np.pi / 2, np.pi / 2]]))",
        [[[0.0, 1.0, -2.0, 0.0]]],
        "two pairs of neighbours, (1, 0) and (0, 2), each turned by a quarter",
        "Here a pair is two neighbours: (0, 1), (2, 3), … Other programs pair i with i + hd/2; "
        "their weights are stored in another order.",
        "a = x[..., 0::2], b = x[..., 1::2], and put them back in the same places",
    ),
    Example(
        "rotate",
        "rotate(np.array([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]]), "
        "angle=np.array([[0.0], [np.pi / 2]]))",
        [[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]]],
        "the first token is not turned; the second is, in both of its heads",
        "The angle depends on the token (the first axis), and is the same for all its heads (the "
        "second axis).",
        "give cos and sin an axis for the heads: np.cos(angle)[:, None]",
    ),
)

ATTENTION = (
    Example(
        "attention_scores",
        "attention_scores(np.array([[[2.0, 0.0, 0.0, 0.0]]]), np.array([[[3.0, 0.0, 0.0, 0.0]]]))",
        [[[3.0]]],
        "2 · 3 / √4",
        "The product grows with the number of features of a head, so it is divided by √hd: the "
        "root of the size of one head, not hd, and not the size D of the whole vector.",
        "divide by np.sqrt(q.shape[-1])",
    ),
    Example(
        "attention_scores",
        "attention_scores(np.array([[[1.0]], [[2.0]]]), np.array([[[1.0]], [[10.0]], [[100.0]]]))",
        [[[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]],
        "one head: a row for each of two queries, a column for each of three keys",
        "The result is (H, L, S): for each head a table, whose rows are the queries.",
        'np.einsum("lhd,shd->hls", q, keys), once there are as many key heads as query heads',
    ),
    Example(
        "attention_scores",
        "attention_scores(np.array([[[1.0], [2.0], [3.0], [4.0]]]), np.array([[[10.0], [100.0]]]))",
        [[[10.0]], [[20.0]], [[300.0]], [[400.0]]],
        "query heads 0 and 1 use key head 0 (10), query heads 2 and 3 use key head 1 (100)",
        "Neighbouring query heads share a key head: 0 0 1 1, not 0 1 0 1.",
        "k.repeat(H // K, axis=1); np.tile gives the other order",
    ),
    Example(
        "softmax",
        "softmax(np.array([[0.0, np.log(3.0)]]))",
        [[0.25, 0.75]],
        "e^0 = 1 and e^(log 3) = 3, divided by their sum 4",
        "e to the power of each score, divided by the sum of those of its row.",
        "e = np.exp(scores - scores.max(axis=-1, keepdims=True)); "
        "return e / e.sum(axis=-1, keepdims=True)",
    ),
    Example(
        "softmax",
        "softmax(np.array([[0.0, 0.0], [5.0, 5.0]]))",
        [[0.5, 0.5], [0.5, 0.5]],
        "each row by itself: its two scores are equal",
        "Each row, which is one query, shares out its attention among the keys: the sum goes over "
        "the last axis, and is 1 in every row.",
        "axis=-1 and keepdims=True, for the maximum and for the sum",
    ),
    Example(
        "softmax",
        "softmax(np.array([[1000.0, 1000.0]]))",
        [[0.5, 0.5]],
        "two equal scores, however large",
        "e^1000 is larger than any number that the computer has, and ∞ / ∞ is not a number. "
        "Subtracting the same number from all scores of a row changes nothing.",
        "subtract scores.max(axis=-1, keepdims=True) before np.exp",
    ),
    Example(
        "softmax",
        "softmax(np.array([[0.0, -np.inf]]))",
        [[1.0, 0.0]],
        "e^(-∞) = 0: what is masked gets nothing",
        "A score of -∞ must get exactly 0, and the rest of the row must not notice it.",
        "subtract the maximum of the row (not its minimum or mean) before np.exp",
    ),
    Example(
        "causal_mask",
        "causal_mask(3, 3)",
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
        "token 0 sees itself alone; token 2 sees all three (1 is True, 0 is False)",
        "A token sees itself and what is before it, never what comes after: it could copy the "
        "answer. It must see itself: else token 0 sees nothing at all.",
        "key j is seen by query i where j <= i: np.arange(S)[None, :] <= positions[:, None]",
    ),
    Example(
        "causal_mask",
        "causal_mask(2, 5)",
        [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
        "three tokens are in the cache: the two queries stand at positions 3 and 4",
        "The queries are the last L of S positions. With a cache, the first query is not at "
        "position 0 but at S - L.",
        "compare with the positions np.arange(S - L, S), not np.arange(L)",
    ),
    Example(
        "attend",
        "attend(np.zeros((1, 4, 1)), np.zeros((1, 2, 1)), np.array([[[10.0], [20.0]]]))",
        [[[10.0], [10.0], [20.0], [20.0]]],
        "query heads 0 and 1 use value head 0 (10), query heads 2 and 3 use value head 1 (20)",
        "Values are shared as keys are: neighbouring query heads use the same. And the result is "
        "(L, H, hd): the tokens first.",
        "v.repeat(H // K, axis=1); np.tile gives the other order",
    ),
    Example(
        "attend",
        "attend(np.ones((2, 1, 1)), np.full((2, 1, 1), -9.0), np.array([[[1.0]], [[2.0]]]))",
        [[[1.0]], [[1.5]]],
        "the first query sees the first value alone, though its score is as low as -9",
        "A masked score must become -∞ before the softmax. 0 is not small: e^0 = 1, and beside a "
        "score of -9 it takes nearly all of the attention.",
        "np.where(mask, scores, -np.inf); multiplying the scores by the mask is not enough",
    ),
    Example(
        "attend",
        "attend(np.zeros((3, 1, 1)), np.zeros((3, 1, 1)), np.array([[[3.0]], [[6.0]], [[9.0]]]))",
        [[[3.0]], [[4.5]], [[6.0]]],
        "all scores are equal: the averages of 3; of 3 and 6; of 3, 6 and 9",
        "Each query averages the values of the keys that it may see, itself among them.",
        "scores = np.where(causal_mask(L, S), attention_scores(q, k), -np.inf), then softmax, "
        "then times v",
    ),
)
