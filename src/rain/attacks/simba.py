"""SimBA: one direction of a basis after the other, up or down, kept if the margin falls."""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
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
    """Take the directions of a basis in random order: add one, or else subtract it, wherever that lowers the margin.

    Args:
        model: images to logits; it need not have gradients.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
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
        generator: of the order; its device need not be that of the images.

    Raises:
        OptionError: an argument out of range.

    Source: Guo et al. (arXiv 1905.07121): algorithm 1, and section 3 for the bases.

    Differs: margin of the logits instead of the probability; the projection into a budget, of which the paper
    has none; after the last direction the first one is next; the best is asked again (``patience``).
    """
    check_arguments(norm, eps)
    check_counts(patience=patience)
    if basis not in BASES:
        raise OptionError(f"basis must be one of {', '.join(BASES)}, got {basis!r}")
    if not 0 < frequencies <= 1:
        raise OptionError(f"frequencies must be above 0 and at most 1, got {frequencies!r}")
    if step is not None:
        check_positive(step=step)
    search = Scores(model, images, labels, queries, confidence)
    height, width = images.shape[2:]
    rows, columns = (
        (height, width)
        if basis == "pixel"
        else (math.ceil(frequencies * height), math.ceil(frequencies * width))
    )
    count = 3 * rows * columns
    length = (
        step
        if step is not None
        else eps
        if norm == "linf"
        else eps / min(max(1.0, queries / 2), count) ** 0.5
    )
    order = _orders(len(images), count, images.device, generator)
    place, side = torch.zeros_like(labels), torch.ones_like(labels)
    while search:
        active = search.active
        which = order[active, place[active] % count]
        direction = pixels(which, images) if basis == "pixel" else cosines(which, columns, rows, images)
        if norm == "linf":
            direction = direction / direction.flatten(1).abs().amax(1)[:, None, None, None]
        points = search.best[active] + length * side[active, None, None, None].to(direction) * direction
        accepted, refused, _ = search.challenge(project(points, images[active], norm, eps), patience)
        up = side[active] > 0
        over = accepted | (refused & ~up)
        place[active] += over.long()
        side[active] = torch.where(over, 1, torch.where(refused, -1, side[active]))
    return search.best


def pixels(which: Tensor, like: Images) -> Tensor:
    """Single values, by their number in a flattened image. Shape: (A,) to (A, 3, H, W)."""
    flat = torch.zeros(len(which), like[0].numel(), device=like.device, dtype=like.dtype)
    return flat.scatter_(1, which[:, None], 1).unflatten(1, like.shape[1:])


def cosines(which: Tensor, columns: int, rows: int, like: Images) -> Tensor:
    """Functions of the orthonormal DCT-II of one channel, by their number: channel, then frequency down, then across. Length 1."""

    def wave(frequency: Tensor, length: int) -> Tensor:
        places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
        values = torch.cos(frequency[:, None] * places * (torch.pi / length))
        return values / values.norm(dim=1, keepdim=True)

    channel, rest = which // (rows * columns), which % (rows * columns)
    plane = wave(rest // columns, like.shape[2])[:, :, None] * wave(rest % columns, like.shape[3])[:, None, :]
    colour = torch.nn.functional.one_hot(channel, 3).to(like.dtype)
    return colour[:, :, None, None] * plane[:, None]


def _orders(images: int, count: int, device: torch.device, generator: Generator | None) -> Tensor:
    """A random order of the directions for each image. Shape: (images, count)."""
    drawn = torch.rand(
        images, count, generator=generator, device=generator.device if generator is not None else device
    )
    return drawn.argsort(1).to(device)
