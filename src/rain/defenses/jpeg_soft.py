"""JPEG compression as a formula that can be differentiated."""

import torch
from torch import Generator, Tensor

from rain.defense import Defense, Draw
from rain.defenses._arrays import load_library
from rain.images import Images
from rain.options import check_integer
from rain.registry import DEFENSES


@DEFENSES.register
class JpegSoft(Defense):
    """Compress as JPEG does, with a rounding that has a gradient; the gradient is the formula's own.

    It needs ``pip install 'rain-defense[defenses]'``. An attacker of ``jpeg`` may take it in its place.

    Args:
        quality: 1 to 100.

    Raises:
        OptionError: the quality is out of range, or kornia is not installed.

    Convention: kornia's codec: the tables of the standard, chroma at half resolution, sides padded to
        multiples of 16 and cropped; clamped to [0, 1]. Computed in float32 at least.

    Source: Shin, Song, "JPEG-resistant adversarial images" (NIPS workshop 2017); Reich et al.,
        "Differentiable JPEG" (arXiv 2309.06978); Guo et al. (arXiv 1711.00117) for JPEG as a defence.

    Differs: it is no encoder: its rounding is soft, so that its pictures differ by some grey levels from
        those of ``jpeg``.
    """

    random = False
    keeps_places = True

    def __init__(self, quality: int = 75):
        super().__init__()
        self.quality = check_integer(quality, "quality", 1, 100)
        self._codec = load_library("kornia.enhance", "jpeg_soft").jpeg_codec_differentiable

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Compress and decompress."""
        if not images.shape[0]:
            return images.clone()
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        quality = torch.tensor([float(self.quality)], device=wide.device, dtype=wide.dtype)
        coded: Tensor = self._codec(wide, quality)
        return coded.clamp(0, 1).to(images.dtype)
