"""Classifiers: ``nn.Module``s from images (N, 3, H, W) in [0, 1] to logits. Each owns its resize, crop, mean and std. One file each."""

import torch
from torch import Tensor, nn

from rain.images import Images, centre_crop, resize_shorter


class Preprocessed(nn.Module):
    """A network with its own preprocessing: resize the shorter side, crop the centre, subtract the mean, divide by the std.

    Args:
        network: gets normalised images (N, 3, crop, crop).
        resize: the shorter side's length, in pixels, before the crop; bicubic with antialiasing. Images already at that size are not touched.
        crop: the side of the square that the network sees.
        mean, std: per channel, for values in [0, 1].
        categories: the names of the classes, if known.
    """

    def __init__(self, network: nn.Module, *, resize: int, crop: int, mean: tuple[float, ...], std: tuple[float, ...], categories: tuple[str, ...] = ()):
        super().__init__()
        self.network, self.resize, self.crop, self.categories = network, resize, crop, categories
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Images) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1]; returns logits (N, classes)."""
        images = centre_crop(resize_shorter(images, self.resize), self.crop)
        return self.network((images - self.mean) / self.std)  # type: ignore[operator]


def imagenet_categories() -> tuple[str, ...]:
    """The names of the 1000 ImageNet classes, in the order of the logits."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])
