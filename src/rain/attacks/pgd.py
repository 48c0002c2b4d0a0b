"""PGD, projected gradient descent, with images that leave the batch once they are fooled."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import LOSSES, ascend, check_arguments, check_counts, check_step, keep_lowest
from rain.attacks import random_start as start
from rain.attacks._ascent import climb
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
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps in each restart.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps, which can cross the budget from
            side to side.
        restarts: an image that holds in one is tried again in the next; with a confidence, the lowest of
            their last points is returned.
        random_start: begin at a random point of the budget (uniform) instead of at the image.
        loss: "cross_entropy", "margin", or "kl", the divergence from the answer to the unchanged images,
            which TRADES ascends; begin that one at a random point, since it has no slope at the image.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this. 0 stops at the first success, which is all that a certain model asks for. Against a random
            model, or to transfer to another one, a single success says little: ask for more; ``inf`` makes
            every step. Of an image that never leaves the last point is returned, as in the paper; with 0,
            where margins can be trusted, the one with the lowest margin of all.
        generator: of the random start; its device need not be that of the images.

    Source: Madry et al. (arXiv 1706.06083); the loss "kl": Zhang et al. (arXiv 1901.08573).
    """
    check_arguments(norm, eps, loss, (*LOSSES, "kl"))
    check_counts(steps=steps, restarts=restarts)
    length = 2.5 * eps / steps if step is None else step
    check_step(length, eps)
    with torch.no_grad():
        wanted = model(images) if loss == "kl" else images.new_zeros(len(images))
    best, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    for _ in range(restarts):
        rows = (least >= -confidence).nonzero()[:, 0]
        kept, margin = climb(
            model,
            start(images[rows], norm, eps, generator) if random_start else images[rows],
            images[rows],
            labels[rows],
            lambda _, gradient, __: length * ascend(gradient, norm),
            eps=eps,
            norm=norm,
            steps=steps,
            loss=loss,
            confidence=confidence,
            wanted=wanted[rows],
            compare=restarts > 1,
        )
        if restarts == 1:
            return kept
        keep_lowest(best, least, rows, kept, margin)
    return best
