"""ZOO: coordinate descent with Adam, on symmetric differences of scores."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
from rain.attacks._adam import Adam
from rain.attacks._draws import device_of
from rain.attacks._scores import Scores
from rain.images import Images, project
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(sees="scores"))
def zoo(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    coordinates: int = 12,
    delta: float = 0.01,
    rate: float | None = None,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Measure the margin's slope along a few single values, two queries each, and move these by Adam.

    Each value has an Adam of its own.

    Args:
        norm: "linf" or "l2": of the projection, which follows each step.
        queries: images sent through the model for each image, at most. An image has far more values than one
            usually grants queries: this is the dearest of the attacks, and one for small images.
        coordinates: values that are measured, at random, before each step.
        delta: how far to both sides to ask. Against a random model a single value hardly moves the margin:
            what is measured is the noise.
        rate: Adam's; None is eps for linf, and for l2 what fills the budget if every value that is measured
            moves once.
        batch: images in one forward pass.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the choice of values.

    Source: Chen et al. (arXiv 1708.03999): algorithms 1 and 2 (ZOO-ADAM).

    Differs: within a budget, by projection, instead of a penalty on the distance; margin of the logits
    instead of log-probabilities; delta is 0.01, not 0.0001, which float32 drowns; no importance sampling and
    no attack space of lower dimension. Each step is looked at for one query more, and of the images after
    each step the one with the lowest margin is returned, or with a confidence the last.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, coordinates=coordinates, batch=batch)
    check_positive(delta=delta, rate=rate)
    size = images[0].numel() if len(images) else 1
    if rate is None:
        affordable = min(max(1.0, queries / 2), size)
        rate = eps if norm == "linf" else eps / affordable**0.5
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    adam = Adam(current.flatten(1))
    device = device_of(generator, images)
    while search.running:
        count = min(coordinates, size, (search.queries_left - 1) // 2)
        chances = torch.rand(len(current), size, generator=generator, device=device)
        values = chances.topk(count, dim=1).indices.to(images.device)
        slopes = search.measure_slopes(current, values, delta)
        gradient = torch.zeros_like(adam.mean).scatter(1, values, slopes)
        measured = torch.zeros_like(gradient, dtype=torch.bool).scatter(1, values, True)
        move = (rate * adam(gradient, measured)).view_as(current).to(current)
        current = project(current - move, images[search.active], norm, eps)
        stay = search.try_points(current)
        current = current[stay]
        adam.keep(stay)
    return search.best
