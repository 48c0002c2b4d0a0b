"""Carlini and Wagner's L2 attack."""

import torch
from torch import Generator, Tensor

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
    generator: Generator | None = None,
) -> Images:
    """Minimise the squared distance plus a constant times the margin, by Adam in tanh space, and search for the constant.

    Args:
        model: images to logits. Against a random one a single lucky draw counts as success: average it first
            (``rain.adaptive.Expectation``), or ask for confidence.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: an image for which nothing within it was found comes back as it was; may be ``math.inf``.
        norm: "l2".
        steps: of Adam, for each constant.
        searches: constants tried: times ten until one fools, then halving.
        rate: of Adam: in its first step each value moves by up to half of this, so that with few steps large
            images ask for less (0.001 or so).
        constant: the first one.
        confidence: the best wrong logit must be above the right one by more than this (kappa in the paper).
        abort: an image leaves a search when a tenth of the steps, and at least 100, did not lower its
            objective.
        generator: unused, nothing here is random.

    Raises:
        OptionError: an argument out of range, another norm, or the model gives no gradient.

    Source: Carlini, Wagner (arXiv 1608.04644), sections V and VI-A, with the margin f6.

    Differs: from the paper in the defaults, which are for fewer steps: 10,000 with a rate of 0.01 there, from
        a constant of 0.001. An image that is fooled already comes back as it was.
    """
    check_minimising(norm, eps, confidence, ("l2",))
    check_counts(steps=steps, searches=searches)
    check_positive(rate=rate, constant=constant)
    found, search = (
        Smallest(images, norm, eps, confidence),
        ConstantSearch(len(images), constant, images.device),
    )
    if not len(images):
        return found.best
    rows = found.begin(model, labels)
    for _ in range(searches if len(rows) else 0):
        search.update(rows, _descend(model, labels, found, rows, search.constant, steps, rate, abort))
    return found.best


def _descend(
    model: Model,
    labels: Tensor,
    found: Smallest,
    rows: Tensor,
    constants: Tensor,
    steps: int,
    rate: float,
    abort: bool,
) -> Tensor:
    """Minimise for one constant each, and offer every point; returns which of the rows were fooled on the way."""
    fooled = torch.zeros(len(found.images), dtype=torch.bool, device=rows.device)
    # tanh reaches 0 and 1 at infinity only, where no gradient comes back from.
    limit = 1 - max(1e-6, 4 * torch.finfo(found.wide).eps)
    place = (limit * (2 * found.images[rows].to(found.wide) - 1)).atanh()
    active, first, second = rows, torch.zeros_like(place), torch.zeros_like(place)
    window = max(100, steps // 10)
    lowest = before = place.new_full((len(rows),), torch.inf)
    for step in range(1, steps + 1):
        own, clean, constant = labels[active], found.images[active], constants[active]
        points = ((place.tanh() + 1) / 2).to(clean.dtype)
        gradient, excess, logits = differentiate(
            model, points, lambda x, own=own: (margins(x, own) + found.confidence).clamp_min(0)
        )  # type: ignore[misc]
        fooled[active] |= found.offer(active, points, margins(logits, own))
        points = points.to(found.wide)
        delta = points - clean
        lowest = lowest.minimum(delta.flatten(1).square().sum(1) + constant * excess)
        # The chain rule through (tanh + 1) / 2, whose derivative is 2 p (1 - p).
        slope = (2 * delta + constant[:, None, None, None] * gradient) * 2 * points * (1 - points)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope.square()
        place = place - rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        if abort and step % window == 0:
            stay = lowest < 0.9999 * before
            active, place, first, second, lowest = (
                active[stay],
                place[stay],
                first[stay],
                second[stay],
                lowest[stay],
            )
            before = lowest
            if not len(active):
                break
    return fooled[rows]
