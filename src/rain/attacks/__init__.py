"""Attacks: plain functions ``attack(model, images, labels, *, eps, norm, ...) -> images``. One file each.

The model is any callable from images (N, 3, H, W) in [0, 1] to logits: an attack sees that and nothing else.
What makes an attack adaptive is in ``rain.adaptive``. Options of the attack are keyword arguments, and a grid
sets them by name.

There are two kinds. *Budgeted* attacks (pgd, apgd, square, ...) do the worst they can within ``eps``.
*Minimising* attacks (deepfool, carlini_wagner, ...) look for the smallest perturbation that fools; an image
for which they find none within ``eps`` comes back as it was. Their ``eps`` may be ``math.inf``; a grid, whose
numbers are finite, asks for the whole box with 1.0 for linf or 1000 for l2.

Attacks with the option ``queries`` see scores (``_scores``) or labels (``_labels``) only, and send at most so
many images through the model for each image.

What all attacks share is said here, and not again in each of them.

Args:
    model: images (N, 3, H, W) in [0, 1] to logits (N, classes). Attacks by queries need no gradient of it. Of
        one in train mode they warn, and put its statistics back.
    images: (N, 3, H, W) in [0, 1], with any strides; N may be 0. They are not changed.
    labels: (N,), the right answers: integers, as a tensor, an array or a list.
    eps: the budget, for values in [0, 1].
    norm: "linf" or "l2", the norm in which eps is measured; an attack that knows one of them only says so.
    confidence: an image is fooled when the best wrong logit is above the right one by more than this.
    batch: images in one forward pass.
    generator: of everything random; its device need not be that of the images. An attack without randomness
        does not take it (``rain.seeding.keyword_for`` gives it to those that do).

Every attack returns new images of the type and on the device of those that it got, contiguous and detached.

Raises:
    OptionError: an argument is out of range, before any work; or the model gives no gradient to one that
        needs it.
    ImageError, LabelError, ClassifierError: what was given breaks the convention, or the model's answers do.

What is given and what the model answers is checked once, before the attack and around the model: ``_intake``.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks._draws import gaussian, uniform
from rain.errors import OptionError
from rain.images import MAX_PIXELS, Images, check_norm, project

Objective = Callable[[Tensor], Tensor]
"""From the logits of a batch (N, classes) to one value for each image, (N,)."""

LOSSES = ("cross_entropy", "margin")

FARTHEST = (3 * MAX_PIXELS) ** 0.5
"""How far two images can be apart in "l2"; numbers far beyond overflow."""


def check_arguments(norm: str, eps: float, loss: str = "margin", losses: tuple[str, ...] = LOSSES) -> None:
    """Raise ``OptionError`` for what no budgeted attack can take."""
    check_norm(norm)
    if not 0 <= eps < math.inf:
        raise OptionError(f"eps must be at least 0 (4/255 is usual) and finite, got {eps!r}")
    if norm == "linf" and eps > 1:
        what = f"eps = {eps!r} is more than all of [0, 1], in which images lie"
        raise OptionError(f"{what}: {eps:g} grey levels are {eps:g}/255")
    if eps > FARTHEST:
        what = f"eps = {eps!r} is more than from black to white in the largest image, {FARTHEST:.0f}"
        raise OptionError(f"{what}: 1000 stands for all of [0, 1] in any usual one")
    if loss not in losses:
        raise OptionError(f"loss must be one of {', '.join(losses)}, got {loss!r}")


def check_counts(**counts: int) -> None:
    """Raise ``OptionError`` for a count that is no integer of at least 1; the keyword is its name there."""
    for name, count in counts.items():
        if not (isinstance(count, int) and count >= 1):
            raise OptionError(f"{name} must be an integer of at least 1, got {count!r}")


def averages_of(draws: Any) -> int:
    """What an attack declares of its option: what is no count is refused where it is called."""
    return draws if type(draws) is int and draws >= 1 else 1


def check_positive(**numbers: float | None) -> None:
    """Raise ``OptionError`` for a number that is not above 0, or not finite; the keyword is its name there.

    None, an option that is left to the attack, passes.
    """
    for name, number in numbers.items():
        if number is not None and not 0 < number < math.inf:
            raise OptionError(f"{name} must be positive, got {number!r}")


def check_step(step: float, eps: float) -> None:
    """Raise ``OptionError`` for a step that goes nowhere; a budget of 0 has no other."""
    if not step > 0 and eps > 0:
        raise OptionError(f"step must be positive, got {step!r}")


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the label minus the greatest other one: negative where the model is fooled.

    Shape: (N,).
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def rivals(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The wrong classes with the greatest logits, greatest first.

    Shape: (N, count), or as many as there are.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices


def differentiate(model: Model, images: Images, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass; no gradient is computed for the weights.

    Returns: the gradient of each image's value with respect to the image (N, 3, H, W), the values (N,), and
        the logits.

    Raises:
        OptionError: the model gives no gradient.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        check_gradient(logits)
        values = objective(logits)
        (gradient,) = torch.autograd.grad(values.sum(), images)
    return gradient, values.detach(), logits.detach()


def check_gradient(logits: Tensor) -> None:
    """Raise ``OptionError`` for logits that came without a graph."""
    if not logits.requires_grad:
        what = "this attack needs gradients, and the model gives none"
        raise OptionError(f"{what}; access query is for attacks that ask for scores only")


def gradients(
    model: Model, images: Images, labels: Tensor, loss: str, clean_logits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient of a loss with respect to the images, to be ascended, (N, 3, H, W), and the margins, (N,).

    Args:
        loss: one of ``LOSSES``, or "kl": the divergence from ``clean_logits``.
        clean_logits: (N, classes), for "kl" only.

    Raises:
        OptionError: the model gives no gradient.
    """
    objective: Objective = partial(F.cross_entropy, target=labels, reduction="none")
    if loss == "kl" and clean_logits is not None:
        # The divergence is this cross-entropy up to the entropy of the clean answer, which does not move.
        objective = partial(F.cross_entropy, target=clean_logits.softmax(1), reduction="none")
    elif loss == "margin":
        objective = partial(_negative_margins, labels=labels)
    gradient, _, logits = differentiate(model, images, objective)
    return gradient, margins(logits, labels)


def _negative_margins(logits: Tensor, labels: Tensor) -> Tensor:
    return -margins(logits, labels)


def ascend(gradient: Tensor, norm: str) -> Tensor:
    """The direction of steepest ascent, of length 1: the sign for "linf", the unit vector for "l2"."""
    if norm == "linf":
        return gradient.sign()
    length = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / length[:, None, None, None]


def random_start(images: Images, norm: str, eps: float, generator: Generator | None) -> Images:
    """A uniform random point of the budget around each image, brought into [0, 1]."""
    shape = tuple(images.shape)
    if norm == "linf":
        offset = 2 * uniform(shape, images, generator) - 1
        return project(images + eps * offset, images, norm, eps)
    direction = ascend(gaussian(shape, images, generator), norm)
    size = images[0].numel() if len(images) else 1
    radius = uniform((len(images), 1, 1, 1), images, generator) ** (1 / size)
    return project(images + eps * direction * radius, images, norm, eps)
