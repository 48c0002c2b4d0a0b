"""Classifiers: ``nn.Module``s from images (N, 3, H, W) in [0, 1] to logits.

Each owns its resize, crop, mean and std. One file each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rain.errors import OptionError
from rain.images import INTERPOLATIONS, Images, centre_crop, resize_shorter


class Preprocessed(nn.Module):
    """A network with its own preprocessing: resize the shorter side, crop the centre, subtract the mean, divide by the std.

    Args:
        network: gets normalised images (N, 3, crop, crop).
        resize: the shorter side's length, in pixels, before the crop; with antialiasing.
        crop: the side of the square that the network sees. Images that already are such squares are neither
            resized nor cropped.
        mean, std: per channel, for values in [0, 1].
        categories: the names of the classes, if known.
        interpolation: "bicubic" or "bilinear", for the resize.

    Raises:
        OptionError: the crop is larger than the resized image, mean or std are not for values in [0, 1], or
            there is no such interpolation.
    """

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
        if not (isinstance(resize, int) and isinstance(crop, int)):
            raise OptionError(
                f"resize and crop are numbers of pixels, of the shorter side and of the square, got {resize!r} and {crop!r}"
            )
        for name, values in (("mean", mean), ("std", std)):
            if (
                not isinstance(values, Sequence)
                or len(values) != 3
                or not all(abs(value) <= 1 for value in values)
            ):
                raise OptionError(
                    f"{name} must be three numbers, for values in [0, 1] (those for 0 to 255 divided by 255), got {values!r}"
                )
        if min(std) <= 0:
            raise OptionError(f"std must be above 0, got {std!r}")
        if not 1 <= crop <= resize:
            raise OptionError(f"crop must be at least 1 and at most resize = {resize}, got {crop}")
        if interpolation not in INTERPOLATIONS:
            raise OptionError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
            )
        self.network, self.resize, self.crop, self.categories, self.interpolation = (
            network,
            resize,
            crop,
            categories,
            interpolation,
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1]; returns logits (N, classes)."""
        if images.shape[2:] != (self.crop, self.crop):
            images = centre_crop(resize_shorter(images, self.resize, self.interpolation), self.crop)
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
