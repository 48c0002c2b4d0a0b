"""Pixel deflection: some pixels become copies of neighbours, then wavelets take away the noise."""

import torch
from torch import Generator, Tensor

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.defenses._arrays import by_picture
from rain.defenses._options import check_integer, check_number
from rain.defenses._wavelets import denoiser
from rain.images import Images
from rain.registry import DEFENSES
from rain.seeding import drawing_from


@DEFENSES.register
class PixelDeflection(Defense):
    """Replace random pixels by random neighbours, then denoise by wavelets.

    The gradient of the replacement is exact, that of the denoising BPDA's, the identity. It needs
    ``pip install 'rain-defense[defenses]'``, and denoises on the CPU, wherever the images are.

    Args:
        deflections: how many pixels of an image are replaced, 1 to 1000000. The default is the authors' 200.
        window: how far away a neighbour may be along each axis, in pixels, 1 to 1000. The default is the
            authors' 10.
        sigma: of the noise that wavelets take away, in the unit of the images, from 0 (nothing) to 1. The
            default is the authors' 0.04.

    Raises:
        OptionError: an option is out of range, scikit-image or PyWavelets is not installed, or
            ``torch.export`` traces.

    Convention: a pixel is replaced in all three channels, by one of the image as it came. Where a place is
        drawn twice the later draw counts.

    Source: Prakash et al., "Deflecting adversarial attacks with pixel deflection" (arXiv 1801.08926); BPDA
        after Athalye, Carlini (arXiv 1804.03286), who broke it so.

    Differs: places are drawn evenly, without the activation map that spares what the classifier looks at: a
        defence here does not ask its classifier. The released code takes each channel's place apart, and may
        copy what was copied before.
    """

    def __init__(self, deflections: int = 200, window: int = 10, sigma: float = 0.04):
        super().__init__()
        self.deflections = check_integer(deflections, "deflections", 1, 1_000_000)
        self.window = check_integer(window, "window", 1, 1000)
        self.sigma = check_number(sigma, "sigma", 0, 1)
        self._denoise = denoiser("pixel_deflection", self.sigma)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "places" (N, deflections), which pixels are replaced, and "sources", by which.

        A pixel's number is row * W + column.
        """
        count, _, height, width = images.shape
        shape = (4, count, self.deflections)
        uniform = torch.rand(shape, dtype=torch.float64, **drawing_from(generator, images.device))
        row, column = _within(uniform[0], 0, height - 1), _within(uniform[1], 0, width - 1)
        row_from, column_from = self._near(uniform[2], row, height), self._near(uniform[3], column, width)
        places = row * width + column
        sources = row_from * width + column_from
        return {"places": places.to(images.device), "sources": sources.to(images.device)}

    def _near(self, uniform: Tensor, place: Tensor, side: int) -> Tensor:
        """A place within the window, and within the image."""
        low = (place - self.window).clamp_min(0)
        high = (place + self.window).clamp_max(side - 1)
        return _within(uniform, low, high)

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after the replacement, "deflected", and after the denoising, "enhanced"."""
        if not images.shape[0]:
            return {"deflected": images.clone(), "enhanced": images.clone()}
        source = _last_sources(draw["places"], draw["sources"], images.shape[2] * images.shape[3])
        source = source[:, None].expand(-1, images.shape[1], -1)
        deflected = images.flatten(2).gather(2, source).view_as(images)
        return {"deflected": deflected, "enhanced": straight_through(self._smooth, deflected)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Replace pixels, then denoise."""
        return self.stages(images, draw)["enhanced"]

    def _smooth(self, images: Images) -> Images:
        return by_picture(self._denoise, images, "pixel_deflection")


def _within(uniform: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Integers from ``low`` to ``high``, both included, by numbers in [0, 1)."""
    return (low + (uniform * (high - low + 1)).floor()).long()


def _last_sources(places: Tensor, sources: Tensor, pixels: int) -> Tensor:
    """Which pixel stands at each place: (N, pixels); the last draw of a place counts.

    A plain scatter would leave it open which draw counts.
    """
    numbers = torch.arange(1, places.shape[1] + 1, device=places.device).expand_as(places)
    last = places.new_zeros((places.shape[0], pixels)).scatter_reduce(1, places, numbers, "amax")
    moved = sources.gather(1, (last - 1).clamp_min(0))
    own = torch.arange(pixels, device=places.device).expand_as(moved)
    return torch.where(last > 0, moved, own)
