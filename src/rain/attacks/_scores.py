"""What the attacks that see scores only share: exact counting, the state of each image, and random directions."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from rain.adaptive import Model
from rain.attacks import check_counts, keep_lowest, margins
from rain.images import Images

FADE, FADE_SQUARES, SMALL = 0.9, 0.999, 1e-8
"""Adam's constants: what it keeps of its means, and what it adds to a root."""


def gaussian(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal values, drawn on the generator's device, of the type and on the device of ``like``."""
    return torch.randn(
        shape, generator=generator, device=generator.device if generator is not None else like.device
    ).to(like)


def draw_weights(network: nn.Module, generator: Generator | None) -> None:
    """Draw a network's first weights, biases zero. Source: He et al. (arXiv 1502.01852)."""
    for value in network.parameters():
        value.data = (
            gaussian(tuple(value.shape), value, generator) * (2 / value[0].numel()) ** 0.5
            if value.ndim > 1
            else torch.zeros_like(value)
        )


def below(high: int, shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Integers from 0 to ``high`` - 1, all as likely, on the device of ``like``."""
    device = generator.device if generator is not None else like.device
    return torch.randint(high, shape, generator=generator, device=device).to(like.device)


def signs(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """-1 and 1, as likely (Rademacher), of the type and on the device of ``like``."""
    return (2 * below(2, shape, like, generator) - 1).to(like.dtype)


class Scores:
    """A search that sees scores only: it counts what it asks, keeps the best, and lets the fooled images go.

    All images that are still there move in step, so that one number counts for each of them. The clean images
    are asked at once.

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
        active: (A,), the numbers of the images that are still there.
        left: what may still be asked for each of them.
        best: (N, 3, H, W), what is returned in the end.
        least: (N,), the margins heard for it; infinite where there was no number.
        heard: (A,), the margins of the points last looked at.
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
        self.model, self.labels, self.left, self.confidence, self.batch = (
            model,
            labels,
            queries,
            confidence,
            batch,
        )
        self.best, self.active = images.clone(), torch.arange(len(images), device=images.device)
        self.least = torch.full(
            (len(images),),
            torch.inf,
            device=images.device,
            dtype=torch.promote_types(images.dtype, torch.float32),
        )
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
        logits = torch.cat([self.model(piece) for piece in flat.split(self.batch or len(flat))]).to(
            self.least.dtype
        )
        return (
            margins(logits, self.labels[self.active].repeat(len(points)))
            .unflatten(0, points.shape[:2])
            .nan_to_num(torch.inf, torch.inf)
        )

    def look(self, points: Images, anew: bool = False) -> Tensor:
        """Ask one point (A, 3, H, W) for each active image, and keep it where it is the best so far; with a confidence, keep it anyway.

        A confidence is asked for where the model is random: the lowest of many margins is then that of the
        luckiest draw, and no better a point.

        Args:
            anew: keep it anyway; what was there before is forgotten.

        Returns: which of the active images stay, for the caller to cut its state.
        """
        (margin,) = self.ask(points[None])
        if anew or self.confidence > 0:
            self.least[self.active] = torch.inf
            self.best[self.active] = points
        keep_lowest(self.best, self.least, self.active, points, margin)
        stay = self._leave(margin)
        self.heard = margin[stay]
        return stay

    def challenge(self, points: Images, patience: int) -> tuple[Tensor, Tensor, Tensor]:
        """Ask one point for each active image, and put it in the place of the best where its margin is lower.

        After ``patience`` refused ones in a row the best itself is asked again instead, and its margin is
        corrected: of a random model, a single lucky answer would refuse everything from then on.

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

    def slope(
        self, centre: Images, radius: float, pairs: int, draw: Callable[[tuple[int, ...]], Tensor]
    ) -> Tensor:
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
            both = self.ask(
                torch.cat([centre + radius * directions, centre - radius * directions]).clamp(0, 1)
            )
            plus, minus = both.chunk(2)
            change = (plus - minus).nan_to_num(0.0, 0.0, 0.0).to(centre.dtype)
            total += (change[:, :, None, None, None] * directions).sum(0)
        return total / (2 * radius * max(1, pairs))

    def measure(self, centre: Images, which: Tensor, delta: float) -> Tensor:
        """Symmetric differences of the margin along single values, two queries each, asked in [0, 1].

        Args:
            centre: (A, 3, H, W), around which to ask.
            which: (A, count), the numbers of the values in the flat image.
            delta: how far to both sides.

        Returns: (A, count); 0 where there was no number.
        """
        found, piece = (
            [self.least.new_zeros(len(which), 0)],
            max(1, (self.batch or 2 * which.numel()) // (2 * max(1, len(centre)))),
        )
        for numbers in which.T.split(piece):
            moves = (
                centre.new_zeros(*numbers.shape, centre[0].numel())
                .scatter_(2, numbers[:, :, None], delta)
                .unflatten(2, centre.shape[1:])
            )
            plus, minus = self.ask(torch.cat([centre + moves, centre - moves]).clamp(0, 1)).chunk(2)
            found.append(((plus - minus) / (2 * delta)).nan_to_num(0.0, 0.0, 0.0).T)
        return torch.cat(found, dim=1)

    def _leave(self, margin: Tensor) -> Tensor:
        """Let the fooled ones of the active images go; returns which stay."""
        stay = margin >= -self.confidence
        self.active = self.active[stay]
        return stay


class Adam:
    """Adam on estimated gradients: (A, ...), one for each active image, in float32 at least.

    Every value has a clock of its own: one that was not measured is as if there had been no step.

    Args:
        like: zeros of the gradients' shape.

    Source: Kingma and Ba (arXiv 1412.6980), algorithm 1; by coordinates: Chen et al. (arXiv 1708.03999),
        algorithm 2.
    """

    def __init__(self, like: Tensor):
        self.mean, self.squares, self.times = (
            torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32)) for _ in range(3)
        )

    def __call__(self, gradient: Tensor, known: Tensor | bool = True) -> Tensor:
        """Take in a gradient, and say what to subtract, before it is multiplied by a rate.

        Args:
            gradient: of the state's shape.
            known: (the same shape), which values were measured; the others do not move.
        """
        known = torch.as_tensor(known, device=gradient.device)
        self.times = self.times + known
        self.mean = torch.where(known, FADE * self.mean + (1 - FADE) * gradient, self.mean)
        self.squares = torch.where(
            known, FADE_SQUARES * self.squares + (1 - FADE_SQUARES) * gradient.square(), self.squares
        )
        times = self.times.clamp_min(1)
        return torch.where(
            known,
            self.mean / (1 - FADE**times) / ((self.squares / (1 - FADE_SQUARES**times)).sqrt() + SMALL),
            0.0,
        )

    def keep(self, stay: Tensor) -> None:
        """Cut the state to the images that stay."""
        self.mean, self.squares, self.times = self.mean[stay], self.squares[stay], self.times[stay]
