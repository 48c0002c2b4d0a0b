"""Gradient ascent with aggregated momentum: the memory over steps averages over the draws, so that few samples a step suffice."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, gradients, keep_last, keep_visited, random_start
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS


@ATTACKS.register
def aggmo(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 100,
    step: float | None = None,
    memories: int = 3,
    loss: str = "margin",
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Step along the mean of several velocities, each with a longer memory than the one before.

    Against a random model the gradient of one step is noise around the one that counts. A velocity with damping b averages over about 1 / (1 - b) of
    the last steps, each with its own draws, and costs nothing: what EOT pays for in samples, this has for free, as long as the point moves slowly.

    Args:
        model: images to logits; random, or averaged over a few draws by ``Expectation``.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps.
        step: length of the first step, in the unit of eps; it falls linearly to a tenth. None is 10 eps / steps.
        memories: velocities, with damping 0, 0.9, 0.99, ... Their mean is followed.
        loss: "margin" (linear in the logits, so that one draw cannot drown the others) or "cross_entropy".
        confidence: as in ``pgd``.
        generator: of the random start.

    Raises:
        OptionError: an argument out of range, or the model gives no gradient.

    Source: Sitawarin, Golan-Strieb and Wagner, Demystifying the adversarial robustness of random transformation defenses (arXiv 2207.03574), for
    momentum instead of samples; Lucas et al., Aggregated momentum (arXiv 1804.00325).

    Differs: the gradient of each step is divided by its mean absolute value, as in MI-FGSM, so that no draw counts for more than another.
    """
    check_arguments(norm, eps, loss)
    check_counts(steps=steps, memories=memories)
    length = 10 * eps / steps if step is None else step
    if not length > 0 and eps > 0:
        raise OptionError(f"step must be positive, got {step!r}")
    damping = 1 - torch.tensor([0.1**power for power in range(memories)], device=images.device, dtype=images.dtype)[:, None, None, None, None]
    best, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    active, current = torch.arange(len(images), device=images.device), random_start(images, norm, eps, generator)
    velocity = torch.zeros((memories, *images.shape), device=images.device, dtype=images.dtype)
    for number in range(steps):
        if not len(active):
            return best
        gradient, margin = gradients(model, current, labels[active], loss)
        keep_visited(best, least, active, current, margin, confidence)
        stay = margin >= -confidence
        active, current, gradient = active[stay], current[stay], gradient[stay]
        scale = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
        velocity = damping * velocity[:, stay] + gradient / scale
        rate = length * (1 - 0.9 * number / steps)
        current = project(current + rate * ascend(velocity.mean(0), norm), images[active], norm, eps)
    keep_last(model, best, least, active, current, labels, confidence)
    return best
