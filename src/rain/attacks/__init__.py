"""Attacks: plain functions ``attack(model, images, labels, *, eps, norm, generator, ...) -> images``. One file each.

The model is any callable from images (N, 3, H, W) in [0, 1] to logits: an attack sees that and nothing else. What makes an attack adaptive
is in ``rain.adaptive``. Options of the attack are keyword arguments, and a grid sets them by name.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.adaptive import Model
from rain.errors import OptionError
from rain.images import Images, check_norm

LOSSES = ("cross_entropy", "margin")


def check_arguments(norm: str, eps: float, loss: str) -> None:
    """Raise ``OptionError`` for what no gradient attack can take."""
    check_norm(norm)
    if not eps >= 0:
        raise OptionError(f"eps must be at least 0 (4/255 is usual), got {eps!r}")
    if loss not in LOSSES:
        raise OptionError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the label minus the greatest other one: negative where the model is fooled. Shape: (N,)."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def gradients(model: Model, images: Images, labels: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """One forward and one backward pass: the gradient of the loss with respect to the images, and the margins.

    Returns: (N, 3, H, W), to be ascended, and (N,). No gradient is computed for the weights.

    Raises:
        OptionError: the model gives no gradient.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        margin = margins(logits, labels)
        value = F.cross_entropy(logits, labels, reduction="sum") if loss == "cross_entropy" else -margin.sum()
    if not value.requires_grad:
        raise OptionError("this attack needs gradients, and the model gives none; access query is for attacks that ask for scores only")
    (gradient,) = torch.autograd.grad(value, images)
    return gradient, margin.detach()


def ascend(gradient: Tensor, norm: str) -> Tensor:
    """The direction of steepest ascent with length 1 in the norm: the sign for "linf", the unit vector for "l2"."""
    if norm == "linf":
        return gradient.sign()
    return gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
