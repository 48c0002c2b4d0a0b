"""Attacks: plain functions ``attack(model, images, labels, *, eps, norm, generator, ...) -> images``. One file each.

The model is any callable from images (N, 3, H, W) in [0, 1] to logits: an attack sees that and nothing else. What makes an attack adaptive
is in ``rain.adaptive``. Options of the attack are keyword arguments, and a grid sets them by name.

There are two kinds. *Budgeted* attacks (pgd, apgd, square, ...) do the worst they can within ``eps``. *Minimising* attacks (deepfool, carlini_wagner,
...) look for the smallest perturbation that fools; an image for which they find none within ``eps`` comes back as it was. Their ``eps`` may
be ``math.inf``; a grid, whose numbers are finite, asks for the whole box with 1.0 for linf or 1000 for l2.

Attacks with the option ``queries`` ask for scores only (``Scores``), and send at most so many images through the model for each image.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.errors import OptionError
from rain.images import Images, check_norm, distance, project

Objective = Callable[[Tensor], Tensor]
"""From the logits of a batch (N, classes) to one value for each image, (N,)."""

LOSSES = ("cross_entropy", "margin")


def check_arguments(norm: str, eps: float, loss: str = "margin", losses: tuple[str, ...] = LOSSES) -> None:
    """Raise ``OptionError`` for what no budgeted attack can take."""
    check_norm(norm)
    if not 0 <= eps < math.inf:
        raise OptionError(f"eps must be at least 0 (4/255 is usual) and finite, got {eps!r}")
    if loss not in losses:
        raise OptionError(f"loss must be one of {', '.join(losses)}, got {loss!r}")


def check_minimising(norm: str, eps: float, confidence: float = 0.0, norms: tuple[str, ...] = ("linf", "l2")) -> None:
    """Raise ``OptionError`` for what a minimising attack that knows these norms cannot take."""
    check_norm(norm)
    if norm not in norms:
        raise OptionError(f"this attack measures in norm {', '.join(norms)} only, got {norm!r}")
    if not eps >= 0:
        raise OptionError(f"eps must be at least 0, or inf, got {eps!r}")
    if not 0 <= confidence < math.inf:
        raise OptionError(f"confidence must be at least 0 and finite, got {confidence!r}")


def check_counts(**counts: int) -> None:
    """Raise ``OptionError`` for a count that is no integer of at least 1; the keyword is how the error calls it."""
    for name, count in counts.items():
        if not (isinstance(count, int) and count >= 1):
            raise OptionError(f"{name} must be an integer of at least 1, got {count!r}")


def check_positive(**numbers: float) -> None:
    """Raise ``OptionError`` for a number that is not above 0, or not finite; the keyword is how the error calls it."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise OptionError(f"{name} must be positive, got {number!r}")


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the label minus the greatest other one: negative where the model is fooled. Shape: (N,)."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def rivals(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The wrong classes with the greatest logits, greatest first. Shape: (N, count), or as many as there are."""
    return logits.scatter(1, labels[:, None], -torch.inf).topk(min(count, logits.shape[1] - 1), dim=1).indices


def differentiate(model: Model, images: Images, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass; no gradient is computed for the weights.

    Returns: the gradient of each image's value with respect to the image (N, 3, H, W), the values (N,), and the logits.

    Raises:
        OptionError: the model gives no gradient.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        check_gradient(logits)
        values = objective(logits)
        (gradient,) = torch.autograd.grad(values.sum(), images)
    return gradient, values.detach(), logits.detach()


def check_gradient(logits: Tensor) -> None:
    """Raise ``OptionError`` for logits that came without a graph."""
    if not logits.requires_grad:
        raise OptionError("this attack needs gradients, and the model gives none; access query is for attacks that ask for scores only")


def gradients(model: Model, images: Images, labels: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """The gradient of one of ``LOSSES`` with respect to the images, to be ascended, (N, 3, H, W), and the margins, (N,).

    Raises:
        OptionError: the model gives no gradient.
    """
    objective: Objective = partial(F.cross_entropy, target=labels, reduction="none") if loss == "cross_entropy" else lambda x: -margins(x, labels)
    gradient, _, logits = differentiate(model, images, objective)
    return gradient, margins(logits, labels)


def ascend(gradient: Tensor, norm: str) -> Tensor:
    """The direction of steepest ascent with length 1 in the norm: the sign for "linf", the unit vector for "l2"."""
    if norm == "linf":
        return gradient.sign()
    return gradient / gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)[:, None, None, None]


def random_start(images: Images, norm: str, eps: float, generator: Generator | None) -> Images:
    """A uniform random point of the budget around each image, brought into [0, 1]."""
    device = generator.device if generator is not None else images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device).to(images.device, images.dtype)

    if norm == "linf":
        return project(images + eps * (2 * uniform(*images.shape) - 1), images, norm, eps)
    direction = ascend(torch.randn(images.shape, generator=generator, device=device).to(images.device, images.dtype), norm)
    size = images[0].numel() if len(images) else 1
    return project(images + eps * direction * uniform(len(images), 1, 1, 1) ** (1 / size), images, norm, eps)


