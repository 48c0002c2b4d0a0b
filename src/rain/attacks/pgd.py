"""PGD, projected gradient descent, with images that leave the batch once they are fooled."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import LOSSES, ascend, check_arguments, check_counts, check_step
from rain.attacks import random_start as draw_start
from rain.attacks._ascent import Settings, climb
from rain.attacks._lowest import Lowest
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="fooled"))
def pgd(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 40,
    step: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "cross_entropy",
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Ascend the loss step by step, and project back into the budget.

    Args:
        model: images to logits. A random one may answer differently at each call.
        steps: gradient steps in each restart.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps, which can cross the budget from
            side to side.
        restarts: an image that holds in one is tried again in the next; with a confidence, the lowest of
            their last points is returned.
        random_start: begin at a random point of the budget (uniform) instead of at the image.
        loss: "cross_entropy", "margin", or "kl", the divergence from the answer to the unchanged images,
            which TRADES ascends; begin that one at a random point, since it has no slope at the image.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this. 0 stops at the first success, which is all that a deterministic model asks for. Against a
            random model, or to transfer to another one, a single success says little: ask for more; ``inf``
            makes every step. Of an image that never leaves the last point is returned, as in the paper; with
            0, where margins can be trusted, the one with the lowest margin of all.
        generator: of the random start.

    Source: Madry et al. (arXiv 1706.06083); the loss "kl": Zhang et al. (arXiv 1901.08573).
    """
    check_arguments(norm, eps, loss, (*LOSSES, "kl"))
    check_counts(steps=steps, restarts=restarts)
    length = 2.5 * eps / steps if step is None else step
    check_step(length, eps)
    settings = Settings(eps, norm, steps, loss, confidence)
    clean_logits = None
    if loss == "kl":
        with torch.no_grad():
            clean_logits = model(images)

    def move(rows: Tensor, gradient: Tensor, number: int) -> Tensor:
        return length * ascend(gradient, norm)

    lowest = Lowest(images)
    for _ in range(restarts):
        rows = (lowest.margins >= -confidence).nonzero()[:, 0]
        clean = images[rows]
        points, least = climb(
            model,
            draw_start(clean, norm, eps, generator) if random_start else clean,
            clean,
            labels[rows],
            move,
            settings,
            clean_logits=None if clean_logits is None else clean_logits[rows],
            compare=restarts > 1,
        )
        if restarts == 1:
            return points
        lowest.keep(rows, points, least)
    return lowest.points
