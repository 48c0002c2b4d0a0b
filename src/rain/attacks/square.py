"""Square Attack: random search with squares, by scores only."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts
from rain.attacks._draws import below, signs
from rain.attacks._scores import Scores
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""When the share of the image that a square covers is halved, of 10000 queries."""


@ATTACKS.register(traits=Traits(sees="scores"))
def square(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    share: float = 0.8,
    patience: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Change a random square of the image, keep it if the margin falls, and take smaller squares with time.

    Args:
        norm: "linf" (squares of -eps or eps) or "l2" (the norm of one square is moved into another).
        queries: images sent through the model for each image, at most.
        share: of the image that the first squares cover: p in the paper, which has 0.05 (linf) and 0.1 (l2)
            on ImageNet; 0.8 is AutoAttack's.
        patience: after so many refused squares in a row, the best image is asked again. Against a random
            model the margin that others are compared with is that of one draw: noise larger than a square's
            effect makes the search keep what was lucky, and refuse what is better, until it is asked again.
            What is returned may then have been lucky, too.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the squares.

    Source: Andriushchenko et al. (arXiv 1912.00049): algorithms 1, 2 (linf) and 3 (l2), stripes or tiles to
        begin with, margin loss.

    Differs: the clean look counts as a query, and the best is asked again (``patience``). Sides of the
    squares in l2 are odd, at least 3, as in the authors' code. Images need not be square. As in the paper,
    the stripes or tiles stay even where the clean image's margin is lower.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, patience=patience)
    if not 0 < share <= 1:
        raise OptionError(f"share must be above 0 and at most 1, got {share!r}")
    search = Scores(model, images, labels, queries, confidence)
    if search.running:
        search.try_points(_start(images[search.active], norm, eps, generator), forget=True)
    while search.running:
        clean, best = images[search.active], search.best[search.active]
        side = side_at(queries - search.queries_left, queries, share, clean, norm)
        changed = set_square if norm == "linf" else move_norm
        change = changed(best - clean, side, eps, generator)
        search.challenge(project(clean + change, clean, norm, eps), patience)
    return search.best


def side_at(spent: int, queries: int, share: float, images: Images, norm: str) -> int:
    """The side of the squares after so many queries, from the schedule for 10000, stretched to the budget."""
    height, width = images.shape[2:]
    share /= 2 ** sum(spent * 10000 > queries * when for when in HALVINGS)
    side = round((share * height * width) ** 0.5)
    side = max(1, side) if norm == "linf" else max(3, side | 1)
    return min(side, height, width)


def windows(change: Tensor, side: int, generator: Generator | None) -> tuple[Tensor, ...]:
    """An index of one random square in each image: (A, 3, side, side)."""
    count, height, width = len(change), *change.shape[2:]
    span = torch.arange(side, device=change.device)
    rows = below(height - side + 1, (count, 1, 1, 1), change, generator) + span[:, None]
    columns = below(width - side + 1, (count, 1, 1, 1), change, generator) + span
    which = torch.arange(count, device=change.device)[:, None, None, None]
    return which, torch.arange(3, device=change.device)[:, None, None], rows, columns


def set_square(change: Tensor, side: int, eps: float, generator: Generator | None) -> Tensor:
    """Set one square of each channel to -eps or eps (algorithm 2)."""
    change = change.clone()
    change[windows(change, side, generator)] = eps * signs((len(change), 3, 1, 1), change, generator)
    return change


def move_norm(change: Tensor, side: int, eps: float, generator: Generator | None) -> Tensor:
    """Empty one square, and give its norm, and what is unused of the budget, to another one (algorithm 3)."""
    first, second = windows(change, side, generator), windows(change, side, generator)
    unused = (eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
    both = torch.zeros_like(change)
    both[first] = both[second] = 1
    available = ((change * both).square().sum((2, 3), keepdim=True) + unused / 3).sqrt()
    bump = pattern(side, change)
    flip = below(2, (len(change), 1, 1, 1), change, generator).bool()
    bump = torch.where(flip, bump.T, bump) * signs((len(change), 3, 1, 1), change, generator) / bump.norm()
    old = change[first]
    new = bump + old / _length(old)
    change = change.clone()
    change[second] = 0
    change[first] = new / _length(new) * available
    return change


def _length(squares: Tensor) -> Tensor:
    return squares.square().sum((2, 3), keepdim=True).sqrt().clamp_min(torch.finfo(squares.dtype).tiny)


def pattern(side: int, like: Tensor) -> Tensor:
    """Two bumps side by side, of opposite sign: eta in the paper. Shape: (side, side)."""

    def bump(width: int) -> Tensor:
        middle = side // 2
        numbers = torch.arange(middle + 1, 0, -1, device=like.device, dtype=like.dtype)
        heights = (1 / numbers.square()).cumsum(0)
        down = (torch.arange(side, device=like.device) - middle).abs()
        across = (torch.arange(width, device=like.device) - width // 2).abs()
        return heights[middle - torch.maximum(down[:, None], across)]

    return torch.cat([bump(side // 2), -bump(side - side // 2)], dim=1)


def stripes(images: Images, eps: float, generator: Generator | None) -> Tensor:
    """Vertical stripes of -eps and eps, one pixel wide, channel by channel."""
    return eps * signs((len(images), 3, 1, images.shape[3]), images, generator).expand_as(images)


def tiles(images: Images, generator: Generator | None) -> Tensor:
    """The l2 pattern with random signs in five by five tiles, or as many as fit; not scaled yet."""
    side = max(1, min(images.shape[2:]) // 5)
    down, across = (length // side for length in images.shape[2:])
    grid = signs((len(images), 3, down, across), images, generator)
    grid = grid.repeat_interleave(side, 2).repeat_interleave(side, 3)
    change = torch.zeros_like(images)
    change[:, :, : down * side, : across * side] = grid * pattern(side, images).repeat(down, across)
    return change


def _start(images: Images, norm: str, eps: float, generator: Generator | None) -> Images:
    if norm == "linf":
        change = stripes(images, eps, generator)
    else:
        change = tiles(images, generator)
        change = change * (eps / change.flatten(1).norm(dim=1))[:, None, None, None]
    return project(images + change, images, norm, eps)