def keep_lowest(best: Images, least: Tensor, rows: Tensor, points: Images, margin: Tensor) -> None:
    """Write into ``best`` and ``least`` where ``points``, which belong to these rows, have a lower margin than anything before."""
    better = margin < least[rows]
    best[rows[better]], least[rows[better]] = points[better], margin[better].to(least.dtype)


class Smallest:
    """What a minimising attack has found so far: the smallest image that fools, within the budget, for each image.

    Args:
        images: the clean ones.
        norm, eps: the budget; a larger image is not kept, and nothing is clipped into it.
        confidence: an image fools when the best wrong logit is above the right one by more than this.

    Attributes:
        best: what is returned in the end; the clean image where nothing was found.
        wide: the type to compute in: at least float32, since the small steps of an optimiser vanish in half precision.
    """

    def __init__(self, images: Images, norm: str, eps: float, confidence: float = 0.0):
        self.images, self.norm, self.eps, self.confidence = images, norm, eps, confidence
        self.wide = torch.promote_types(images.dtype, torch.float32)
        self.best, self.size = images.clone(), images.new_full((len(images),), torch.inf, dtype=self.wide)

    def begin(self, model: Model, labels: Tensor) -> Tensor:
        """Look at the clean images, of which the fooled ones are done; returns the numbers of the others."""
        everyone = torch.arange(len(self.images), device=self.images.device)
        with torch.no_grad():
            margin = margins(model(self.images), labels)
        return everyone[~self.offer(everyone, self.images, margin)]

    def offer(self, rows: Tensor, points: Images, margin: Tensor, size: Tensor | None = None) -> Tensor:
        """Keep points, which belong to these rows, where they fool, are in the budget and are smaller than what was there.

        Args:
            size: what to compare, (N,); None is the distance.

        Returns: which points fool, in the budget or not.
        """
        moved = distance(points.to(self.wide), self.images[rows].to(self.wide), self.norm)
        size = moved if size is None else size
        fooled = margin < -self.confidence
        better = fooled & (moved <= self.eps) & (size < self.size[rows])
        self.best[rows[better]], self.size[rows[better]] = points[better], size[better]
        return fooled


class ConstantSearch:
    """Binary search for the smallest constant that fools, image by image: times ten until one does, then halving the interval.

    Args:
        count: of images.
        start: the first constant.
        device: of the images.
    """

    def __init__(self, count: int, start: float, device: torch.device):
        self.constant, self.lower, self.upper = (torch.full((count,), value, device=device) for value in (start, 0.0, torch.inf))

    def update(self, rows: Tensor, fooled: Tensor) -> None:
        """Tell which of these rows were fooled with their constants; the next ones are set."""
        now = self.constant[rows]
        self.upper[rows] = torch.where(fooled, now, self.upper[rows])
        self.lower[rows] = torch.where(fooled, self.lower[rows], now)
        self.constant[rows] = torch.where(self.upper[rows].isfinite(), (self.lower[rows] + self.upper[rows]) / 2, 10 * now)


