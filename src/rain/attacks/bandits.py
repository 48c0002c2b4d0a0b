"""Bandits: steps along a prior of the gradient, coarse in space and kept in time, which queries correct."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_positive
from rain.attacks._draws import gaussian
from rain.attacks._scores import Scores
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

USUAL = {"linf": (3.0, 1.0, 0.1), "l2": (0.1, 0.01, 0.01)}
"""The rate, the exploration and the probe of each norm."""


@ATTACKS.register(traits=Traits(sees="scores"))
def bandits(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    tile: int | None = None,
    step: float | None = None,
    rate: float | None = None,
    exploration: float | None = None,
    probe: float | None = None,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Learn a gradient while descending, with two priors.

    Neighbouring pixels have similar gradients (data prior), and so have successive steps (time prior).

    Args:
        queries: images sent through the model for each image, at most; a step costs three.
        tile: the prior is tile by tile values for each channel, enlarged to the image; None is a sixth of the
            shorter side, as the paper's 50 is of its 299, and at least 8.
        step: length of a step, in the unit of eps; None is eps / 5 for linf and eps / 10 for l2, as in the
            paper at its eps.
        rate: of the prior's steps; None is 3 for linf and 0.1 for l2. The more noise there is in the answers,
            the less.
        exploration: length of the random change of the prior that is tried on both sides; None is 1 for linf
            and 0.01 for l2.
        probe: how far from the image to ask, an l2 length; None is 0.1 for linf and 0.01 for l2. Against a
            random model it must move the margin by more than the randomness does.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the exploration.

    Source: Ilyas, Engstrom, Madry (arXiv 1807.07978): algorithms 1 to 3, with exponentiated gradients for
        linf; constants of its appendix.

    Differs: margin of the logits instead of the cross-entropy, and with it a rate of 3 instead of 100; each
    step is looked at for one query more, and of the images after each step the one with the lowest margin is
    returned, or with a confidence the last. What is asked is clamped to [0, 1].
    """
    check_arguments(norm, eps)
    tile = max(8, min(images.shape[2:]) // 6) if tile is None else tile
    check_counts(tile=tile, queries=queries)
    check_positive(rate=rate, exploration=exploration, probe=probe, step=step)
    usual_rate, usual_exploration, usual_probe = USUAL[norm]
    rate = usual_rate if rate is None else rate
    exploration = usual_exploration if exploration is None else exploration
    probe = usual_probe if probe is None else probe
    linf = norm == "linf"
    if step is None:
        step = eps / 5 if linf else eps / 10
    search = Scores(model, images, labels, queries, confidence)
    current, size = images[search.active], images.shape[2:]
    learned = current.new_zeros(len(current), 3, *(min(tile, side) for side in size))
    while search.running:
        # Exponentiated gradients on (prior + 1) / 2 are plain ones on the prior's artanh, which is what is
        # kept.
        prior = learned.tanh() if linf else learned
        if search.queries_left >= 3:
            length = exploration / prior[0].numel() ** 0.5
            change = length * gaussian(tuple(prior.shape), images, generator)
            ways = [ascend(_enlarge(way, size), "l2") for way in (prior + change, prior - change)]
            plus, minus = search.ask((current + probe * torch.stack(ways)).clamp(0, 1))
            slope = ((plus - minus) / (probe * exploration)).nan_to_num(0.0, 0.0, 0.0).to(prior.dtype)
            learned = learned + rate * slope[:, None, None, None] * change
            prior = learned.tanh() if linf else learned
        moved = current - step * ascend(_enlarge(prior, size), norm)
        current = project(moved, images[search.active], norm, eps)
        stay = search.try_points(current)
        current, learned = current[stay], learned[stay]
    return search.best


def _enlarge(prior: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(prior, size, mode="nearest")
