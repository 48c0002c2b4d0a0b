"""Adam for attacks by queries: one optimiser state for each image, and a clock for each value."""

import torch
from torch import Tensor

FADE, FADE_SQUARES, SMALL = 0.9, 0.999, 1e-8
"""What Adam keeps of its two means at each step, and what it adds to the root."""


class Adam:
    """Adam on estimated gradients: (A, ...), one for each active image, in float32 at least.

    Every value has a clock of its own: for one that was not measured it is as if there had been no step.

    Args:
        like: a tensor of the gradients' shape.

    Source: Kingma and Ba (arXiv 1412.6980), algorithm 1; by coordinates: Chen et al. (arXiv 1708.03999),
        algorithm 2.
    """

    def __init__(self, like: Tensor):
        wide = torch.promote_types(like.dtype, torch.float32)
        self.mean = torch.zeros_like(like, dtype=wide)
        self.squares = torch.zeros_like(like, dtype=wide)
        self.times = torch.zeros_like(like, dtype=wide)

    def __call__(self, gradient: Tensor, measured: Tensor | bool = True) -> Tensor:
        """Take in a gradient; returns what to subtract, before it is multiplied by a rate.

        Args:
            gradient: of the state's shape.
            measured: (the same shape), which values were measured; the others do not move.
        """
        measured = torch.as_tensor(measured, device=gradient.device)
        mean = FADE * self.mean + (1 - FADE) * gradient
        squares = FADE_SQUARES * self.squares + (1 - FADE_SQUARES) * gradient.square()
        self.times = self.times + measured
        self.mean = torch.where(measured, mean, self.mean)
        self.squares = torch.where(measured, squares, self.squares)
        times = self.times.clamp_min(1)
        unbiased = self.mean / (1 - FADE**times)
        root = (self.squares / (1 - FADE_SQUARES**times)).sqrt()
        return torch.where(measured, unbiased / (root + SMALL), 0.0)

    def keep(self, stay: Tensor) -> None:
        """Cut the state to the images that stay."""
        self.mean, self.squares, self.times = self.mean[stay], self.squares[stay], self.times[stay]
