"""A training step as Python makes it, on any device and on several: the same bits each time on a CPU."""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from rain.errors import TrainError
from rain.images import Images
from rain.runtime.precision import autocast
from rain.seeding import generator_for
from rain.training.checks import check_labels
from rain.training.feed import Feed, batches
from rain.training.optimizer import rate
from rain.training.pieces import Pieces
from rain.training.replaying import Replay, budget

Losses = dict[str, float]
"""The losses of a step by their names in a recipe, and "loss", their weighted sum."""


SEEDS = 2**64
"""How many seeds torch's generators take."""


class Step(Protocol):
    """Makes the steps of a run."""

    pieces: Pieces
    kind: str

    def make(self, step: int, is_due: bool) -> Losses | None:
        """Make step number ``step``; its losses, at least where ``is_due``."""
        ...

    def check(self) -> None:
        """Raise ``TrainError`` if a step since the last look had a loss or a gradient that is not finite."""
        ...


class PlainStep:
    """Steps made one by one, on samples that are read one by one.

    Args:
        pieces: of the run.

    Attributes:
        kind: what a log calls it.
    """

    kind = "eager"

    def __init__(self, pieces: Pieces):
        self.pieces = pieces
        self.samples: Iterator[tuple[Images, Tensor]] | None = None
        self.replay = Replay(pieces.config) if pieces.config.replays > 1 else None
        self.batch: tuple[Images, Tensor] | None = None
        self.number = self.last = -1

    def make(self, step: int, is_due: bool) -> Losses | None:
        """Make one optimiser step on one batch.

        Returns: its losses, always.

        Raises:
            TrainError: the loss or its gradient is not finite; the weights are untouched.
        """
        return self._learn(step, *self._batch(step))

    def check(self) -> None:
        """Do nothing: each step has looked at its losses."""

    def _batch(self, step: int) -> tuple[Images, Tensor]:
        """The batch of a step; they are read in order, and each serves all its replays."""
        pieces, fabric = self.pieces, self.pieces.fabric
        number = step // pieces.config.replays
        if self.batch is not None and number == self.number:
            return self.batch
        if self.samples is None or number != self.number + 1 or number >= self.last:
            # Trials may go on past the end of a short recipe.
            whole = math.ceil(pieces.steps / pieces.config.replays)
            self.last = whole if number < whole else number + 10**6
            feed = Feed(pieces.sources, pieces.config)
            self.samples = batches(feed, number, self.last, fabric.global_rank, fabric.world_size)
        self.number, self.batch = number, next(self.samples)
        return self.batch

    def _learn(self, step: int, clean: Images, labels: Tensor) -> Losses:
        pieces, config, fabric = self.pieces, self.pieces.config, self.pieces.fabric
        rank = fabric.global_rank
        clean = fabric.to_device(clean).contiguous(memory_format=torch.channels_last)
        labels = fabric.to_device(labels)
        check_labels(labels, pieces.classes, config.images, config.classifier)
        for group in pieces.optimizer.param_groups:
            group["lr"] = rate(config, step, pieces.steps)
        torch.manual_seed(dropout_seed(config.seed, step, rank))
        generator = generator_for(config.seed, "step", step, rank)
        first = step // config.replays * config.batch + rank * len(clean)
        eps = budget(config, step, pieces.steps)
        with autocast(fabric.device, pieces.mixed):
            if self.replay:
                entering = self.replay.enter(step, clean, first, eps, generator)
            else:
                entering = pieces.objective.attacked(clean, labels, config.attacked, generator, first, eps)
            losses = pieces.module(entering, clean, labels, generator)
        pieces.optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses["loss"])
        norm = nn.utils.clip_grad_norm_(pieces.learner.parameters(), config.clip or math.inf)
        values = {name: loss.item() for name, loss in losses.items()}
        self._check_finite(step, values["loss"], norm.item())
        pieces.optimizer.step()
        if self.replay:
            self.replay.climb(clean, eps)
        if pieces.average:
            pieces.average.update(pieces.learner, step)
        return values

    def _check_finite(self, step: int, loss: float, norm: float) -> None:
        """Stop before the weights are touched.

        The gradient is the mean over all processes: where one has no finite loss, all stop.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise broken_step(self.pieces, step, loss, norm)


def dropout_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step for networks that draw from torch's own generator, as dropout does.

    Returns: 64 bits. Where torch takes the sum itself, negative or not, it is the same seed.
    """
    return (seed * 1_000_003 + step * 1009 + rank) % SEEDS


def broken_step(pieces: Pieces, step: int, loss: float, norm: float) -> TrainError:
    """The error of a step whose loss or gradient is not finite."""
    what = f"the loss is {loss}, the gradient's norm {norm} at step {step}"
    advice = f"lower the rate ({pieces.config.rate}), or clip"
    return TrainError(f"{what}: {advice}; the run's folder keeps the last checkpoint")
