"""What the attacks share that ascend a loss step by step: who leaves, and which point is kept."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import gradients, margins
from rain.attacks._lowest import Lowest
from rain.images import Images, project

Step = Callable[[Tensor, Tensor, int], Tensor]
"""What is added to the images that are still there.

It depends on their rows (A,), their gradients (A, 3, H, W) and the number of the step.
"""


@dataclass(frozen=True)
class Settings:
    """What does not change during an ascent; the fields are the options of the attacks.

    Args:
        confidence: an image leaves when the model gets it wrong by more than this.
    """

    eps: float
    norm: str
    steps: int
    loss: str
    confidence: float


def climb(
    model: Model,
    start: Images,
    images: Images,
    labels: Tensor,
    step: Step,
    settings: Settings,
    *,
    clean_logits: Tensor | None = None,
    compare: bool = False,
) -> tuple[Images, Tensor]:
    """Step, project into the budget, let go whom the model gets wrong by more than the confidence.

    With a confidence of 0 the point with the lowest margin of all that were visited is kept. Who asks for
    confidence faces a random model, or another one than he attacks: the lowest of many margins is then the
    luckiest draw's, so that the last point is kept, where no one fooled.

    Args:
        start: (N, 3, H, W), where to begin.
        images: (N, 3, H, W), the clean ones, around which the budget is.
        clean_logits: (N, classes), from which the loss "kl" goes away.
        compare: ask for the margin of the last point, too, when there is a confidence: one pass more.

    Returns: the points kept, and their margins (N,), infinite where nobody asked or the answer was no number.
    """
    lowest, last_counts = Lowest(images), settings.confidence > 0
    rows, current = torch.arange(len(images), device=images.device), start
    for number in range(settings.steps):
        if not len(rows):
            return lowest.points, lowest.margins
        anchor = None if clean_logits is None else clean_logits[rows]
        gradient, margin = gradients(model, current, labels[rows], settings.loss, anchor)
        stay = margin >= -settings.confidence
        candidate = torch.where(margin < -settings.confidence, margin, torch.inf) if last_counts else margin
        lowest.keep(rows, current, candidate)
        rows, current, gradient = rows[stay], current[stay], gradient[stay]
        moved = current + step(rows, gradient, number)
        current = project(moved, images[rows], settings.norm, settings.eps)
    if last_counts:
        lowest.points[rows] = current
    if len(rows) and (compare or not last_counts):
        with torch.no_grad():
            lowest.keep(rows, current, margins(model(current), labels[rows]))
    return lowest.points, lowest.margins


def level(gradient: Tensor) -> Tensor:
    """Divide each image's gradient by its mean absolute value, so that none counts for more than another.

    MI-FGSM divides by the sum of absolute values; their mean gives the same directions, and no overflow in
    half precision.
    """
    mean = gradient.abs().mean((1, 2, 3), keepdim=True)
    return gradient / mean.clamp_min(torch.finfo(gradient.dtype).tiny)
