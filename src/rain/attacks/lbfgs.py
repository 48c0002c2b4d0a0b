"""The first attack on neural networks: box-constrained L-BFGS."""

from functools import partial

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import check_counts, check_positive, differentiate, margins
from rain.attacks._minimising import ConstantSearch, Smallest, check_minimising
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="boundary"))
def lbfgs(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    steps: int = 30,
    searches: int = 10,
    constant: float = 0.01,
    confidence: float = 0.0,
) -> Images:
    """Minimise the squared distance plus a constant times the cross-entropy to the wrong classes.

    This is done by L-BFGS, image by image.

    Args:
        model: images to logits. Its line search compares calls: average a random model first
            (``rain.adaptive.Expectation``).
        eps: an image that nothing within it fools comes back as it was; may be ``math.inf``.
        norm: "l2" only.
        steps: of L-BFGS for each constant, each with one forward and backward pass or a few.
        searches: constants tried: times ten until one fools, then halving.
        constant: the first one.
        confidence: the best wrong logit must be above the right one by more than this.

    Source: Szegedy et al. (arXiv 1312.6199), section 4.1.

    Differs: any wrong answer counts, so the cross-entropy is that of all wrong classes together, not of one
        target; the distance is squared, so that it has a gradient everywhere, and the constant stands before
        the other term; the box is kept by a change of variable (tanh, as Carlini and Wagner do) instead of
        L-BFGS-B.
    """
    check_minimising(norm, eps, confidence, ("l2",))
    check_counts(steps=steps, searches=searches)
    check_positive(constant=constant)
    smallest = Smallest(images, norm, eps, confidence)
    search = ConstantSearch(len(images), constant, images.device)
    if not len(images):
        return smallest.best
    rows = smallest.begin(model, labels)
    for row in rows.split(1) if len(rows) else ():
        for _ in range(searches):
            fooled = _minimise(model, smallest, row, labels[row], search.constant[row], steps)
            search.update(row, fooled)
    return smallest.best


def _minimise(
    model: Model, smallest: Smallest, row: Tensor, label: Tensor, constant: Tensor, steps: int
) -> Tensor:
    """Minimise for one image and one constant, and offer every point; returns whether one of them fooled."""
    clean, wide = smallest.images[row], smallest.wide
    limit = 1 - max(1e-6, 4 * torch.finfo(wide).eps)
    place = (limit * (2 * clean.to(wide) - 1)).atanh().requires_grad_()
    fooled = torch.zeros_like(row, dtype=torch.bool)
    optimizer = torch.optim.LBFGS([place], max_iter=steps, line_search_fn="strong_wolfe")
    objective = partial(_loss, label=label)

    def closure() -> Tensor:
        points = ((place.detach().tanh() + 1) / 2).to(clean.dtype)
        # Where calls differ, the line search can lose its way; no slope ends it.
        if not points.isfinite().all():
            place.grad = torch.zeros_like(place)
            return points.new_tensor(torch.inf)
        gradient, value, logits = differentiate(model, points, objective)
        fooled.logical_or_(smallest.offer(row, points, margins(logits, label)))
        points = points.to(wide)
        delta = points - clean
        place.grad = (2 * delta + constant * gradient) * 2 * points * (1 - points)
        return delta.square().sum() + (constant * value).sum()

    optimizer.step(closure)
    return fooled


def _loss(logits: Tensor, label: Tensor) -> Tensor:
    """The cross-entropy to all wrong classes together: minus the logarithm of their probability."""
    wrong = logits.scatter(1, label[:, None], -torch.inf)
    return -(wrong.logsumexp(1) - logits.logsumexp(1))