def gaussian(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal values, drawn on the generator's device, of the type and on the device of ``like``."""
    return torch.randn(shape, generator=generator, device=generator.device if generator is not None else like.device).to(like)


def below(high: int, shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Integers from 0 to ``high`` - 1, all as likely, on the device of ``like``."""
    device = generator.device if generator is not None else like.device
    return torch.randint(high, shape, generator=generator, device=device).to(like.device)


def signs(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """-1 and 1, as likely (Rademacher), of the type and on the device of ``like``."""
    return (2 * below(2, shape, like, generator) - 1).to(like.dtype)


class Scores:
    """A search that sees scores only: it counts what it asks, keeps the best, and lets the fooled images go.

    All images that are still there move in step, so that one number counts for each of them. The clean images are asked at once.

    Args:
        model: images to logits.
        images: (N, 3, H, W), the clean ones.
        labels: (N,), the right answers.
        queries: the largest number of images that may be sent through the model for each image; it is never exceeded.
        confidence: an image is fooled, and leaves, when the best wrong logit is above the right one by more than this.
        batch: images in one forward pass; None is all that a step asks.

    Attributes:
        active: (A,), the numbers of the images that are still there.
        left: what may still be asked for each of them.
        best: (N, 3, H, W), what is returned in the end.
        least: (N,), the margins heard for it; infinite where there was no number.
    """

    def __init__(self, model: Model, images: Images, labels: Tensor, queries: int, confidence: float, batch: int | None = None):
        check_counts(queries=queries)
        self.model, self.labels, self.left, self.confidence, self.batch = model, labels, queries, confidence, batch
        self.best, self.active = images.clone(), torch.arange(len(images), device=images.device)
        self.least = torch.full((len(images),), torch.inf, device=images.device, dtype=torch.promote_types(images.dtype, torch.float32))
        self.refused = torch.zeros_like(self.labels)
        self.look(images)

    def __bool__(self) -> bool:
        """Whether there is an image to go on with, and something left to ask."""
        return self.left > 0 and len(self.active) > 0

    @torch.no_grad()
    def ask(self, points: Images) -> Tensor:
        """Margins of points: some for each active image, (K, A, 3, H, W) to (K, A); K is what it costs."""
        if not points.numel():
            return self.least.new_zeros(points.shape[:2])
        assert len(points) <= self.left, "an attack asks for more than is left"
        self.left -= len(points)
        flat = points.flatten(0, 1)
        logits = torch.cat([self.model(piece) for piece in flat.split(self.batch or len(flat))]).to(self.least.dtype)
        return margins(logits, self.labels[self.active].repeat(len(points))).unflatten(0, points.shape[:2]).nan_to_num(torch.inf, torch.inf)

    def look(self, points: Images, anew: bool = False) -> Tensor:
        """Ask one point (A, 3, H, W) for each active image, and keep it where it is the best so far.

        Args:
            anew: keep it anyway; what was there before is forgotten.

        Returns: which of the active images stay, for the caller to cut its state.
        """
        (margin,) = self.ask(points[None])
        if anew:
            self.least[self.active] = torch.inf
            self.best[self.active] = points
        keep_lowest(self.best, self.least, self.active, points, margin)
        return self._leave(margin)

    def challenge(self, points: Images, patience: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ask one point for each active image, and put it in the place of the best where its margin is lower.

        After ``patience`` refused ones in a row the best itself is asked again instead, and its margin is corrected: of a random model, a
        single lucky answer would refuse everything from then on.

        Returns: which were accepted, which were refused (neither: asked again), and which active images stay.
        """
        again = self.refused[self.active] >= patience
        points = torch.where(again[:, None, None, None], self.best[self.active], points)
        (margin,) = self.ask(points[None])
        lower = margin < self.least[self.active]
        write = self.active[lower | again]
        self.best[write], self.least[write] = points[lower | again], margin[lower | again]
        self.refused[self.active] = torch.where(lower | again, 0, self.refused[self.active] + 1)
        return lower & ~again, ~lower & ~again, self._leave(margin)

    def slope(self, centre: Images, radius: float, pairs: int, draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """Estimate the gradient of the margin from differences along random directions, each asked on both sides.

        The points asked are only brought into [0, 1], not into the budget, and are no candidates.

        Args:
            centre: (A, 3, H, W), around which to ask.
            radius: what a direction is multiplied by.
            pairs: directions for each image; the cost is twice as much.
            draw: directions of a given shape.

        Returns: (A, 3, H, W).
        """
        total = torch.zeros_like(centre)
        piece = max(1, (self.batch or 2 * pairs * len(centre)) // (2 * max(1, len(centre))))
        for start in range(0, pairs, piece):
            directions = draw((min(piece, pairs - start), *centre.shape))
            both = self.ask(torch.cat([centre + radius * directions, centre - radius * directions]).clamp(0, 1))
            plus, minus = both.chunk(2)
            change = (plus - minus).nan_to_num(0.0, 0.0, 0.0).to(centre.dtype)
            total += (change[:, :, None, None, None] * directions).sum(0)
        return total / (2 * radius * max(1, pairs))

    def _leave(self, margin: Tensor) -> Tensor:
        """Let the fooled ones of the active images go; returns which stay."""
        stay = margin >= -self.confidence
        self.active = self.active[stay]
        return stay
