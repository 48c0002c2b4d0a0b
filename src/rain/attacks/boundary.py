"""The Boundary attack: a random walk along the boundary, by labels only."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_counts, check_positive
from rain.attacks._draws import gaussian
from rain.attacks._labels import RECEDE, Labels
from rain.attacks._minimising import check_minimising
from rain.images import Images
from rain.registry import ATTACKS, Traits

BISECTIONS = 10
"""Queries that bring the start to the boundary."""

UP, DOWN = 1.3, 1 / 1.3
"""What a step is multiplied by after a success and after a failure, so that half of them succeed."""

SHORTEST, LONGEST = 1e-3, 0.5
"""Between what a step stays, as a share of the distance."""


@ATTACKS.register(traits=Traits(sees="labels"))
def boundary(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    queries: int = 5000,
    around: float = 0.1,
    toward: float = 0.01,
    patience: int = 20,
    confirm: int = 0,
    generator: Generator | None = None,
) -> Images:
    """Walk at random around the clean image, where the model stays fooled, and toward it after each step.

    It needs the most queries of the attacks that see labels only, and is the one that noise of a random model
    harms most: the effect of its small steps drowns. What holds against it has shown little.

    Args:
        eps: an image goes as soon as it is fooled within it, and comes back as it was if it never is. With
            ``math.inf``, or one that holds the whole box, the search goes on until the queries are used up,
            and the smallest is returned.
        norm: "l2" only: the walk is on spheres.
        queries: images sent through the model for each image, at most.
        around: the first step on the sphere, as a share of the distance; delta in the paper.
        toward: the first step toward the clean image, as a share of the distance; epsilon in the paper.
        patience: after so many refused steps in a row, the point itself is asked again, and taken farther
            away if it fools no longer: a lucky answer of a random model may have led where nothing fools.
        confirm: how many more answers must agree before a step is accepted, and before an image goes: 0 for a
            model that answers the same each time, 2 or more for a random one.
        generator: of the start and the steps.

    Source: Brendel, Rauber, Bethge (arXiv 1712.04248), algorithm 1, and the figure beside it for the two
        steps and their lengths.

    Differs: the start, noise in tiles where that in pixels does not fool, is brought to the boundary by
        bisection, which asks at eps first. Each answer changes the length of its step at once, where the
        paper looks at the last ones together; both steps aim at a half that succeed. A step on the sphere is
        kept even where the step toward the clean image fails. ``patience`` and ``confirm`` are additions.
    """
    check_minimising(norm, eps, norms=("l2",))
    check_counts(patience=patience)
    check_positive(around=around, toward=toward)
    search = Labels(model, images, labels, norm, eps, queries, confirm)
    if not len(images):
        return search.best
    current, rows = search.find_starts(generator), search.active
    current[rows] = search.bisect(rows, current[rows], BISECTIONS)
    aside, nearer = (torch.full_like(search.best_sizes, step) for step in (around, toward))
    refusals = torch.zeros_like(labels)
    while len(rows := search.active):
        clean, point = search.clean[rows], current[rows]

        # A step on the sphere, or, where too many were refused, the point itself again.
        doubted = refusals[rows] >= patience
        walked = beside(point, clean, aside[rows], generator)
        walked = torch.where(doubted[:, None, None, None], point, walked)
        fooled = search.try_points(rows, walked, confirm_all=True)
        lost = doubted & ~fooled
        point = torch.where(fooled[:, None, None, None], walked, point)
        farther = (clean + RECEDE * (point - clean)).clamp(0, 1)
        point = torch.where(lost[:, None, None, None], farther, point)
        refusals[rows] = torch.where(fooled | lost, 0, refusals[rows] + 1)
        aside[rows] = torch.where(doubted, aside[rows], _adapted(aside[rows], fooled))

        # From where that succeeded, a step toward the clean image.
        went = fooled & ~doubted
        closer = clean + (1 - nearer[rows])[:, None, None, None] * (point - clean)
        arrived = torch.zeros_like(went)
        arrived[went] = search.try_points(rows[went], closer[went], confirm_all=True)
        nearer[rows] = torch.where(went, _adapted(nearer[rows], arrived), nearer[rows])
        current[rows] = torch.where(arrived[:, None, None, None], closer, point)
    return search.best


def _adapted(step: Tensor, success: Tensor) -> Tensor:
    return (step * torch.where(success, UP, DOWN)).clamp(SHORTEST, LONGEST)


def beside(points: Images, clean: Images, step: Tensor, generator: Generator | None) -> Images:
    """A random step at right angles to the way to the clean image, and back to the same distance.

    Args:
        step: (A,), its length, as a share of the distance.
    """
    way = (points - clean).flatten(1)
    random = gaussian(tuple(points.shape), points, generator).flatten(1)
    tiny = torch.finfo(way.dtype).tiny
    length = way.norm(dim=1, keepdim=True).clamp_min(tiny)
    random = random - way * ((way * random).sum(1, keepdim=True) / length**2)
    moved = way + random * (step[:, None] * length / random.norm(dim=1, keepdim=True).clamp_min(tiny))
    moved = moved * (length / moved.norm(dim=1, keepdim=True).clamp_min(tiny))
    return (clean + moved.view_as(clean)).clamp(0, 1)
