"""Gradient ascent with aggregated momentum: the memory over steps averages over the draws, so that few samples a step suffice."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_step, random_start
from rain.attacks._ascent import climb, level
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
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps.
        step: length of the first step, in the unit of eps; it falls linearly to a tenth. None is 10 eps /
            steps.
        memories: velocities, with damping 0, 0.9, 0.99, ... Their mean is followed.
        loss: "margin" (linear in the logits, so that one draw cannot drown the others) or "cross_entropy".
        confidence: as in ``pgd``.
        generator: of the random start.

    Raises:
        OptionError: an argument out of range, or the model gives no gradient.

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
    damping = (
        1
        - torch.tensor([0.1**power for power in range(memories)], device=images.device, dtype=images.dtype)[
            :, None, None, None, None
        ]
    )
    velocity = torch.zeros((memories, *images.shape), device=images.device, dtype=images.dtype)

    def step_on(rows: Tensor, gradient: Tensor, number: int) -> Tensor:
        velocity[:, rows] = damping * velocity[:, rows] + level(gradient)
        return length * (1 - 0.9 * number / steps) * ascend(velocity[:, rows].mean(0), norm)

    start = random_start(images, norm, eps, generator)
    return climb(
        model,
        start,
        images,
        labels,
        step_on,
        eps=eps,
        norm=norm,
        steps=steps,
        loss=loss,
        confidence=confidence,
    )[0]
