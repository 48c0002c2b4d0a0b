"""MI-FGSM, the iterative gradient sign method with momentum."""

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_step
from rain.attacks._ascent import Settings, climb, level
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="fooled"))
def mifgsm(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 10,
    step: float | None = None,
    decay: float = 1.0,
    loss: str = "cross_entropy",
    confidence: float = 0.0,
) -> Images:
    """Ascend along the accumulated gradient, which transfers better to other models than the last one alone.

    Args:
        steps: gradient steps.
        step: length of a step, in the unit of eps; None is eps / steps.
        decay: of the accumulated gradient at each step; 1 keeps all, 0 is BIM.
        loss: "cross_entropy" or "margin".
        confidence: as in ``pgd``; to transfer, ask for ``inf``.

    Source: Dong et al. (arXiv 1710.06081), algorithm 1 and, for "l2", equation 8.

    Differs: fooled images stop, and without a confidence the best one visited is returned.
    """
    check_arguments(norm, eps, loss)
    check_counts(steps=steps)
    length = eps / steps if step is None else step
    check_step(length, eps)
    if not decay >= 0:
        raise OptionError(f"decay must be at least 0, got {decay!r}")
    momentum = torch.zeros_like(images)

    def move(rows: Tensor, gradient: Tensor, number: int) -> Tensor:
        momentum[rows] = decay * momentum[rows] + level(gradient)
        return length * ascend(momentum[rows], norm)

    settings = Settings(eps, norm, steps, loss, confidence)
    points, _ = climb(model, images, images, labels, move, settings)
    return points
