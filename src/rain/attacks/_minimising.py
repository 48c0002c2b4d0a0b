"""What the minimising attacks share: what they refuse, what they keep, and the search for a constant."""

import math

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import margins
from rain.errors import OptionError
from rain.images import Images, check_norm, distance


def check_minimising(
    norm: str, eps: float, confidence: float = 0.0, norms: tuple[str, ...] = ("linf", "l2")
) -> None:
    """Raise ``OptionError`` for what a minimising attack that knows these norms cannot take."""
    check_norm(norm)
    if norm not in norms:
        raise OptionError(f"this attack measures in norm {', '.join(norms)} only, got {norm!r}")
    if not eps >= 0:
        raise OptionError(f"eps must be at least 0, or inf, got {eps!r}")
    if not 0 <= confidence < math.inf:
        raise OptionError(f"confidence must be at least 0 and finite, got {confidence!r}")


class Smallest:
    """For each image the smallest one so far that fools, within the budget.

    Args:
        images: the clean ones.
        norm, eps: the budget; a larger image is not kept, and nothing is clipped into it.
        confidence: an image fools when the best wrong logit is above the right one by more than this.

    Attributes:
        best: what is returned in the end; the clean image where nothing fooled.
        wide: the type to compute in: at least float32, since the small steps of an optimiser vanish in half
            precision.
    """

    def __init__(self, images: Images, norm: str, eps: float, confidence: float = 0.0):
        self.images, self.norm, self.eps, self.confidence = images, norm, eps, confidence
        self.wide = torch.promote_types(images.dtype, torch.float32)
        self.best = images.clone()
        self.sizes = images.new_full((len(images),), torch.inf, dtype=self.wide)

    def begin(self, model: Model, labels: Tensor) -> Tensor:
        """Look at the clean images, of which the fooled ones are done; returns the numbers of the others."""
        everyone = torch.arange(len(self.images), device=self.images.device)
        with torch.no_grad():
            margin = margins(model(self.images), labels)
        return everyone[~self.offer(everyone, self.images, margin)]

    def offer(self, rows: Tensor, points: Images, margin: Tensor, size: Tensor | None = None) -> Tensor:
        """Keep points, which belong to these rows, where they fool, are in the budget and are the smallest.

        Args:
            size: what to compare, (N,); None is the distance.

        Returns: which points fool, in the budget or not.
        """
        moved = distance(points.to(self.wide), self.images[rows].to(self.wide), self.norm)
        size = moved if size is None else size
        fooled = margin < -self.confidence
        better = fooled & (moved <= self.eps) & (size < self.sizes[rows])
        self.best[rows[better]], self.sizes[rows[better]] = points[better], size[better]
        return fooled


class ConstantSearch:
    """Binary search for the smallest constant that fools, image by image.

    The constant is multiplied by ten until one fools; then the interval is halved.

    Args:
        count: of images.
        start: the first constant.
        device: of the images.
    """

    def __init__(self, count: int, start: float, device: torch.device):
        self.constant = torch.full((count,), start, device=device)
        self.lower = torch.full((count,), 0.0, device=device)
        self.upper = torch.full((count,), torch.inf, device=device)

    def update(self, rows: Tensor, fooled: Tensor) -> None:
        """Tell which of these rows were fooled with their constants; the next ones are set."""
        now = self.constant[rows]
        upper = torch.where(fooled, now, self.upper[rows])
        lower = torch.where(fooled, self.lower[rows], now)
        self.upper[rows], self.lower[rows] = upper, lower
        self.constant[rows] = torch.where(upper.isfinite(), (lower + upper) / 2, 10 * now)
