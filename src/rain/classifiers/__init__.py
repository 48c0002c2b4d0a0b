"""Classifiers: networks (``nn.Module``) from images (N, 3, H, W) in [0, 1] to logits.

Each owns its resize, crop, mean and std. One file each.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rain.errors import OptionError
from rain.files import to_path
from rain.images import INTERPOLATIONS, Images, centre_crop, resize_shorter
from rain.options import check_integer


class Preprocessed(nn.Module):
    """A network with its own preprocessing.

    It resizes the shorter side, crops the centre, subtracts the mean and divides by the std.

    Args:
        network: gets normalised images (N, 3, crop, crop).
        resize: the shorter side's length, in pixels, before the crop; with antialiasing.
        crop: the side of the square that the network sees. Images that already are such squares are neither
            resized nor cropped.
        mean, std: per channel, for values in [0, 1].
        categories: the names of the classes, if known.
        interpolation: "bicubic" or "bilinear", for the resize.

    Attributes:
        card: the metadata of its weight file; None if nobody has said it.
        untrained: True if its weights are known to be random.

    Raises:
        OptionError: the crop is larger than the resized image, mean or std are not for values in [0, 1], or
            there is no such interpolation.
    """

    mean: Tensor
    std: Tensor
    card: dict[str, str] | None = None
    untrained: bool = False

    def __init__(
        self,
        network: nn.Module,
        *,
        resize: int,
        crop: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        categories: tuple[str, ...] = (),
        interpolation: str = "bicubic",
    ):
        super().__init__()
        check_pixels(resize, "resize")
        check_pixels(crop, "crop")
        _check_colour("mean", mean)
        _check_colour("std", std)
        if min(std) <= 0:
            raise OptionError(f"std must be above 0, got {std!r}")
        if not 1 <= crop <= resize:
            raise OptionError(f"crop must be at least 1 and at most resize = {resize}, got {crop}")
        if interpolation not in INTERPOLATIONS:
            names = ", ".join(INTERPOLATIONS)
            raise OptionError(f"interpolation must be one of {names}, got {interpolation!r}")
        self.network, self.categories = network, categories
        self.resize, self.crop, self.interpolation = resize, crop, interpolation
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1]; returns logits (N, classes)."""
        if images.shape[2:] != (self.crop, self.crop):
            images = centre_crop(resize_shorter(images, self.resize, self.interpolation), self.crop)
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


CLASSES = 50_000
"""Of a classifier, at most."""

PIXELS = 8000
"""Of a side, at most: no picture that is read has more."""


def check_classes(classes: object) -> int:
    """Raise ``OptionError`` for a number of classes that no classifier has."""
    return check_integer(classes, "classes", 1, CLASSES)


def check_pixels(side: object, name: str) -> int:
    """Raise ``OptionError`` for a side, in pixels, that no picture has; ``name`` is the option."""
    return check_integer(side, name, 1, PIXELS)


def own_file(weights: str | Path | None) -> Path | None:
    """The file that an option ``weights`` names; None if it is another name, or nothing."""
    if weights is None:
        return None
    path = to_path(weights)
    return path if path.is_file() else None


def _check_colour(name: str, values: object) -> None:
    """Raise ``OptionError`` unless it is a number for each channel, of images in [0, 1]."""
    if not isinstance(values, Sequence) or len(values) != 3 or not all(abs(value) <= 1 for value in values):
        needed = "three numbers, for values in [0, 1] (those for 0 to 255 divided by 255)"
        raise OptionError(f"{name} must be {needed}, got {values!r}")
