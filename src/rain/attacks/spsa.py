"""SPSA: Adam on a gradient that is estimated from scores, along random signs."""

from functools import partial

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
from rain.attacks._adam import Adam
from rain.attacks._draws import signs
from rain.attacks._scores import Scores
from rain.images import Images, project
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(sees="scores"))
def spsa(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    samples: int = 50,
    delta: float = 0.01,
    rate: float | None = None,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Estimate the margin's gradient by changing all pixels at once, up or down at random; descend with Adam.

    Args:
        norm: "linf" or "l2": of the projection, which follows each step.
        queries: images sent through the model for each image, at most.
        samples: images sent for one estimate, half of them on each side (the paper has up to 8192). The rest
            of the budget that is too small for a sample is spent on further steps along the last estimate.
        delta: by how much each value goes up or down in a sample. Against a random model it must move the
            margin by more than the randomness does.
        rate: Adam's; None is 2.5 eps over the root of the number of steps, since noise goes to and fro; for
            l2 divided by the root of the number of values.
        batch: images in one forward pass.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the signs.

    Source: Uesato et al. (arXiv 1802.05666): algorithm 1, with Adam, margin loss; Spall (1992).

    Differs: l2; a rate that follows the budget instead of 0.01; each step is looked at for one query more.
    Samples are clamped to [0, 1] and only serve the estimate: of the images after each step the one with the
    lowest margin is returned, or with a confidence the last.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, samples=samples, batch=batch)
    check_positive(delta=delta, rate=rate)
    pairs = max(1, samples // 2)
    if rate is None:
        steps = max(1, (queries - 1) // (2 * pairs + 1))
        rate = 2.5 * eps / steps**0.5
        if norm == "l2" and len(images):
            rate /= images[0].numel() ** 0.5
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    gradient, adam = torch.zeros_like(current), Adam(current)
    draw = partial(signs, like=images, generator=generator)
    while search.running:
        affordable = min(pairs, (search.queries_left - 1) // 2)
        if affordable:
            gradient = search.estimate_gradient(current, delta, affordable, draw)
        move = (rate * adam(gradient)).to(current)
        current = project(current - move, images[search.active], norm, eps)
        stay = search.try_points(current)
        current, gradient = current[stay], gradient[stay]
        adam.keep(stay)
    return search.best
