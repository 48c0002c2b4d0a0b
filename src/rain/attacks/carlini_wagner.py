"""Carlini and Wagner's L2 attack."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import check_counts, check_positive, differentiate, margins
from rain.attacks._minimising import ConstantSearch, Smallest, check_minimising
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="boundary"))
def carlini_wagner(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    steps: int = 200,
    searches: int = 9,
    rate: float = 0.005,
    constant: float = 0.01,
    confidence: float = 0.0,
    abort: bool = True,
) -> Images:
    """Minimise the squared distance plus a constant times the margin, by Adam in tanh space.

    The constant is searched for, image by image.

    Args:
        model: images to logits. Against a random one a single lucky draw counts as success: average it first
            (``rain.adaptive.Expectation``), or ask for confidence.
        eps: an image that nothing within it fools comes back as it was; may be ``math.inf``.
        norm: "l2" only.
        steps: of Adam, for each constant.
        searches: constants tried: times ten until one fools, then halving.
        rate: of Adam: in its first step each value moves by up to half of this, so that with few steps large
            images ask for less (0.001 or so).
        constant: the first one.
        confidence: the best wrong logit must be above the right one by more than this (kappa in the paper).
        abort: an image leaves a search when a tenth of the steps, and at least 100, did not lower its
            objective.

    Source: Carlini, Wagner (arXiv 1608.04644), sections V and VI-A, with the margin f6.

    Differs: from the paper in the defaults, which are for fewer steps: 10,000 with a rate of 0.01 there, from
        a constant of 0.001. An image that is fooled already comes back as it was.
    """
    check_minimising(norm, eps, confidence, ("l2",))
    check_counts(steps=steps, searches=searches)
    check_positive(rate=rate, constant=constant)
    smallest = Smallest(images, norm, eps, confidence)
    search = ConstantSearch(len(images), constant, images.device)
    if not len(images):
        return smallest.best
    rows = smallest.begin(model, labels)
    descent = _Descent(model, labels, smallest, steps, rate, abort)
    for _ in range(searches if len(rows) else 0):
        search.update(rows, descent.run(rows, search.constant))
    return smallest.best


@dataclass(frozen=True)
class _Descent:
    """The descent by Adam; the fields are the arguments of the attack, and where points are offered."""

    model: Model
    labels: Tensor
    smallest: Smallest
    steps: int
    rate: float
    abort: bool

    def run(self, rows: Tensor, constants: Tensor) -> Tensor:
        """Minimise for one constant each; returns which of the rows were fooled on the way.

        Args:
            constants: (N,), of all images.
        """
        images, wide = self.smallest.images, self.smallest.wide
        fooled = torch.zeros(len(images), dtype=torch.bool, device=rows.device)
        # tanh reaches 0 and 1 at infinity only, where no gradient comes back from.
        limit = 1 - max(1e-6, 4 * torch.finfo(wide).eps)
        place = (limit * (2 * images[rows].to(wide) - 1)).atanh()
        active, mean, squares = rows, torch.zeros_like(place), torch.zeros_like(place)
        window = max(100, self.steps // 10)
        lowest = before = place.new_full((len(rows),), torch.inf)
        for step in range(1, self.steps + 1):
            own, clean, constant = self.labels[active], images[active], constants[active]
            points = ((place.tanh() + 1) / 2).to(clean.dtype)
            objective = partial(self._excess, labels=own)
            gradient, excess, logits = differentiate(self.model, points, objective)
            fooled[active] |= self.smallest.offer(active, points, margins(logits, own))
            points = points.to(wide)
            delta = points - clean
            lowest = lowest.minimum(delta.flatten(1).square().sum(1) + constant * excess)
            # The chain rule through (tanh + 1) / 2, whose derivative is 2 p (1 - p).
            slope = (2 * delta + constant[:, None, None, None] * gradient) * 2 * points * (1 - points)
            mean, squares = 0.9 * mean + 0.1 * slope, 0.999 * squares + 0.001 * slope.square()
            root = (squares / (1 - 0.999**step)).sqrt()
            place = place - self.rate * (mean / (1 - 0.9**step)) / (root + 1e-8)
            if self.abort and step % window == 0:
                stay = lowest < 0.9999 * before
                active, place, lowest = active[stay], place[stay], lowest[stay]
                mean, squares = mean[stay], squares[stay]
                before = lowest
                if not len(active):
                    break
        return fooled[rows]

    def _excess(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the margin lacks to fool with the confidence that is asked for."""
        return (margins(logits, labels) + self.smallest.confidence).clamp_min(0)
