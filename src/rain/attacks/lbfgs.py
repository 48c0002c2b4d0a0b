"""The first attack on neural networks: box-constrained L-BFGS."""

import torch
from torch import Generator, Tensor

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
    generator: Generator | None = None,
) -> Images:
    """Minimise the squared distance plus a constant times the cross-entropy to the wrong classes, by L-BFGS, image by image.

    Args:
        model: images to logits. Its line search compares calls: average a random model first
            (``rain.adaptive.Expectation``).
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: an image for which nothing within it was found comes back as it was; may be ``math.inf``.
        norm: "l2".
        steps: of L-BFGS for each constant, each with one forward and backward pass or a few.
        searches: constants tried: times ten until one fools, then halving.
        constant: the first one.
        confidence: the best wrong logit must be above the right one by more than this.
        generator: unused, nothing here is random.

    Raises:
        OptionError: an argument out of range, another norm, or the model gives no gradient.

    Source: Szegedy et al. (arXiv 1312.6199), section 4.1.

    Differs: any wrong answer counts, so the cross-entropy is that of all wrong classes together, not of one
        target; the distance is squared, so that it has a gradient everywhere, and the constant stands before
        the other term; the box is kept by a change of variable (tanh, as Carlini and Wagner do) instead of
        L-BFGS-B.
    """
    check_minimising(norm, eps, confidence, ("l2",))
    check_counts(steps=steps, searches=searches)
    check_positive(constant=constant)
    found, search = (
        Smallest(images, norm, eps, confidence),
        ConstantSearch(len(images), constant, images.device),
    )
    if not len(images):
        return found.best
    rows = found.begin(model, labels)
    for row in rows.split(1) if len(rows) else ():
        for _ in range(searches):
            search.update(row, _minimise(model, found, row, labels[row], search.constant[row], steps))
    return found.best


def _minimise(
    model: Model, found: Smallest, row: Tensor, label: Tensor, constant: Tensor, steps: int
) -> Tensor:
    """Minimise for one image and one constant, and offer every point; returns whether one of them fooled."""
    clean = found.images[row]
    limit = 1 - max(1e-6, 4 * torch.finfo(found.wide).eps)
    place = (limit * (2 * clean.to(found.wide) - 1)).atanh().requires_grad_()
    fooled = torch.zeros_like(row, dtype=torch.bool)
    optimizer = torch.optim.LBFGS([place], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        points = ((place.detach().tanh() + 1) / 2).to(clean.dtype)
        if (
            not points.isfinite().all()
        ):  # where calls differ, the line search can lose its way: no slope ends it
            place.grad = torch.zeros_like(place)
            return points.new_tensor(torch.inf)
        gradient, value, logits = differentiate(model, points, lambda logits: -_wrong(logits, label))
        fooled.logical_or_(found.offer(row, points, margins(logits, label)))
        points = points.to(found.wide)
        delta = points - clean
        place.grad = (2 * delta + constant * gradient) * 2 * points * (1 - points)
        return delta.square().sum() + (constant * value).sum()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return fooled


def _wrong(logits: Tensor, label: Tensor) -> Tensor:
    """The logarithm of the probability of any wrong class."""
    return logits.scatter(1, label[:, None], -torch.inf).logsumexp(1) - logits.logsumexp(1)
