"""Attacks: plain functions ``attack(model, images, labels, *, eps, norm, generator, ...) -> images``. One file each.

The model is any callable from images (N, 3, H, W) in [0, 1] to logits: an attack sees that and nothing else.
What makes an attack adaptive is in ``rain.adaptive``. Options of the attack are keyword arguments, and a grid
sets them by name.

There are two kinds. *Budgeted* attacks (pgd, apgd, square, ...) do the worst they can within ``eps``.
*Minimising* attacks (deepfool, carlini_wagner, ...) look for the smallest perturbation that fools; an image
for which they find none within ``eps`` comes back as it was. Their ``eps`` may be ``math.inf``; a grid, whose
numbers are finite, asks for the whole box with 1.0 for linf or 1000 for l2.

Attacks with the option ``queries`` see scores (``_scores``) or labels (``_labels``) only, and send at most so
many images through the model for each image.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.errors import ClassifierError, OptionError
from rain.images import Images, check_norm, project

Objective = Callable[[Tensor], Tensor]
"""From the logits of a batch (N, classes) to one value for each image, (N,)."""

LOSSES = ("cross_entropy", "margin")


def check_arguments(norm: str, eps: float, loss: str = "margin", losses: tuple[str, ...] = LOSSES) -> None:
    """Raise ``OptionError`` for what no budgeted attack can take."""
    check_norm(norm)
    if not 0 <= eps < math.inf:
        raise OptionError(f"eps must be at least 0 (4/255 is usual) and finite, got {eps!r}")
    if norm == "linf" and eps > 1:
        raise OptionError(
            f"eps = {eps!r} is more than all of [0, 1], in which images lie: {eps:g} grey levels are {eps:g}/255"
        )
    if loss not in losses:
        raise OptionError(f"loss must be one of {', '.join(losses)}, got {loss!r}")


def check_counts(**counts: int) -> None:
    """Raise ``OptionError`` for a count that is no integer of at least 1; the keyword is how the error calls it."""
    for name, count in counts.items():
        if not (isinstance(count, int) and count >= 1):
            raise OptionError(f"{name} must be an integer of at least 1, got {count!r}")


def check_positive(**numbers: float) -> None:
    """Raise ``OptionError`` for a number that is not above 0, or not finite; the keyword is how the error calls it."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
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
    return logits.scatter(1, labels[:, None], -torch.inf).topk(min(count, logits.shape[1] - 1), dim=1).indices


def differentiate(model: Model, images: Images, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass; no gradient is computed for the weights.

    Returns: the gradient of each image's value with respect to the image (N, 3, H, W), the values (N,), and
        the logits.

    Raises:
        OptionError: the model gives no gradient.
        ClassifierError: an answer is no number.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        check_gradient(logits)
        if logits.isnan().any():
            raise ClassifierError(
                "the classifier answers NaN to pictures of an attack: look at its weights, or take float32"
            )
        values = objective(logits)
        (gradient,) = torch.autograd.grad(values.sum(), images)
    return gradient, values.detach(), logits.detach()


def check_gradient(logits: Tensor) -> None:
    """Raise ``OptionError`` for logits that came without a graph."""
    if not logits.requires_grad:
        raise OptionError(
            "this attack needs gradients, and the model gives none; access query is for attacks that ask for scores only"
        )


def gradients(
    model: Model, images: Images, labels: Tensor, loss: str, wanted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient of a loss with respect to the images, to be ascended, (N, 3, H, W), and the margins, (N,).

    Args:
        loss: one of ``LOSSES``, or "kl": the divergence from the logits ``wanted`` (N, classes).

    Raises:
        OptionError: the model gives no gradient.
    """
    objective: Objective = partial(F.cross_entropy, target=labels, reduction="none")
    if loss == "kl" and wanted is not None:
        # Up to the entropy of what is wanted, which does not move.
        objective = partial(F.cross_entropy, target=wanted.softmax(1), reduction="none")
    elif loss == "margin":
        objective = lambda logits: -margins(logits, labels)  # noqa: E731
    gradient, _, logits = differentiate(model, images, objective)
    return gradient, margins(logits, labels)


def ascend(gradient: Tensor, norm: str) -> Tensor:
    """The direction of steepest ascent with length 1 in the norm: the sign for "linf", the unit vector for "l2"."""
    if norm == "linf":
        return gradient.sign()
    return (
        gradient
        / gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)[:, None, None, None]
    )


def random_start(images: Images, norm: str, eps: float, generator: Generator | None) -> Images:
    """A uniform random point of the budget around each image, brought into [0, 1]."""
    device = generator.device if generator is not None else images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device).to(images.device, images.dtype)

    if norm == "linf":
        return project(images + eps * (2 * uniform(*images.shape) - 1), images, norm, eps)
    direction = ascend(
        torch.randn(images.shape, generator=generator, device=device).to(images.device, images.dtype), norm
    )
    size = images[0].numel() if len(images) else 1
    return project(images + eps * direction * uniform(len(images), 1, 1, 1) ** (1 / size), images, norm, eps)


def keep_lowest(best: Images, least: Tensor, rows: Tensor, points: Images, margin: Tensor) -> None:
    """Write into ``best`` and ``least`` where ``points``, which belong to these rows, have a lower margin than anything before."""
    better = margin < least[rows]
    best[rows[better]], least[rows[better]] = points[better], margin[better].to(least.dtype)
