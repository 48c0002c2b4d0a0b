"""What the attacks share that ascend a loss step by step, each in its own direction: who leaves, and which point is kept."""

from collections.abc import Callable

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import gradients, keep_lowest, margins
from rain.images import Images, project

Step = Callable[[Tensor, Tensor, int], Tensor]
"""From the rows of the images that are still there (A,), their gradients (A, 3, H, W) and the number of the step to what is added to them."""


def climb(
    model: Model,
    start: Images,
    images: Images,
    labels: Tensor,
    step: Step,
    *,
    eps: float,
    norm: str,
    steps: int,
    loss: str,
    confidence: float,
    wanted: Tensor | None = None,
    compare: bool = False,
) -> tuple[Images, Tensor]:
    """Step, project into the budget, let go whom the model gets wrong by more than ``confidence``.

    With a confidence of 0 the point with the lowest margin of all that were visited is kept. Who asks for
    confidence faces a random model, or another one than he attacks: the lowest of many margins is then the
    luckiest draw's, so that the last point is kept, where no one fooled.

    Args:
        start: (N, 3, H, W), where to begin.
        images: (N, 3, H, W), the clean ones, around which the budget is.
        wanted: (N, classes), the logits from which the loss "kl" goes away.
        compare: say the margin of the last point, too, when there is a confidence: one pass more.

    Returns: the points kept, and their margins (N,), infinite where nobody asked or the answer was no number.
    """
    best, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    rows, current = torch.arange(len(images), device=images.device), start
    for number in range(steps):
        if not len(rows):
            return best, least
        gradient, margin = gradients(
            model, current, labels[rows], loss, None if wanted is None else wanted[rows]
        )
        keep_lowest(
            best,
            least,
            rows,
            current,
            torch.where(margin < -confidence, margin, torch.inf) if confidence > 0 else margin,
        )
        stay = margin >= -confidence
        rows, current, gradient = rows[stay], current[stay], gradient[stay]
        current = project(current + step(rows, gradient, number), images[rows], norm, eps)
    if confidence > 0:
        best[rows] = current
    if len(rows) and (compare or not confidence > 0):
        with torch.no_grad():
            keep_lowest(best, least, rows, current, margins(model(current), labels[rows]))
    return best, least


def level(gradient: Tensor) -> Tensor:
    """Divide each image's gradient by its mean absolute value, so that none counts for more than another.

    MI-FGSM divides by the sum of absolute values; their mean gives the same directions, and no overflow in
    half precision.
    """
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
