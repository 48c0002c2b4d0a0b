"""What the attacks that see labels only share: exact counting, the smallest that fools, a point to start from, and bisection."""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_counts
from rain.errors import OptionError
from rain.images import Images, distance

RIM = 1 - 1e-4
"""The share of eps at which a bisection asks first: a little less, so that rounding does not lead out of the budget."""

RECEDE = 1.5
"""By how much a point that fools no longer is taken farther from the clean image."""


class Labels:
    """A search that sees labels only: it counts what it asks for each image, keeps the smallest that fools, and lets images go.

    Nothing but whether the model's answer is the right label leaves this class. Each image has its own
    counter. An image goes when it is fooled within a finite ``eps``, or when its queries are used up. The
    clean images are asked at once, and go if they are fooled already, by all of the answers that ``confirm``
    asks for.

    Args:
        model: images to logits, or whatever has its greatest value at the label.
        images: (N, 3, H, W), the clean ones.
        labels: (N,), the right answers.
        norm, eps: the budget; a larger image is not kept, and nothing is clipped into it. One that holds the
            whole box is no budget: it is taken for infinite.
        queries: the largest number of images that may be sent through the model for each image; it is never
            exceeded.
        confirm: how many more answers must agree before a point counts as one that fools (fewer where the
            queries run out).
        batch: images in one forward pass; None is all that a step asks.

    Attributes:
        left: (N,), what may still be asked.
        best: (N, 3, H, W), what is returned in the end: of the points within eps that fooled those with the
            most answers that agree, and of these the smallest; the clean image where there is none.
        clean: the clean images, in the type to compute in: at least float32.
    """

    def __init__(
        self,
        model: Model,
        images: Images,
        labels: Tensor,
        norm: str,
        eps: float,
        queries: int,
        confirm: int,
        batch: int | None = None,
    ) -> None:
        check_counts(queries=queries)
        if not (isinstance(confirm, int) and confirm >= 0):
            raise OptionError(f"confirm must be an integer of at least 0, got {confirm!r}")
        self.model, self.labels, self.norm, self.confirm, self.batch = model, labels, norm, confirm, batch
        self.eps = eps if eps < (1 if norm == "linf" else math.prod(images.shape[1:]) ** 0.5) else math.inf
        self.type, self.clean = images.dtype, images.to(torch.promote_types(images.dtype, torch.float32))
        self.best, self.size = images.clone(), self.clean.new_full((len(images),), torch.inf)
        self.agreed = torch.zeros_like(labels)
        self.left = torch.full_like(labels, queries)
        self.going = torch.zeros_like(labels, dtype=torch.bool)
        for _ in range(1 + confirm):
            rows = (~self.going & (self.left > 0)).nonzero()[:, 0]
            self.going[rows] = ~self.ask(rows, images[rows])

    @property
    def active(self) -> Tensor:
        """The numbers of the images that are still there."""
        return (self.going & (self.left > 0)).nonzero()[:, 0]

    @torch.no_grad()
    def ask(self, rows: Tensor, points: Images) -> Tensor:
        """Whether points, brought into [0, 1], fool the model: one answer for each of these rows, which may be there several times.

        An answer with a NaN fools nobody.
        """
        if not len(rows):
            return torch.zeros_like(rows, dtype=torch.bool)
        self.left -= torch.bincount(rows, minlength=len(self.left))
        assert int(self.left.min()) >= 0, "an attack asks for more than is left"
        points = points.clamp(0, 1).to(self.type)
        logits = torch.cat([self.model(piece) for piece in points.split(self.batch or len(points))])
        return (logits.argmax(1) != self.labels[rows]) & ~logits.isnan().any(1)

    def look(self, rows: Tensor, points: Images, sure: bool = False) -> Tensor:
        """Ask one point for each of these rows, and keep it where it is the best so far.

        What could be kept is asked ``confirm`` times more, up to the first answer that does not agree.

        Args:
            rows: each at most once; those that are gone are not asked.
            sure: confirm what is outside of the budget, too.

        Returns: which points fool, by all answers; False for the images that are gone.
        """
        points = points.clamp(0, 1).to(self.type)
        there = self.going[rows] & (self.left[rows] > 0)
        fooled = torch.zeros_like(there)
        fooled[there] = self.ask(rows[there], points[there])
        size = distance(points.to(self.clean), self.clean[rows], self.norm)
        wanted = (
            fooled & (size <= self.eps) & ((self.agreed[rows] <= self.confirm) | (size < self.size[rows]))
        )
        agreed = fooled.long()
        for _ in range(self.confirm):
            again = fooled & (wanted | sure) & (self.left[rows] > 0)
            fooled[again] = self.ask(rows[again], points[again])
            agreed += again & fooled
        before = self.agreed[rows]
        better = wanted & ((agreed > before) | ((agreed == before) & (size < self.size[rows])))
        kept = rows[better]
        self.best[kept], self.size[kept], self.agreed[kept] = points[better], size[better], agreed[better]
        if self.eps < math.inf:
            self.going[kept[agreed[better] > self.confirm]] = False
        return fooled

    def between(self, low: Tensor, high: Tensor) -> Tensor:
        """Where to ask next between two distances: at the rim of the budget if it lies there, or else in the middle."""
        rim = RIM * self.eps
        return torch.where((low < rim) & (rim < high), rim, (low + high) / 2)

    def approach(self, rows: Tensor, points: Images, steps: int) -> Images:
        """Bisect between points that fool and the clean images: on the line for "l2", by cutting off larger changes for "linf".

        Returns: for each row the nearest point that fooled, or the one it had.
        """
        clean = self.clean[rows]
        high = distance(points, clean, self.norm)
        low = torch.zeros_like(high)
        for _ in range(steps):
            middle = self.between(low, high)
            fooled = self.look(rows, at(points, clean, self.norm, middle))
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
        return at(points, clean, self.norm, high)

    def begin(self, generator: Generator | None, corners: bool = False) -> Images:
        """A point that fools for each active image, by uniform noise: in tiles of twice the side after each vain try, then in pixels again.

        Args:
            corners: noise of 0 and 1 only, and tiles of half the side after each try, the whole image first.

        Returns: (N, 3, H, W); the clean image where nothing was found before the queries were used up.
        """
        points, rows = self.clean.clone(), self.active
        height, width = points.shape[2:]
        sides = [2**power for power in range(max(height, width).bit_length() + 1)]
        sides = sides[::-1] if corners else sides
        device = generator.device if generator is not None else points.device
        tries = 0
        while len(rows):
            side = sides[tries % len(sides)]
            noise = torch.rand(
                (len(rows), 3, -(-height // side), -(-width // side)), generator=generator, device=device
            ).to(points)
            noise = noise.round() if corners else noise
            noise = noise.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :height, :width]
            fooled = self.look(rows, noise, sure=True)
            points[rows[fooled]] = noise[fooled]
            rows = rows[~fooled & (self.left[rows] > 0)]
            tries += 1
        return points


def at(points: Images, clean: Images, norm: str, reach: Tensor) -> Images:
    """Take points to a distance from the clean images, (A,): along the line for "l2", by cutting off larger changes for "linf"."""
    change = points - clean
    if norm == "linf":
        limit = reach[:, None, None, None]
        return clean + change.clamp(-limit, limit)
    tiny = torch.finfo(change.dtype).tiny
    return clean + change * (reach / change.flatten(1).norm(dim=1).clamp_min(tiny))[:, None, None, None]
