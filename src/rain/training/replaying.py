"""Adversarial training for free: one pass back moves the weights and the attacked images."""

import torch
from torch import Generator

from rain.errors import RecipeError
from rain.images import Images, project
from rain.training.ascent import read_ascent
from rain.training.attacker import evenly_chosen
from rain.training.recipe import Config


class Replay:
    """The attacked images of a batch that is learnt from several times in a row.

    They climb the loss that is learnt, by one step of the recipe's attack each time.

    Args:
        config: of the run.

    Raises:
        RecipeError: the attack is not PGD that makes all its steps, which is all that can be made one by one.

    Source: Shafahi et al., "Adversarial training for free!" (arXiv 1904.12843), algorithm 1.

    Differs: a batch begins at a random point of the budget, not where the batch before it ended.
    """

    def __init__(self, config: Config):
        ascent = read_ascent(config)
        if ascent is None:
            needs = "pgd of linf that makes all its steps, such as pgd(steps=5, confidence=inf)"
            raise RecipeError(f"replays = {config.replays} needs {needs}, got {config.attack!r}")
        self.config, self.length = config, ascent.step
        self.points: Images | None = None
        self.entering: Images | None = None

    def enter(self, step: int, clean: Images, first: int, eps: float, generator: Generator) -> Images:
        """Give what enters the defence at a step: the attacked images where they stand, and the others.

        Args:
            step: its number; a batch has ``config.replays`` of them.
            clean: (N, 3, H, W), the batch.
            first: the number of its first image among all samples of the run.
            eps: the budget of this step.
            generator: of the random start.
        """
        if self.points is None or step % self.config.replays == 0:
            start = torch.rand(clean.shape, generator=generator).to(clean.device)
            self.points = project(clean + eps * (2 * start - 1), clean, "linf", eps)
        chosen = evenly_chosen(self.config.attacked, first, len(clean)).to(clean.device)
        inside = project(self.points, clean, "linf", eps)
        entering = torch.where(chosen[:, None, None, None], inside, clean)
        self.entering = entering.detach().requires_grad_()
        return self.entering

    def climb(self, clean: Images, eps: float) -> None:
        """Make a step of the attack with the gradient that the loss has left."""
        entering = self.entering
        assert entering is not None  # the step began with it
        assert entering.grad is not None
        moved = entering.detach() + self.length * entering.grad.sign()
        self.points = project(moved, clean, "linf", eps)


def budget(config: Config, step: int, steps: int) -> float:
    """The budget of a step of ``steps``: it rises as the recipe says."""
    if not config.eps_rise:
        return config.eps
    return config.eps * min(1.0, (step + 1) / (config.eps_rise * steps))
