"""Gaussian noise: the simplest random defence."""

import torch
from torch import Generator

from rain.defense import Defense, Draw
from rain.images import Images
from rain.options import check_number
from rain.plans import Normal, Plan
from rain.registry import DEFENSES
from rain.seeding import drawing_from


@DEFENSES.register
class Noise(Defense):
    """Add Gaussian noise to every value, then clamp; the gradient is exact.

    Args:
        sigma: standard deviation of the noise, in the unit of the images, from 0.0001 to 1. The default is
            0.05, about 13 grey levels; nobody published one for a classifier that has never seen noise.

    Raises:
        OptionError: ``sigma`` is out of range.

    Source: the baseline of random defences; Cohen, Rosenfeld, Kolter (arXiv 1902.02918) for the certified
        kind.

    Differs: the classifier is not trained on noise, and nothing is certified.
    """

    keeps_places = True

    def __init__(self, sigma: float = 0.05):
        super().__init__()
        self.sigma = check_number(sigma, "sigma", 1e-4, 1)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "noise": (N, 3, H, W), float32, of standard deviation 1."""
        place = drawing_from(generator, images.device)
        noise = torch.randn(images.shape, dtype=torch.float32, **place)
        return {"noise": noise.to(images.device)}

    def plan(self) -> dict[str, Plan]:
        """Say how "noise" is drawn."""
        return {"noise": Normal((3, "height", "width"))}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Add the noise of the draw, and clamp to [0, 1]."""
        noise = draw["noise"].to(images.dtype)
        return (images + self.sigma * noise).clamp(0, 1)
