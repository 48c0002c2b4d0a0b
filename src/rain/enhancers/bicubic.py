"""Bicubic up-sampling: the enhancer without a network, and the skip connection of ``compact``."""

import torch.nn.functional as F
from torch import nn

from rain.images import Images
from rain.registry import ENHANCERS


def upsample(images: Images) -> Images:
    """Enlarge by two, bicubic (Keys' kernel with a = -0.75, pixel centres aligned, as torch has it).

    Not clamped: it overshoots.
    """
    return F.interpolate(images, scale_factor=2, mode="bicubic", align_corners=False)


@ENHANCERS.register
class Bicubic(nn.Module):
    """Bicubic x2, clamped to [0, 1]: what is left of RAIN without detail generation."""

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        return upsample(images).clamp(0, 1)
