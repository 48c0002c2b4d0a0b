"""Bicubic up-sampling: the enhancer without a network, and the skip connection of ``compact``."""

import torch.nn.functional as F
from torch import nn

from rain.errors import OptionError, shown
from rain.images import Images
from rain.registry import ENHANCERS


def upsample(images: Images, scale: int = 2) -> Images:
    """Enlarge by ``scale``, bicubic (Keys' kernel with a = -0.75, pixel centres aligned, as torch has it).

    Not clamped: it overshoots.
    """
    return F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)


@ENHANCERS.register
class Bicubic(nn.Module):
    """Bicubic x2, clamped to [0, 1]: what is left of RAIN without detail generation.

    Args:
        scale: 2, or 4 for ``rain(cell=4)``, which asks for it by itself.

    Shape: (N, 3, h, w) to (N, 3, scale h, scale w).

    Raises:
        OptionError: scale is neither 2 nor 4.
    """

    scale = 2

    def __init__(self, scale: int = 2):
        super().__init__()
        if type(scale) is not int or scale not in (2, 4):
            raise OptionError(f"bicubic: scale must be 2 or 4, got {shown(scale)}")
        if scale != self.scale:  # kept only if it is no default, so that old digests hold
            self.scale = scale

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, scale h, scale w)."""
        return upsample(images, self.scale).clamp(0, 1)
