"""What the attacks that see scores only share: counted queries, the best point of each image, estimates.

An attack written with it, a random walk:

    search = Scores(model, images, labels, queries, confidence)
    current = images[search.active]
    while search.running:
        move = eps / 10 * signs(tuple(current.shape), current, generator)
        if search.queries_left > 1:
            (answers,) = search.ask((current + move).clamp(0, 1)[None])
            move[answers > search.last_margins] *= -1
        current = project(current + move, images[search.active], norm, eps)
        current = current[search.try_points(current)]
    return search.best

The words:
    active: the rows (numbers in the batch) of the images that are still attacked. All of them move in step,
        and what an attack keeps of each image has one entry for each active row.
    ask: send points through the model, for their margins. It only informs; nothing is kept.
    try: ask one point for each active image, as a candidate. The best one is kept, and images that are fooled
        leave. The answer says which images stay; the attack cuts its own tensors with it.
    challenge: ask one point for each active image, which takes the place of the best only if it is better.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import check_counts, margins
from rain.attacks._lowest import Lowest
from rain.images import Images


class Scores:
    """A search that sees scores only: it counts queries, keeps the best point, and lets fooled images leave.

    The clean images are tried at once. All active images have the same number of queries left, since they
    move in step.

    Args:
        model: images to logits.
        images: (N, 3, H, W), the clean ones.
        labels: (N,), the right answers.
        queries: the largest number of images that may be sent through the model for each image; it is never
            exceeded.
        confidence: an image is fooled, and leaves, when the best wrong logit is above the right one by more
            than this.
        batch: images in one forward pass; None is all that a step asks.

    Attributes:
        active: (A,), the rows of the images that are still attacked.
        queries_left: how many queries each of them has left.
        last_margins: (A,), of the points tried last.
    """

    def __init__(
        self,
        model: Model,
        images: Images,
        labels: Tensor,
        queries: int,
        confidence: float,
        batch: int | None = None,
    ):
        check_counts(queries=queries)
        self.model, self.labels = model, labels
        self.queries_left, self.confidence, self.batch = queries, confidence, batch
        self.active = torch.arange(len(images), device=images.device)
        self._lowest = Lowest(images, torch.promote_types(images.dtype, torch.float32))
        self._refusals = torch.zeros_like(labels)
        self.try_points(images)

    @property
    def running(self) -> bool:
        """Whether there is an image to go on with, and a query left."""
        return self.queries_left > 0 and len(self.active) > 0

    @property
    def best(self) -> Images:
        """(N, 3, H, W), what the attack returns in the end."""
        return self._lowest.points

    @property
    def best_margins(self) -> Tensor:
        """(N,), the margins that the model answered to ``best``; infinite where that was no number."""
        return self._lowest.margins

    @torch.no_grad()
    def ask(self, points: Images) -> Tensor:
        """Margins of some points for each active image; infinite where the model's answer is no number.

        Shape: (K, A, 3, H, W) to (K, A), which costs K queries.
        """
        if not points.numel():
            return self.best_margins.new_zeros(points.shape[:2])
        assert len(points) <= self.queries_left, "an attack asks for more than is left"
        self.queries_left -= len(points)
        flat = points.flatten(0, 1)
        logits = torch.cat([self.model(piece) for piece in flat.split(self.batch or len(flat))])
        labels = self.labels[self.active].repeat(len(points))
        answers = margins(logits.to(self.best_margins.dtype), labels)
        return answers.unflatten(0, points.shape[:2]).nan_to_num(torch.inf, torch.inf)

    def try_points(self, points: Images, *, forget: bool = False) -> Tensor:
        """Ask one point (A, 3, H, W) for each active image, and keep it where it is the best so far.

        With a confidence it is kept anyway. A confidence is asked for where the model is random: the lowest
        of many margins is then that of the luckiest draw, and no better a point.

        Args:
            forget: keep it anyway; what was the best before is forgotten.

        Returns: (A,), which of the active images stay, for the caller to cut its state.
        """
        (answers,) = self.ask(points[None])
        if forget or self.confidence > 0:
            self.best_margins[self.active] = torch.inf
            self.best[self.active] = points
        self._lowest.keep(self.active, points, answers)
        stay = self._let_fooled_leave(answers)
        self.last_margins = answers[stay]
        return stay

    def challenge(self, points: Images, patience: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ask one point for each active image, and put it in the place of the best where its margin is lower.

        After ``patience`` refused ones in a row the best itself is asked again instead, and its margin is
        corrected: of a random model, a single lucky answer would refuse everything from then on.

        Returns: which were accepted, which were refused (neither: asked again), and which active images stay.
        """
        again = self._refusals[self.active] >= patience
        points = torch.where(again[:, None, None, None], self.best[self.active], points)
        (answers,) = self.ask(points[None])
        lower = answers < self.best_margins[self.active]
        replaced = lower | again
        rows = self.active[replaced]
        self.best[rows], self.best_margins[rows] = points[replaced], answers[replaced]
        self._refusals[self.active] = torch.where(replaced, 0, self._refusals[self.active] + 1)
        return lower & ~again, ~lower & ~again, self._let_fooled_leave(answers)

    def estimate_gradient(
        self, centre: Images, radius: float, pairs: int, draw: Callable[[tuple[int, ...]], Tensor]
    ) -> Tensor:
        """Estimate the margin's gradient from differences along random directions, each asked on both sides.

        The points asked are only brought into [0, 1], not into the budget, and are no candidates.

        Args:
            centre: (A, 3, H, W), around which to ask.
            radius: what a direction is multiplied by.
            pairs: directions for each image; the cost is twice as much.
            draw: directions of a given shape.

        Returns: (A, 3, H, W).
        """
        total = torch.zeros_like(centre)
        piece = self._pairs_at_once(len(centre), pairs * len(centre))
        for start in range(0, pairs, piece):
            directions = draw((min(piece, pairs - start), *centre.shape))
            plus, minus = self._both_sides(centre, radius * directions)
            change = (plus - minus).nan_to_num(0.0, 0.0, 0.0).to(centre.dtype)
            total += (change[:, :, None, None, None] * directions).sum(0)
        return total / (2 * radius * max(1, pairs))

    def measure_slopes(self, centre: Images, values: Tensor, delta: float) -> Tensor:
        """Symmetric differences of the margin along single values, two queries each, asked in [0, 1].

        Args:
            centre: (A, 3, H, W), around which to ask.
            values: (A, count), their numbers in the flat image.
            delta: how far to both sides.

        Returns: (A, count); 0 where there was no number.
        """
        slopes = [self.best_margins.new_zeros(len(values), 0)]
        for numbers in values.T.split(self._pairs_at_once(len(centre), values.numel())):
            flat = centre.new_zeros(*numbers.shape, centre[0].numel())
            moves = flat.scatter_(2, numbers[:, :, None], delta).unflatten(2, centre.shape[1:])
            plus, minus = self._both_sides(centre, moves)
            slopes.append(((plus - minus) / (2 * delta)).nan_to_num(0.0, 0.0, 0.0).T)
        return torch.cat(slopes, dim=1)

    def _pairs_at_once(self, images: int, pairs: int) -> int:
        """So many pairs of points for each image fit into a batch, or all; at least one."""
        return max(1, (self.batch or 2 * pairs) // (2 * max(1, images)))

    def _both_sides(self, centre: Images, moves: Tensor) -> tuple[Tensor, Tensor]:
        plus, minus = self.ask(torch.cat([centre + moves, centre - moves]).clamp(0, 1)).chunk(2)
        return plus, minus

    def _let_fooled_leave(self, answers: Tensor) -> Tensor:
        stay = answers >= -self.confidence
        self.active = self.active[stay]
        return stay
