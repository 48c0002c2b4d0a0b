"""The layers of ``compact(slim=true)``: a DG for production, at a fifth of the multiply-adds."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain.enhancers.bicubic import upsample
from rain.images import Images

GREY = 0.45
"""Roughly the mean of natural images. It is subtracted from a pixel, so that a missing one is no extreme."""

SIGMA = 0.9
"""Of the Gaussian by which pixels are interpolated, in pixels of the doubled picture."""

REACH = 1
"""Cells to each side that it sees."""

PLACES = 4
"""Pixels of a cell."""


class Slim(nn.Module):
    """Convolutions at half of the resolution that comes in, and what they add to an interpolation.

    The four places of a cell are channels until the last step: what SRd kept, the interpolation, and what is
    added to it. So nothing but the result is moved in memory. The residual blocks of ``compact`` are plain
    convolutions here that begin near the identity: the same function without a sum to compute.

    Args:
        informed: as for ``Compact``.
        features: channels.
        blocks: convolutions between the first and the last.
    """

    def __init__(self, informed: bool, features: int, blocks: int):
        super().__init__()
        self.down = nn.Conv2d(2 * 3 * PLACES if informed else 3, features, 4, stride=2, padding=1)
        layers: list[nn.Module] = []
        for _ in range(blocks):
            layers += [_near_identity(features), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.up = nn.Conv2d(features, 3 * PLACES**2, 3, padding=1)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    @property
    def informed(self) -> bool:
        """Whether it is told which pixels were kept."""
        return self.down.in_channels > 3

    def forward(self, images: Images, choice: Tensor | None = None) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w); the arguments are those of ``Compact.forward``."""
        if self.informed:
            inputs = encode(images, choice)
            skip = interpolate(inputs)
        else:
            inputs = images
            skip = F.pixel_unshuffle(upsample(images), 2)
        height, width = images.shape[2:]
        if height % 2 or width % 2:
            inputs = F.pad(inputs, (0, width % 2, 0, height % 2), mode="replicate")
        far = self.up(self.body(F.relu(self.down(inputs))))
        detail = F.pixel_shuffle(far, 2)[..., :height, :width]
        return F.pixel_shuffle((skip + detail).clamp(0, 1), 2)


def _near_identity(features: int) -> nn.Conv2d:
    """A convolution that begins as the identity and torch's noise."""
    layer = nn.Conv2d(features, features, 3, padding=1)
    identity = nn.init.dirac_(torch.empty_like(layer.weight))
    with torch.no_grad():
        layer.weight += identity
    return layer


def encode(images: Images, choice: Tensor | None) -> Tensor:
    """Say which places of a cell were kept, and what was there.

    Args:
        images, choice: as for ``Compact.forward``.

    Shape: returns (N, 24, h, w), of each colour the four places of its cell: first 1 where one was kept, then
        the pixel there less grey; 0 elsewhere.
    """
    pictures = images.split(3, 1)
    picks = (None,) * len(pictures) if choice is None else choice.chunk(len(pictures), 1)
    parts = [_encode_one(picture, pick) for picture, pick in zip(pictures, picks, strict=True)]
    return sum(parts[1:], parts[0])


def _encode_one(picture: Tensor, choice: Tensor | None) -> Tensor:
    """Encode one kept pixel of each cell; without a choice it counts for all four places, by a quarter."""
    both = F.pad(picture - GREY, (0, 0, 0, 0, 3, 0), value=1.0)  # three channels of ones, then the colours
    if choice is None:
        return both.repeat_interleave(PLACES, 1) / PLACES
    places = torch.arange(PLACES, device=picture.device, dtype=picture.dtype)[:, None, None]
    # In exported graphs arithmetic is much faster than a comparison whose result becomes a number.
    mask = F.relu(1 - (choice.to(picture.dtype)[:, None, :, None] - places).abs())
    return (mask * both.unflatten(1, (2, 3))[:, :, :, None]).flatten(1, 3)


def interpolate(cells: Tensor) -> Tensor:
    """Fill in what was not kept by a mean of what was: a normalised convolution.

    Convention: the weights are Gaussian, with a sigma of 0.9 pixels, over a cell and its eight neighbours.

    Args:
        cells: (N, 24, h, w) of ``encode``.

    Shape: returns (N, 12, h, w), of each colour the four places of its cell.

    Source: Knutsson and Westin, Normalized and differential convolution (1993).
    """
    kernel = _kernel(cells)
    # What the network corrects shall be exact, whatever the network computes in.
    with torch.autocast(cells.device.type, enabled=False):
        total = F.conv2d(cells.to(kernel), kernel.repeat(6, 1, 1, 1), padding=REACH, groups=6)
    half = 3 * PLACES
    return total[:, half:] / total[:, :half] + GREY


def _kernel(cells: Tensor) -> Tensor:
    """From the places of a cell and of its neighbours to its own: (4, 4, 3, 3)."""
    cell = 2 * torch.arange(-REACH, REACH + 1, device=cells.device, dtype=cells.dtype)
    place = torch.arange(2, device=cells.device, dtype=cells.dtype)
    distance = cell + place[:, None] - place[:, None, None]  # (own place, other's place, cell)
    along = torch.exp(-distance.square() / (2 * SIGMA**2))
    # Rows and columns: (own row, own column, other's row, other's column, cells down, cells across).
    both = along[:, None, :, None, :, None] * along[None, :, None, :, None, :]
    return both.reshape(PLACES, PLACES, 2 * REACH + 1, 2 * REACH + 1)
