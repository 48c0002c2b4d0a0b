"""NES: projected steps along a gradient that is estimated from scores, along Gaussian directions."""

from functools import partial

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_positive
from rain.attacks._draws import gaussian
from rain.attacks._scores import Scores
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(sees="scores"))
def nes(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    samples: int = 50,
    sigma: float = 0.001,
    step: float | None = None,
    momentum: float = 0.9,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Estimate the margin's gradient from antithetic Gaussian samples, and descend within the budget.

    Args:
        norm: "linf" (steps along signs) or "l2".
        queries: images sent through the model for each image, at most.
        samples: images sent for one estimate, half of them on each side. The rest of the budget that is too
            small for a sample is spent on further steps along the last estimate.
        sigma: standard deviation of the samples. Against a random model it must be so large that it moves the
            margin by more than the randomness does, or the estimate is noise: a defence's randomness calls
            for 0.01 or more.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps.
        momentum: what is kept of the estimates before, in [0, 1).
        batch: images in one forward pass.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the samples.

    Source: Ilyas et al. (arXiv 1804.08598): algorithm 1 and the query-limited attack; momentum as in the
        authors' code.

    Differs: margin of the logits instead of the probability; untargeted; the step has a fixed length, and
    each is looked at for one query more. Samples are clamped to [0, 1], since a model may refuse others, and
    they only serve the estimate: of the images after each step the one with the lowest margin is returned, or
    with a confidence the last.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, samples=samples, batch=batch)
    check_positive(sigma=sigma, step=step)
    if not 0 <= momentum < 1:
        raise OptionError(f"momentum must be at least 0 and less than 1, got {momentum!r}")
    pairs = max(1, samples // 2)
    steps = max(1, (queries - 1) // (2 * pairs + 1))
    length = 2.5 * eps / steps if step is None else step
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    gradient = torch.zeros_like(current)
    draw = partial(gaussian, like=images, generator=generator)
    while search.running:
        affordable = min(pairs, (search.queries_left - 1) // 2)
        if affordable:
            estimate = search.estimate_gradient(current, sigma, affordable, draw)
            gradient = momentum * gradient + (1 - momentum) * estimate
        moved = current - length * ascend(gradient, norm)
        current = project(moved, images[search.active], norm, eps)
        stay = search.try_points(current)
        current, gradient = current[stay], gradient[stay]
    return search.best
