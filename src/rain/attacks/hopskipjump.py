"""HopSkipJump: the normal of the boundary, estimated from labels only."""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_counts, check_positive
from rain.attacks._draws import gaussian
from rain.attacks._labels import RECEDE, Labels
from rain.attacks._minimising import check_minimising
from rain.images import Images, distance
from rain.registry import ATTACKS, Traits

HALVINGS = 10
"""How often a step away from the boundary is halved before it is given up."""


@ATTACKS.register(traits=Traits(sees="labels"))
def hopskipjump(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    queries: int = 5000,
    samples: int = 100,
    radius: float = 0.1,
    batch: int = 100,
    confirm: int = 0,
    generator: Generator | None = None,
) -> Images:
    """Bisect to the boundary, estimate its normal from random points around, step off along it; again.

    Args:
        eps: an image goes as soon as it is fooled within it, and comes back as it was if it never is. With
            ``math.inf``, or one that holds the whole box, the search goes on until the queries are used up,
            and the smallest is returned.
        queries: images sent through the model for each image, at most.
        samples: random points in the first estimate; times the square root of k in the k-th, and at most half
            of what is left.
        radius: how far from the boundary they are, as a share of the L2 distance from the clean image.
            Against a random model take a larger one, such as 1, or its noise drowns the difference that they
            make.
        batch: images in one forward pass.
        confirm: how many more answers must agree before an image goes, and for the start: 0 for a model that
            answers the same each time, 2 or more for a random one.
        generator: of the start and the random points.

    Source: Chen, Jordan, Wainwright (arXiv 1904.02144): algorithm 2, with the bisection of algorithm 1, and
        equation 16 for the estimate.

    Differs: the radius, in the paper 1/d of the distance in the norm, d the number of values, is larger,
        since float32 does not resolve that for large images; the tolerance of the bisection follows it as in
        the paper. Noise to start from comes in tiles where that in pixels does not fool. A bisection asks at
        eps first. A step is given up after so many halvings, and a point that fools no longer, as happens
        with a random model, is taken farther away. ``confirm`` is an addition.
    """
    check_minimising(norm, eps)
    check_counts(samples=samples, batch=batch)
    check_positive(radius=radius)
    search = Labels(model, images, labels, norm, eps, queries, confirm, batch)
    if not len(images):
        return search.best
    bisections = max(1, math.ceil(math.log2(images[0].numel() ** 0.5 / radius)))
    current, turn = search.find_starts(generator), 0
    while len(rows := search.active):
        turn += 1
        point = search.bisect(rows, current[rows], bisections)
        affordable = (search.queries_left[rows] // 2).clamp_max(int(samples * turn**0.5))
        count = torch.where(search.searched[rows], affordable, 0)
        direction = ascend(normal(search, rows, point, count, radius, batch, generator), norm)
        length = distance(point, search.clean[rows], norm) / turn**0.5
        current[rows] = step_off(search, rows, point, direction, length)
    return search.best


def step_off(search: Labels, rows: Tensor, point: Images, direction: Tensor, length: Tensor) -> Images:
    """Step away from the boundary, and halve the step until the model is fooled; given up after ``HALVINGS``.

    Returns: where the step led, or the point where it was given up. A point that fools no longer, as happens
        with a random model, is taken farther from the clean image.
    """
    reached, clean = point.clone(), search.clean[rows]
    waiting = torch.arange(len(rows), device=rows.device)
    for _ in range(HALVINGS):
        step = length[waiting, None, None, None] * direction[waiting]
        moved = (point[waiting] + step).clamp(0, 1)
        fooled = search.try_points(rows[waiting], moved)
        reached[waiting[fooled]] = moved[fooled]
        waiting, length = waiting[~fooled], length / 2
    lost = waiting[~search.try_points(rows[waiting], point[waiting])]
    reached[lost] = (clean[lost] + RECEDE * (point[lost] - clean[lost])).clamp(0, 1)
    return reached


def normal(
    search: Labels,
    rows: Tensor,
    centre: Images,
    count: Tensor,
    radius: float,
    batch: int,
    generator: Generator | None,
) -> Tensor:
    """Estimate the direction in which the model is fooled, from answers on a sphere around each point.

    This is equation 16.

    Args:
        rows: to which images the points belong.
        centre: (A, 3, H, W), points on the boundary.
        count: (A,), how many random points for each.
        radius: of the spheres, as a share of the L2 distance from the clean images.
        batch: points that are there at once, but at least one for each row.

    Shape: returns (A, 3, H, W), of any length.
    """
    reach = radius * distance(centre, search.clean[rows], "l2")[:, None, None, None]
    every, signed = torch.zeros_like(centre), torch.zeros_like(centre)
    total, piece = torch.zeros_like(reach), max(1, batch // len(rows))
    most = int(count.max())
    for start in range(0, most, piece):
        numbers = torch.arange(start, min(start + piece, most), device=rows.device)
        counted = numbers[:, None] < count
        directions = gaussian((*counted.shape, *centre.shape[1:]), centre, generator)
        spheres = ascend(directions.flatten(0, 1), "l2").view_as(directions)
        points = (centre + reach * spheres).clamp(0, 1)
        fooled = search.ask(rows.expand_as(counted)[counted], points[counted])
        answers = torch.zeros_like(counted, dtype=centre.dtype)
        answers[counted] = 2 * fooled.to(centre.dtype) - 1
        answers = answers[:, :, None, None, None]
        every += (answers.abs() * (points - centre)).sum(0)
        signed += (answers * (points - centre)).sum(0)
        total += answers.sum(0)
    mean = total / count.clamp_min(1)[:, None, None, None]
    # Answers that are all the same would cancel.
    return signed - torch.where(mean.abs() < 1, mean, 0) * every
