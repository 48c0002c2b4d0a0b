"""Pixel deflection: some pixels become copies of neighbours, then wavelets take away the noise."""

import torch
from torch import Generator, Tensor, nn

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.defenses._activation import ActivationMap
from rain.defenses._arrays import by_picture
from rain.defenses._wavelets import denoiser
from rain.errors import OptionError, did_you_mean
from rain.images import Images
from rain.options import check_integer, check_number
from rain.registry import DEFENSES
from rain.seeding import drawing_from

MAPS = ("cam", "none")

CANDIDATES = 4
"""With a map so many times more pixels are drawn than are replaced: it turns some of them down."""


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
        map: "none", the default: all pixels are drawn alike. "cam": those at which the classifier looks are
            spared, as the authors do, each with the probability that its class activation map has there. It
            needs a classifier whose last features are averaged before its last linear layer, which is asked
            once more for each image and draw.

    Raises:
        OptionError: an option is out of range, scikit-image or PyWavelets is not installed, or
            ``torch.export`` traces; with map="cam", the classifier has no such layers, there is none, or this
            defence stands before two.

    Convention: a pixel is replaced in all three channels, by one of the image as it came. Where a place is
        drawn twice the later draw counts. With a map four times as many pixels are drawn, and the first ones
        that it does not spare are replaced. The map has no gradient.

    Source: Prakash et al., "Deflecting adversarial attacks with pixel deflection" (arXiv 1801.08926); BPDA
        after Athalye, Carlini (arXiv 1804.03286), who broke it so.

    Differs: the default has no map, so that it is the same before any classifier. The map is computed of the
        picture that comes; the authors read one that was made before. As in the paper a pixel is replaced as
        a whole; the released code counts the values of single channels, so that 200 are a third of ours, and
        may copy what was copied before.
    """

    keeps_places = True
    map = "none"

    def __init__(self, deflections: int = 200, window: int = 10, sigma: float = 0.04, map: str = "none"):
        super().__init__()
        if map not in MAPS:
            raise OptionError(f"pixel_deflection has no map {map!r}; {did_you_mean(str(map), list(MAPS))}")
        if map != self.map:  # kept only if it is no default, so that old digests hold
            self.map = map
        self.deflections = check_integer(deflections, "deflections", 1, 1_000_000)
        self.window = check_integer(window, "window", 1, 1000)
        self.sigma = check_number(sigma, "sigma", 0, 1)
        self._denoise = denoiser("pixel_deflection", self.sigma)
        self._activation: ActivationMap | None = None

    def meet(self, classifier: nn.Module) -> None:
        """Look for what the map is made of, if there is one."""
        if self.map == "none":
            return
        if self._activation is not None and self._activation.classifier is not classifier:
            what = "this pixel_deflection(map=cam) stands before another classifier already"
            raise OptionError(f"{what}: make one for each")
        self._activation = ActivationMap(classifier)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "places" (N, deflections), which pixels are replaced, and "sources", by which.

        A pixel's number is row * W + column. With a map there are four times as many of both, and "luck" (in
        [0, 1)): what the map must not exceed at the place.
        """
        count, _, height, width = images.shape
        has_map = self.map != "none"
        shape = (5, count, CANDIDATES * self.deflections) if has_map else (4, count, self.deflections)
        uniform = torch.rand(shape, dtype=torch.float64, **drawing_from(generator, images.device))
        row, column = _within(uniform[0], 0, height - 1), _within(uniform[1], 0, width - 1)
        row_from, column_from = self._near(uniform[2], row, height), self._near(uniform[3], column, width)
        places = row * width + column
        sources = row_from * width + column_from
        draw = {"places": places.to(images.device), "sources": sources.to(images.device)}
        if has_map:
            draw["luck"] = uniform[4].float().to(images.device)
        return draw

    def _near(self, uniform: Tensor, place: Tensor, side: int) -> Tensor:
        """A place within the window, and within the image."""
        low = (place - self.window).clamp_min(0)
        high = (place + self.window).clamp_max(side - 1)
        return _within(uniform, low, high)

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after the replacement, "deflected", and after the denoising, "enhanced"."""
        if not images.shape[0]:
            return {"deflected": images.clone(), "enhanced": images.clone()}
        counts = self._counts(images, draw)
        source = _last_sources(draw["places"], draw["sources"], counts, images.shape[2] * images.shape[3])
        source = source[:, None].expand(-1, images.shape[1], -1)
        deflected = images.flatten(2).gather(2, source).view_as(images)
        return {"deflected": deflected, "enhanced": straight_through(self._smooth, deflected)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Replace pixels, then denoise."""
        return self.stages(images, draw)["enhanced"]

    def _counts(self, images: Images, draw: Draw) -> Tensor:
        """Which of the drawn pixels are replaced: all, or the first ones that the map does not spare."""
        if "luck" not in draw:
            return torch.ones_like(draw["places"], dtype=torch.bool)
        if self._activation is None:
            how = 'rain.harden(classifier, "pixel_deflection", map="cam")'
            raise OptionError(f"pixel_deflection(map=cam) asks its classifier, and stands before none: {how}")
        activation = self._activation(images).flatten(1)
        is_open = draw["luck"] >= activation.gather(1, draw["places"])
        return is_open & (is_open.cumsum(1) <= self.deflections)

    def _smooth(self, images: Images) -> Images:
        return by_picture(self._denoise, images, "pixel_deflection")


def _within(uniform: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Integers from ``low`` to ``high``, both included, by numbers in [0, 1)."""
    return (low + (uniform * (high - low + 1)).floor()).long()


def _last_sources(places: Tensor, sources: Tensor, counts: Tensor, pixels: int) -> Tensor:
    """Which pixel stands at each place: (N, pixels); of the draws that count, the last one of a place does.

    A plain scatter would leave it open which draw counts.
    """
    numbers = torch.arange(1, places.shape[1] + 1, device=places.device) * counts
    last = places.new_zeros((places.shape[0], pixels)).scatter_reduce(1, places, numbers, "amax")
    moved = sources.gather(1, (last - 1).clamp_min(0))
    own = torch.arange(pixels, device=places.device).expand_as(moved)
    return torch.where(last > 0, moved, own)
