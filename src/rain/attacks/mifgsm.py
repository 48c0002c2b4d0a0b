"""MI-FGSM, the iterative gradient sign method with momentum."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_step
from rain.attacks._ascent import climb, level
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
    generator: Generator | None = None,
) -> Images:
    """Ascend along the accumulated gradient, which carries over to other models better than the last one alone.

    Args:
        model: images to logits.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps.
        step: length of a step, in the unit of eps; None is eps / steps.
        decay: of the accumulated gradient at each step; 1 keeps all, 0 is BIM.
        loss: "cross_entropy" or "margin".
        confidence: as in ``pgd``; to transfer, ask for ``inf``.
        generator: unused, nothing here is random.

    Raises:
        OptionError: an argument out of range, or the model gives no gradient.

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

    def step_on(rows: Tensor, gradient: Tensor, number: int) -> Tensor:
        momentum[rows] = decay * momentum[rows] + level(gradient)
        return length * ascend(momentum[rows], norm)

    return climb(
        model,
        images,
        images,
        labels,
        step_on,
        eps=eps,
        norm=norm,
        steps=steps,
        loss=loss,
        confidence=confidence,
    )[0]
