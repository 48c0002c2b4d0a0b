"""SimBA: one direction of a basis after the other, up or down, kept if the margin falls."""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
from rain.attacks._draws import orders
from rain.attacks._scores import Scores
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

BASES = ("pixel", "dct")


@ATTACKS.register(traits=Traits(sees="scores"))
def simba(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    basis: str = "pixel",
    frequencies: float = 0.125,
    step: float | None = None,
    patience: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Take the directions of a basis in random order: add or subtract each, wherever that lowers the margin.

    Args:
        norm: "linf" or "l2": of the projection, which follows each step.
        queries: images sent through the model for each image, at most.
        basis: "pixel" (single values) or "dct" (cosines of low frequency, channel by channel: far fewer, and
            better on natural images).
        frequencies: the share of the frequencies, the lowest, that the cosines take in each direction.
        step: by how much a direction changes the image where it changes it most (linf), or the length of the
            change (l2; the paper has 0.2). None is eps for linf, and for l2 what fills the budget if every
            second query is a success.
        patience: after so many refused points in a row, the best image is asked again. Against a random model
            the margin that others are compared with is that of one draw: noise larger than a direction's
            effect makes the search keep what was lucky, and refuse what is better, until it is asked again.
            What is returned may then have been lucky, too.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the order.

    Source: Guo et al. (arXiv 1905.07121): algorithm 1, and section 3 for the bases.

    Differs: margin of the logits instead of the probability; the projection into a budget, of which the paper
    has none; after the last direction the first one is next; the best is asked again (``patience``).
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, patience=patience)
    check_positive(step=step)
    if basis not in BASES:
        raise OptionError(f"basis must be one of {', '.join(BASES)}, got {basis!r}")
    if not 0 < frequencies <= 1:
        raise OptionError(f"frequencies must be above 0 and at most 1, got {frequencies!r}")
    search = Scores(model, images, labels, queries, confidence)
    rows, columns = images.shape[2:]
    if basis == "dct":
        rows, columns = math.ceil(frequencies * rows), math.ceil(frequencies * columns)
    count = 3 * rows * columns
    if step is None:
        step = eps if norm == "linf" else eps / min(max(1.0, queries / 2), count) ** 0.5
    order = orders(len(images), count, images, generator)
    place, side = torch.zeros_like(labels), torch.ones_like(labels)
    while search.running:
        active = search.active
        which = order[active, place[active] % count]
        direction = pixels(which, images) if basis == "pixel" else cosines(which, columns, rows, images)
        if norm == "linf":
            direction = direction / direction.flatten(1).abs().amax(1)[:, None, None, None]
        move = step * side[active, None, None, None].to(direction) * direction
        points = project(search.best[active] + move, images[active], norm, eps)
        accepted, refused, _ = search.challenge(points, patience)
        # A direction is done with when it was accepted, or refused on both sides.
        done = accepted | (refused & ~(side[active] > 0))
        place[active] += done.long()
        side[active] = torch.where(done, 1, torch.where(refused, -1, side[active]))
    return search.best


def pixels(which: Tensor, like: Images) -> Tensor:
    """Single values, by their number in a flattened image. Shape: (A,) to (A, 3, H, W)."""
    flat = torch.zeros(len(which), like[0].numel(), device=like.device, dtype=like.dtype)
    return flat.scatter_(1, which[:, None], 1).unflatten(1, like.shape[1:])


def cosines(which: Tensor, columns: int, rows: int, like: Images) -> Tensor:
    """Functions of the orthonormal DCT-II of one channel, of length 1, by their number.

    It counts the channel, then the frequency down, then the one across.
    """

    def wave(frequency: Tensor, length: int) -> Tensor:
        places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
        values = torch.cos(frequency[:, None] * places * (torch.pi / length))
        return values / values.norm(dim=1, keepdim=True)

    channel, rest = which // (rows * columns), which % (rows * columns)
    plane = wave(rest // columns, like.shape[2])[:, :, None] * wave(rest % columns, like.shape[3])[:, None, :]
    colour = torch.nn.functional.one_hot(channel, 3).to(like.dtype)
    return colour[:, :, None, None] * plane[:, None]
