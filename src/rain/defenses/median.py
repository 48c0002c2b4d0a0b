"""Median smoothing."""

import torch
from torch import Generator, Tensor

from rain.defense import Defense, Draw
from rain.images import Images
from rain.options import check_integer
from rain.registry import DEFENSES


@DEFENSES.register
class Median(Defense):
    """Replace each value by the median of its neighbourhood, in its channel; the gradient is exact.

    Args:
        size: side of the square neighbourhood, in pixels, 2 to 15. The default is Xu's 2.

    Raises:
        OptionError: ``size`` is out of range.

    Convention: beyond an edge stands the mirror image. A neighbourhood of even side reaches one pixel further
        up and left; of the two values in its middle the larger one is taken. This is what scipy does, with
        which Xu measured.

    Source: Xu, Evans, Qi, "Feature squeezing" (arXiv 1704.01155), local smoothing.

    Differs: in nothing. kornia's median has odd sides only and black beyond the edge, so that it is not used.
    """

    random = False
    keeps_places = True

    def __init__(self, size: int = 2):
        super().__init__()
        self.size = check_integer(size, "size", 2, 15)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Take the medians; the gradient of each goes to the pixel from which it came."""
        if not images.shape[0]:
            return images.clone()
        # One image at a time: the neighbourhoods take size ** 2 times the memory of the picture.
        return torch.cat([self._smooth(image) for image in images.split(1)])

    def _smooth(self, images: Images) -> Images:
        height, width = images.shape[2:]
        rows = _mirrored(height, self.size, images)
        columns = _mirrored(width, self.size, images)
        padded = images.index_select(2, rows).index_select(3, columns)
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        middle = self.size**2 // 2 + 1
        medians: Tensor = windows.kthvalue(middle, dim=4).values
        return medians


def _mirrored(side: int, size: int, images: Images) -> Tensor:
    """Which pixels stand along an axis, with as many beyond its edges as a neighbourhood needs."""
    before = size // 2
    after = size - 1 - before
    place = torch.arange(-before, side + after, device=images.device) % (2 * side)
    return torch.where(place < side, place, 2 * side - 1 - place)
