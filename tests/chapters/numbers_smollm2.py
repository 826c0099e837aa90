"""What the chapters state of a run of SmolLM2: each from the taps and losses of that run."""

import numpy as np

from docs.learn.figures import seen, variants
from numpy_llama.sampling import Sampling, next_token_probabilities
from tests.chapters.chapters import Stated


def share(run):
    """The per cent of all attention that the first token gets."""
    return 100 * seen.first_token_share(run.probs)


def by_distance(run):
    return [seen.by_distance(run.probs, d) for d in (1, 4, 16)]


def middle(run, *layers):
    return [float(np.median(run.sizes[i])) for i in layers]


def nearer_to_zero(run):
    near, far = np.abs(run.replaced[0]), np.abs(run.replaced[4096])
    return 100 * float((far < near).mean())


def mean(run, distance):
    return float(run.replaced[distance].mean())


def size(run, distance):
    return float(np.abs(run.replaced[distance]).mean())


def likeliest(run, temperature, count=1):
    p = next_token_probabilities(run.girl, Sampling(temperature=temperature))
    return [float(x) for x in np.sort(p)[::-1][:count]]


def choices(run, temperature):
    """The exponential of the entropy, in tokens."""
    p = next_token_probabilities(run.girl, Sampling(temperature=temperature))
    return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))


def story(run):
    return [len(variants.STORY.split()), len(run.text.encode(variants.STORY))]


def percents(run):
    return [100 * float(run.mean_share.min()), 100 * float(run.mean_share.max())]


OTHERS = ("GELU gate", "ReLU gate", "sigmoid gate (GLU)", "no activation", "no up")
IDENTITY, EXCHANGED = "x·σ(x) + (1-σ(x))·x", "gate and up exchanged"

SMOLLM2 = [
    Stated(1, "has {} words and {} tokens", story),
    Stated(2, "mean² is between {} % and {} % of the mean square", percents),
    Stated(2, "grows from {} to more than 30", lambda r: middle(r, 0)),
    Stated(3, "goes from {} at distance 0 to {} at 4,096", lambda r: [mean(r, 0), mean(r, 4096)]),
    Stated(3, "goes *up*, from {} to {}, and", lambda r: [size(r, 0), size(r, 4096)]),
    Stated(3, "only {} % of the pairs", nearer_to_zero),
    Stated(4, "our story (see below) goes from {} to {}.", lambda r: [r.base, r.without["√hd"]]),
    Stated(4, "In this run {} % of all attention goes", share),
    Stated(4, "{} for the token before, {} at four tokens, {} at sixteen", by_distance),
    Stated(4, "and {} is the right one", lambda r: r.base),
    Stated(4, "of the story, from {} to {}. The", lambda r: [r.base, r.without["mask"]]),
    Stated(4, "and {} % of that is", share),
    Stated(6, "the loss of the story goes from {} to {}.", lambda r: [r.base, r.pooled]),
    Stated(7, "the loss of the story from {} to {}.", lambda r: [r.base, r.activations[IDENTITY]]),
    Stated(
        7,
        "The loss is {} as trained; {} with GELU, {} with ReLU, {} with a sigmoid gate, {} with"
        " none, {} without `up`, and {} when",
        lambda r: [r.base] + [r.activations[k] for k in (*OTHERS, EXCHANGED)],
    ),
    Stated(7, "with a loss of {} where", lambda r: r.activations[EXCHANGED]),
    Stated(
        8,
        "is {} after the embedding, {} after one layer, {} after twenty and {} at the end",
        lambda r: middle(r, 0, 1, 20, 30),
    ),
    Stated(
        8,
        "RMS jumps to {} after twelve layers and is {} at the end",
        lambda r: [float(r.sizes[12, 0]), float(r.sizes[30, 0])],
    ),
    Stated(8, "to which {} % of attention goes", share),
    Stated(8, "{} and {} are the proof", lambda r: [*middle(r, 30), float(r.sizes[12, 0])]),
    Stated(9, "` girl` has {} and ` town` {}", lambda r: likeliest(r, 1.0, 2)),
    Stated(9, "at 0.5 ` girl` has {};", lambda r: likeliest(r, 0.5)),
    Stated(9, "at 2 it has only {},", lambda r: likeliest(r, 2.0)),
    Stated(
        9,
        "{} at temperature 0.5, {} at 1, and {} at 2",
        lambda r: [choices(r, t) for t in (0.5, 1, 2)],
    ),
    Stated(9, "of the story it is {}; e^", lambda r: r.base),
    Stated(9, "is about {}, the *perplexity*", lambda r: float(np.exp(r.base))),
    Stated(10, "its loss is {}, as at 0", lambda r: variants.loss(variants.far(r.model), r.ids)),
    Stated(10, "where {} is the loss without any", lambda r: r.base),
    Stated(11, "only {} % have a score", nearer_to_zero),
    Stated(11, "SmolLM2's loss from {} to {}.", lambda r: [r.base, r.activations[IDENTITY]]),
]
