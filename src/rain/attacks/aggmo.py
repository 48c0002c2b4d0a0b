"""Gradient ascent with aggregated momentum: few samples a step suffice against a random model."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_step, random_start
from rain.attacks._ascent import Settings, climb, level
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="fooled"))
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

    Against a random model the gradient of one step is noise around the one that counts. A velocity with
    damping b averages over about 1 / (1 - b) of the last steps, each with its own draws, and costs nothing:
    what EOT pays for in samples, this has for free, as long as the point moves slowly.

    Args:
        model: images to logits; random, or averaged over a few draws by ``Expectation``.
        steps: gradient steps.
        step: length of the first step, in the unit of eps; it falls linearly to a tenth. None is 10 eps /
            steps.
        memories: velocities, with damping 0, 0.9, 0.99, ... Their mean is followed.
        loss: "margin" (linear in the logits, so that one draw cannot drown the others) or "cross_entropy".
        confidence: as in ``pgd``.
        generator: of the random start.

    Source: Sitawarin, Golan-Strieb and Wagner, Demystifying the adversarial robustness of random
    transformation defenses (arXiv 2207.03574), for momentum instead of samples; Lucas et al., Aggregated
    momentum (arXiv 1804.00325).

    Differs: the gradient of each step is divided by its mean absolute value, as in MI-FGSM, so that no draw
        counts for more than another.
    """
    check_arguments(norm, eps, loss)
    check_counts(steps=steps, memories=memories)
    length = 10 * eps / steps if step is None else step
    check_step(length, eps)
    friction = [0.1**power for power in range(memories)]
    damping = 1 - torch.tensor(friction, device=images.device, dtype=images.dtype)[:, None, None, None, None]
    velocities = torch.zeros((memories, *images.shape), device=images.device, dtype=images.dtype)

    def move(rows: Tensor, gradient: Tensor, number: int) -> Tensor:
        velocities[:, rows] = damping * velocities[:, rows] + level(gradient)
        falling = length * (1 - 0.9 * number / steps)
        return falling * ascend(velocities[:, rows].mean(0), norm)

    start = random_start(images, norm, eps, generator)
    settings = Settings(eps, norm, steps, loss, confidence)
    points, _ = climb(model, start, images, labels, move, settings)
    return points
