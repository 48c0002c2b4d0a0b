"""What the attacks that see labels only share: counted queries, the smallest that fools, starts, bisection.

An attack written with it, which only draws nearer to the clean image on a line:

    search = Labels(model, images, labels, norm, eps, queries, confirm)
    points = search.find_starts(generator)
    while len(rows := search.active):
        nearer = search.clean[rows] + 0.9 * (points[rows] - search.clean[rows])
        fooled = search.try_points(rows, nearer)
        points[rows[fooled]] = nearer[fooled]
    return search.best

The words:
    rows: numbers of images in the batch. Each image has a counter of its own, so that every call says which
        rows its points belong to.
    active: the rows that are still searched: not fooled within a finite eps, and with queries left.
    fools: the model's answer to a point is not the right label.
    ask: send points through the model. It only informs; nothing is kept.
    try: ask a candidate for each row, confirm what fools by more answers, and keep the best.
    best: of the points within eps that fooled the one with the most answers that agree, and among equals the
        smallest.
"""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_counts
from rain.attacks._draws import uniform
from rain.errors import OptionError
from rain.images import Images, distance

RIM = 1 - 1e-4
"""The share of eps at which a bisection asks first: less than 1, so that rounding does not lead out of it."""

RECEDE = 1.5
"""By how much a point that fools no longer is taken farther from the clean image."""


