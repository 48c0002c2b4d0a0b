"""Compact: detail generation for two CPU cores. It works at half the input's resolution, where a multiply-add sees four times as far."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain.enhancers import load_weights
from rain.enhancers.bicubic import upsample
from rain.images import Images
from rain.registry import ENHANCERS


@ENHANCERS.register
class Compact(nn.Module):
    """A x2 network of about a billion multiply-adds at 112x112, around a bicubic skip: untrained it equals bicubic.

    Args:
        weights: shipped name, path, or None for untrained.
        features: channels at half resolution.
        blocks: residual blocks at half resolution.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1]; an odd h or w is padded by repeating the edge, and the result cropped.

    Differs: the paper uses EDSR-baseline, at seventeen times the multiply-adds.
    """

    def __init__(self, weights: str | Path | None = "default", *, features: int = 48, blocks: int = 6):
        super().__init__()
        head = 16
        self.head = nn.Conv2d(3, head, 3, padding=1)
        self.down = nn.Conv2d(4 * head, features, 3, padding=1)
        self.body = nn.Sequential(*[Block(features) for _ in range(blocks)])
        self.up = nn.Conv2d(features, 4 * head, 3, padding=1)
        self.tail = nn.Conv2d(2 * head, 12, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        load_weights(self, weights)

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else images
        near = F.relu(self.head(even))
        far = self.up(self.body(self.down(F.pixel_unshuffle(near, 2))))
        detail = F.pixel_shuffle(self.tail(torch.cat([near, F.pixel_shuffle(far, 2)], 1)), 2)
        return (upsample(images) + detail[..., : 2 * height, : 2 * width]).clamp(0, 1)


class Block(nn.Module):
    """Two convolutions and a skip, without batch norm, as in EDSR."""

    def __init__(self, features: int):
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """Keep the shape (N, features, h, w)."""
        return values + self.second(F.relu(self.first(values)))
