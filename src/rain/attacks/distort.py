"""The attack on the enhancement alone: it drives the defence's output away from that for the clean image."""

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
    """Maximise the squared distance between the defence's outputs for the attacked and for the clean image.

    Both outputs are of the same draws.

    It needs neither the classifier nor the labels: whatever stands behind the defence is then shown something
    else. Use it with access "transfer": the model that is given is never asked.

    Args:
        model, labels: not looked at.
        defense: spec of the defence that is attacked.
        steps: gradient steps; all are made.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps.
        eot: fresh draws averaged over at each step.
        generator: of the random start, and of the draws.

    Raises:
        OptionError: a defence without a gradient, and what all attacks raise.

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
                clean = transform.transform(images, draw)
            with torch.enable_grad():
                change = (transform.transform(leaf, draw) - clean).square().sum()
                gradient += torch.autograd.grad(change, leaf)[0]
        current = project(current + length * ascend(gradient, norm), images, norm, eps)
    return current


@lru_cache(maxsize=4)
def _defense(spec: str, device: torch.device, dtype: torch.dtype) -> Defense:
    return load_defense(spec).requires_grad_(False).to(device, dtype)