class Labels:
    """A search that sees labels only: it counts queries, and keeps the smallest point that fools.

    Nothing but whether the model's answer is the right label leaves this class. The clean images are asked at
    once, and are left alone if they are fooled already, by all of the answers that ``confirm`` asks for.

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
        queries_left: (N,).
        best: (N, 3, H, W), what is returned in the end; the clean image where nothing fooled within eps.
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
        whole_box = 1 if norm == "linf" else math.prod(images.shape[1:]) ** 0.5
        self.eps = eps if eps < whole_box else math.inf
        self.dtype, self.clean = images.dtype, images.to(torch.promote_types(images.dtype, torch.float32))
        self.best = images.clone()
        self.best_sizes = self.clean.new_full((len(images),), torch.inf)
        self.best_votes = torch.zeros_like(labels)
        self.queries_left = torch.full_like(labels, queries)
        self.searched = torch.zeros_like(labels, dtype=torch.bool)
        for _ in range(1 + confirm):
            rows = (~self.searched & (self.queries_left > 0)).nonzero()[:, 0]
            self.searched[rows] = ~self.ask(rows, images[rows])

    @property
    def active(self) -> Tensor:
        """The rows of the images that are still searched."""
        return (self.searched & (self.queries_left > 0)).nonzero()[:, 0]

    @torch.no_grad()
    def ask(self, rows: Tensor, points: Images) -> Tensor:
        """Whether points, brought into [0, 1], fool the model: one answer for each of these rows.

        A row may be there several times, and pays for each. An answer with a NaN fools nobody.
        """
        if not len(rows):
            return torch.zeros_like(rows, dtype=torch.bool)
        self.queries_left -= torch.bincount(rows, minlength=len(self.queries_left))
        assert int(self.queries_left.min()) >= 0, "an attack asks for more than is left"
        points = points.clamp(0, 1).to(self.dtype)
        logits = torch.cat([self.model(piece) for piece in points.split(self.batch or len(points))])
        return (logits.argmax(1) != self.labels[rows]) & ~logits.isnan().any(1)

    def try_points(self, rows: Tensor, points: Images, *, confirm_all: bool = False) -> Tensor:
        """Ask one point for each of these rows, and keep it where it is the best so far.

        What could be kept is asked ``confirm`` times more, up to the first answer that does not agree.

        Args:
            rows: each at most once; those that are no longer active are not asked.
            confirm_all: confirm what could not be kept, too, such as what is outside of the budget.

        Returns: which points fool, by all answers; False for the rows that are no longer active.
        """
        points = points.clamp(0, 1).to(self.dtype)
        active = self.searched[rows] & (self.queries_left[rows] > 0)
        fooled = torch.zeros_like(active)
        fooled[active] = self.ask(rows[active], points[active])
        sizes = distance(points.to(self.clean), self.clean[rows], self.norm)
        improvable = (self.best_votes[rows] <= self.confirm) | (sizes < self.best_sizes[rows])
        candidate = fooled & (sizes <= self.eps) & improvable
        votes = fooled.long()
        for _ in range(self.confirm):
            again = fooled & (candidate | confirm_all) & (self.queries_left[rows] > 0)
            fooled[again] = self.ask(rows[again], points[again])
            votes += again & fooled
        self._keep(rows, points, sizes, votes, candidate)
        return fooled

    def _keep(self, rows: Tensor, points: Images, sizes: Tensor, votes: Tensor, candidate: Tensor) -> None:
        """Keep candidates with more votes than the best, or as many and smaller.

        Where eps is finite, a success that all answers confirm ends the search.
        """
        most, smallest = self.best_votes[rows], self.best_sizes[rows]
        better = candidate & ((votes > most) | ((votes == most) & (sizes < smallest)))
        kept = rows[better]
        self.best[kept], self.best_sizes[kept] = points[better], sizes[better]
        self.best_votes[kept] = votes[better]
        if self.eps < math.inf:
            self.searched[kept[votes[better] > self.confirm]] = False

    def between(self, low: Tensor, high: Tensor) -> Tensor:
        """Where to ask next between two distances: at the rim of the budget if it is there, or halfway."""
        rim = RIM * self.eps
        return torch.where((low < rim) & (rim < high), rim, (low + high) / 2)

    def bisect(self, rows: Tensor, points: Images, steps: int) -> Images:
        """Bisect between points that fool and the clean images: on the path of ``at_distance``.

        Returns: for each row the nearest point that fooled, or the one it had.
        """
        clean = self.clean[rows]
        high = distance(points, clean, self.norm)
        low = torch.zeros_like(high)
        for _ in range(steps):
            middle = self.between(low, high)
            fooled = self.try_points(rows, at_distance(points, clean, self.norm, middle))
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
        return at_distance(points, clean, self.norm, high)

    def find_starts(self, generator: Generator | None, *, corners: bool = False) -> Images:
        """Find a point that fools for each active image, by uniform noise.

        It comes in tiles of twice the side after each vain try, from pixels to the whole image, and then in
        pixels again.

        Args:
            corners: noise of 0 and 1 only, and tiles of half the side after each try, the whole image first.

        Returns: (N, 3, H, W); the clean image where nothing fooled before the queries were used up.
        """
        points, rows = self.clean.clone(), self.active
        height, width = points.shape[2:]
        sides = [2**power for power in range(max(height, width).bit_length() + 1)]
        if corners:
            sides.reverse()
        tries = 0
        while len(rows):
            side = sides[tries % len(sides)]
            cells = (len(rows), 3, -(-height // side), -(-width // side))
            noise = uniform(cells, points, generator)
            noise = noise.round() if corners else noise
            noise = noise.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :height, :width]
            fooled = self.try_points(rows, noise, confirm_all=True)
            points[rows[fooled]] = noise[fooled]
            rows = rows[~fooled & (self.queries_left[rows] > 0)]
            tries += 1
        return points


def at_distance(points: Images, clean: Images, norm: str, reach: Tensor) -> Images:
    """Take points to a distance (A,) from the clean images.

    The path is the line for "l2"; for "linf" larger changes are cut off.
    """
    change = points - clean
    if norm == "linf":
        limit = reach[:, None, None, None]
        return clean + change.clamp(-limit, limit)
    length = change.flatten(1).norm(dim=1).clamp_min(torch.finfo(change.dtype).tiny)
    return clean + change * (reach / length)[:, None, None, None]
