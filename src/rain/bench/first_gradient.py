"""What an attack saw at its first step: whether it had a gradient to go by."""

from functools import partial
from typing import cast

import torch
from torch import Tensor

from rain.adaptive import Model, RandomModel, View
from rain.images import Images

NOBODY = -1
"""The owner of a point of which it cannot be told."""


class FirstGradient(View):
    """A model that notices, image by image, whether the first gradient an attack is given is exactly 0.

    Attacks ask about all images of a batch, about some of them, or row by row.

    Args:
        model: from images to logits.
        images: (N, 3, H, W), what is attacked.

    Attributes:
        flat: for each image; None as long as no gradient of it was observed.
    """

    def __init__(self, model: Model, images: Images):
        super().__init__(model)
        self.clean = images.detach()
        self.independent: bool = getattr(model, "independent", False)
        self.turn: int = getattr(model, "turn", 1)
        self.flat: list[bool | None] = [None] * len(images)

    def forward(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify images, or a batch that is one batch ``copies`` times; logits (N, classes)."""
        if None in self.flat and images.requires_grad and torch.is_grad_enabled():
            owners = self._owners(images.detach(), copies)
            # Of the very tensor an attack may take another gradient as well, as that of a distance.
            images = images.view_as(images)
            images.register_hook(partial(self._see, owners))
        return ask(self.model, images, copies)

    def _owners(self, points: Images, copies: int) -> list[int]:
        """Of which image each point is; ``NOBODY`` where it cannot be told.

        A point of a part of the batch belongs to the image that is at most half as far as any other.
        """
        count = len(self.clean)
        if points.shape[1:] != self.clean.shape[1:]:
            return [NOBODY] * len(points)
        if count == 1 or len(points) == count * copies:
            return [row % count for row in range(len(points))]
        far = torch.cdist(points.float().flatten(1), self.clean.float().flatten(1))
        (near, second), (nearest, _) = (pair.unbind(1) for pair in far.topk(2, largest=False))
        return torch.where(2 * near < second, nearest, NOBODY).tolist()

    def _see(self, owners: list[int], gradient: Tensor) -> None:
        is_zero = (gradient == 0).flatten(1).all(1).tolist()
        seen: dict[int, bool] = {}
        for owner, zero in zip(owners, is_zero, strict=True):
            seen[owner] = seen.get(owner, True) and zero
        for row, flat in enumerate(self.flat):
            self.flat[row] = seen.get(row) if flat is None else flat


def ask(model: Model, images: Images, copies: int) -> Tensor:
    """Ask a model; only one that is ``independent`` is asked about copies."""
    return cast(RandomModel, model)(images, copies=copies) if copies > 1 else model(images)
