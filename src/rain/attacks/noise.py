"""Random noise, the control: what the budget does without any knowledge of the gradient."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, margins
from rain.attacks._draws import gaussian, uniform
from rain.attacks._lowest import Lowest
from rain.images import Images, project
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(follows=False, sees="scores"))
def noise(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    tries: int = 1000,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Try random noise of the budget many times and keep the worst: a control, that a real attack must beat.

    Args:
        norm: "linf" (each value uniform in +-eps) or "l2" (Gaussian noise, scaled to the length eps).
        tries: for each image. The one with the lowest margin is returned.
        batch: images in one forward pass; at least one try of each image.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this.
        generator: of the noise.

    Source: the additive noise attacks of foolbox (Rauber et al., arXiv 1707.04131).
    """
    check_arguments(norm, eps)
    check_counts(tries=tries, batch=batch)
    lowest = Lowest(images)
    active, tries_left = torch.arange(len(images), device=images.device), tries
    while tries_left and len(active):
        count = min(tries_left, max(1, batch // len(active)))
        tries_left -= count
        clean = images[active].repeat(count, 1, 1, 1)
        if norm == "linf":
            step = 2 * uniform(tuple(clean.shape), clean, generator) - 1
        else:
            step = ascend(gaussian(tuple(clean.shape), clean, generator), norm)
        points = project(clean + eps * step, clean, norm, eps)
        with torch.no_grad():
            margin = margins(model(points), labels[active].repeat(count)).nan_to_num(torch.inf, torch.inf)
        least, which = margin.unflatten(0, (count, len(active))).min(0)
        columns = torch.arange(len(active), device=images.device)
        lowest.keep(active, points.unflatten(0, (count, len(active)))[which, columns], least)
        active = active[least >= -confidence]
    return lowest.points
