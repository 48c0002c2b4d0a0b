"""JPEG compression, by a real encoder."""

import torch
from torch import Generator

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.errors import OptionError
from rain.images import Images
from rain.options import check_integer
from rain.pictures import compress
from rain.registry import DEFENSES


@DEFENSES.register
class Jpeg(Defense):
    """Encode and decode as JPEG; the gradient is BPDA's, the identity.

    Args:
        quality: 1 to 100.

    Raises:
        OptionError: the quality is out of range; or ``torch.export`` traces, which cannot follow an encoder.

    Convention: Pillow's libjpeg, chroma at half resolution.

    Source: Dziugaite, Ghahramani, Roy (arXiv 1608.00853); BPDA after Athalye et al. (arXiv 1802.00420).
    """

    random = False
    keeps_places = True

    def __init__(self, quality: int = 75):
        super().__init__()
        self.quality = check_integer(quality, "quality", 1, 100)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Compress and decompress; the values are rounded to 256 levels before."""
        return straight_through(self._compress, images)

    def _compress(self, images: Images) -> Images:
        if torch.compiler.is_exporting():
            what = "jpeg runs a real encoder, which is no graph of tensors"
            raise OptionError(f"{what}, and cannot be exported: compress before the exported model")
        return compress(images, self.quality)
