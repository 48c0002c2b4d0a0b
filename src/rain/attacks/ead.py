"""EAD, the elastic-net attack."""

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import check_counts, check_positive, differentiate, margins
from rain.attacks._minimising import ConstantSearch, Smallest, check_minimising
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="boundary"))
def ead(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    steps: int = 200,
    searches: int = 9,
    rate: float = 0.01,
    constant: float = 0.01,
    beta: float = 0.001,
    rule: str = "en",
    fista: bool = True,
    confidence: float = 0.0,
) -> Images:
    """Minimise an elastic net (L1 plus squared L2 distance) plus a constant times the margin.

    Few pixels change.

    Args:
        model: images to logits. Against a random one a single lucky draw counts as success: average it first
            (``rain.adaptive.Expectation``), or ask for confidence.
        eps: an image that nothing within it fools comes back as it was; may be ``math.inf``.
            Measured in L2, whatever the rule.
        norm: "l2", the norm of the budget.
        steps: for each constant.
        searches: constants tried: times ten until one fools, then halving.
        rate: length of the first step; it falls with the square root of the steps that are left.
        constant: the first one.
        beta: weight of the L1 distance; a value that changed by less is put back at each step.
        rule: which of the images that fool and are within eps is returned: "en" has the smallest beta * L1 +
            L2^2, "l1" the smallest L1.
        fista: with Nesterov's momentum, one more forward pass a step; otherwise ISTA.
        confidence: the best wrong logit must be above the right one by more than this (kappa in the paper).

    Source: Chen et al. (arXiv 1709.04114), algorithm 1 and equation 5; the falling rate is that of the
        authors' code.

    Differs: the point that momentum extrapolates to is brought into [0, 1], outside of which the model has no
        meaning, and is one of those that may be returned.
    """
    check_minimising(norm, eps, confidence, ("l2",))
    check_counts(steps=steps, searches=searches)
    check_positive(rate=rate, constant=constant)
    if rule not in ("en", "l1"):
        raise OptionError(f"rule must be en or l1, got {rule!r}")
    if not beta >= 0:
        raise OptionError(f"beta must be at least 0, got {beta!r}")
    smallest = Smallest(images, norm, eps, confidence)
    search = ConstantSearch(len(images), constant, images.device)
    if not len(images):
        return smallest.best
    rows = smallest.begin(model, labels)
    net = ElasticNet(smallest, rows, labels[rows], beta, rule)
    for _ in range(searches if len(rows) else 0):
        search.update(rows, net.descend(model, search.constant[rows], steps, rate, fista))
    return smallest.best


class ElasticNet:
    """The descent for one constant for each image.

    Args:
        smallest: where points are offered.
        rows: the images' numbers there.
        labels: of these rows.
        beta, rule: as in ``ead``.
    """

    def __init__(self, smallest: Smallest, rows: Tensor, labels: Tensor, beta: float, rule: str):
        self.smallest, self.rows, self.labels, self.beta, self.rule = smallest, rows, labels, beta, rule
        self.clean, self.dtype = smallest.images[rows].to(smallest.wide), smallest.images.dtype

    def descend(self, model: Model, constant: Tensor, steps: int, rate: float, fista: bool) -> Tensor:
        """Minimise; returns which images were fooled on the way."""
        fooled = torch.zeros_like(self.rows, dtype=torch.bool)
        current = slack = self.clean
        for step in range(steps):
            gradient, _, logits = differentiate(model, slack.to(self.dtype), self.excess)
            fooled |= self.offer(slack, logits)
            length = rate * (1 - step / steps) ** 0.5
            moved = slack - length * (constant[:, None, None, None] * gradient + 2 * (slack - self.clean))
            previous, current = current, self.shrink(moved)
            slack = current
            if fista:
                with torch.no_grad():
                    fooled |= self.offer(current, model(current.to(self.dtype)))
                slack = (current + step / (step + 3) * (current - previous)).clamp(0, 1)
        return fooled

    def excess(self, logits: Tensor) -> Tensor:
        """What the margin lacks to fool with the confidence that is asked for."""
        return (margins(logits, self.labels) + self.smallest.confidence).clamp_min(0)

    def shrink(self, points: Images) -> Images:
        """Bring each value nearer to the clean one by beta, or all the way, and into [0, 1]."""
        delta = points - self.clean
        return (self.clean + delta.sign() * (delta.abs() - self.beta).clamp_min(0)).clamp(0, 1)

    def offer(self, points: Images, logits: Tensor) -> Tensor:
        """Offer points by the rule; returns which fool."""
        delta = (points - self.clean).flatten(1)
        size = delta.abs().sum(1)
        if self.rule == "en":
            size = self.beta * size + delta.square().sum(1)
        return self.smallest.offer(self.rows, points.to(self.dtype), margins(logits, self.labels), size)
