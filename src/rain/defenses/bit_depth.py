"""Fewer grey levels: what lies below a level is rounded away."""

import torch
from torch import Generator

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.images import Images
from rain.options import check_integer
from rain.registry import DEFENSES


@DEFENSES.register
class BitDepth(Defense):
    """Round to 2 ** bits grey levels in each channel; the gradient is BPDA's, the identity.

    Args:
        bits: 1 to 8. The default is Guo's 3, eight levels. Xu's detector uses 5 on ImageNet.

    Raises:
        OptionError: ``bits`` is out of range.

    Convention: level k of n is k / (n - 1), so that black and white stay; to the nearest level.

    Source: Xu, Evans, Qi, "Feature squeezing" (arXiv 1704.01155); Guo et al. (arXiv 1711.00117); BPDA after
        Athalye et al. (arXiv 1802.00420).
    """

    random = False
    keeps_places = True

    def __init__(self, bits: int = 3):
        super().__init__()
        self.bits = check_integer(bits, "bits", 1, 8)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Round to the nearest level, exactly."""
        return straight_through(self._round, images)

    def _round(self, images: Images) -> Images:
        steps = 2**self.bits - 1
        # Half precision cannot tell all products from a level's edge.
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        return ((wide.clamp(0, 1) * steps).round() / steps).to(images.dtype)
