"""The attack on the enhancement alone: what the defence gives is driven away from what it gives for the clean image."""

from functools import lru_cache

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_step, random_start
from rain.defense import Defense
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits, load_defense


@ATTACKS.register(traits=Traits(follows=False))
def distort(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    defense: str = "rain",
    steps: int = 40,
    step: float | None = None,
    eot: int = 4,
    generator: Generator | None = None,
) -> Images:
    """Maximise the squared distance between the defence's outputs for the attacked and for the clean image, for the same draws.

    It needs neither the classifier nor the labels: whatever stands behind the defence is then shown something
    else. Use it with access "transfer": the model that is given is never asked.

    Args:
        model: not looked at.
        images: (N, 3, H, W) in [0, 1].
        labels: not looked at.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        defense: spec of the defence that is attacked.
        steps: gradient steps; all are made.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps.
        eot: fresh draws averaged over at each step.
        generator: of the random start, and of the draws.

    Raises:
        OptionError: an argument out of range, or a defence without a gradient.

    Source: the idea, to attack a super-resolution network by its output's deterioration: Choi et al. (arXiv
        1904.06097), section 3.
    """
    check_arguments(norm, eps)
    check_counts(steps=steps, eot=eot)
    length = 2.5 * eps / steps if step is None else step
    check_step(length, eps)
    transform = _defense(defense, images.device, images.dtype)
    if not transform.differentiable:
        raise OptionError(f"{defense} has no gradient of its own: there is nothing to ascend")
    current = random_start(images, norm, eps, generator)
    for _ in range(steps if len(images) else 0):
        leaf = current.detach().requires_grad_()
        gradient = torch.zeros_like(images)
        for _ in range(eot):
            draw = transform.draw(images, generator)
            with torch.no_grad():
                wanted = transform.transform(images, draw)
            with torch.enable_grad():
                moved = (transform.transform(leaf, draw) - wanted).square().sum()
                gradient += torch.autograd.grad(moved, leaf)[0]
        current = project(current + length * ascend(gradient, norm), images, norm, eps)
    return current


@lru_cache(maxsize=4)
def _defense(spec: str, device: torch.device, dtype: torch.dtype) -> Defense:
    return load_defense(spec).requires_grad_(False).to(device, dtype)
