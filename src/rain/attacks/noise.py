"""Random noise, the control: what the budget does without any knowledge of the gradient."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, keep_lowest, margins
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
        model: images to logits; it need not have gradients.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" (each value uniform in +-eps) or "l2" (Gaussian noise, scaled to the length eps).
        tries: for each image. The one with the lowest margin is returned.
        batch: images in one forward pass; at least one try of each image.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this.
        generator: of the noise; its device need not be that of the images.

    Raises:
        OptionError: an argument out of range.

    Source: the additive noise attacks of foolbox (Rauber et al., arXiv 1707.04131).
    """
    check_arguments(norm, eps)
    check_counts(tries=tries, batch=batch)
    device = generator.device if generator is not None else images.device
    best, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    active, left = torch.arange(len(images), device=images.device), tries
    while left and len(active):
        count = min(left, max(1, batch // len(active)))
        left -= count
        clean = images[active].repeat(count, 1, 1, 1)
        if norm == "linf":
            step = 2 * torch.rand(clean.shape, generator=generator, device=device).to(clean) - 1
        else:
            step = ascend(torch.randn(clean.shape, generator=generator, device=device).to(clean), norm)
        points = project(clean + eps * step, clean, norm, eps)
        with torch.no_grad():
            margin = margins(model(points), labels[active].repeat(count)).nan_to_num(torch.inf, torch.inf)
        lowest, which = margin.unflatten(0, (count, len(active))).min(0)
        keep_lowest(
            best,
            least,
            active,
            points.unflatten(0, (count, len(active)))[which, torch.arange(len(active), device=which.device)],
            lowest,
        )
        active = active[lowest >= -confidence]
    return best
