"""PGD, projected gradient descent, with images that leave the batch once they are fooled."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, gradients, margins
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS


@ATTACKS.register
def pgd(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 40,
    step: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "cross_entropy",
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Ascend the loss step by step, and project back into the budget.

    Args:
        model: images to logits. A random one may answer differently at each call.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps in each restart.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps, which can cross the budget from side to side.
        restarts: an image that holds in one is tried again in the next.
        random_start: begin at a random point of the budget (uniform) instead of at the image.
        loss: "cross_entropy" or "margin".
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than this. 0 stops at the first success.
            Against a random model, or to transfer to another one, ask for more; ``inf`` makes every step.
        generator: of the random start; its device need not be that of the images.

    Source: Madry et al. (arXiv 1706.06083).
    """
    check_arguments(norm, eps, loss)
    if steps < 1 or restarts < 1:
        raise OptionError(f"steps and restarts must be at least 1, got {steps} and {restarts}")
    length = 2.5 * eps / steps if step is None else step
    best, best_margin = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    standing = torch.arange(len(images), device=images.device)
    for _ in range(restarts):
        active, clean, target = standing, images[standing], labels[standing]
        current = _start(clean, norm, eps, generator) if random_start else clean.clone()
        for _ in range(steps):
            if not len(active):
                break
            gradient, margin = gradients(model, current, target, loss)
            fooled = margin < -confidence
            if fooled.any():
                best[active[fooled]], best_margin[active[fooled]] = current[fooled], -torch.inf
                stay = ~fooled
                active, clean, target, current, gradient = active[stay], clean[stay], target[stay], current[stay], gradient[stay]
            current = project(current + length * ascend(gradient, norm), clean, norm, eps)
        if restarts == 1:
            best[active] = current
            break
        if len(active):
            with torch.no_grad():
                margin = margins(model(current), target)
            better = margin < best_margin[active]
            best[active[better]], best_margin[active[better]] = current[better], margin[better]
        standing = (best_margin >= -confidence).nonzero()[:, 0]
    return best


def _start(images: Images, norm: str, eps: float, generator: Generator | None) -> Images:
    """A uniform random point of the budget around each image."""
    device = generator.device if generator is not None else images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device).to(images.device, images.dtype)

    if norm == "linf":
        return project(images + eps * (2 * uniform(*images.shape) - 1), images, norm, eps)
    direction = ascend(torch.randn(images.shape, generator=generator, device=device).to(images.device, images.dtype), norm)
    size = images[0].numel() if len(images) else 1
    return project(images + eps * direction * uniform(len(images), 1, 1, 1) ** (1 / size), images, norm, eps)
