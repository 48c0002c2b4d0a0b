"""JPEG compression, by a real encoder."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.errors import OptionError
from rain.images import Images
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
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            raise OptionError(f"quality must be an integer from 1 to 100, got {quality!r}")
        self.quality = quality

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
        if not images.shape[0]:
            return images.clone()
        levels = (images.float().clamp(0, 1) * 255).round().to(torch.uint8)
        pictures = levels.permute(0, 2, 3, 1).cpu().numpy()
        compressed = torch.stack([self._through_a_file(picture) for picture in pictures])
        return compressed.to(images.device, images.dtype) / 255

    def _through_a_file(self, picture: NDArray[np.uint8]) -> Tensor:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
