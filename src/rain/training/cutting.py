"""Cut squares out of many pictures at once, mirror them and resize them: the feed of a GPU.

It does what ``rain.training.feed.augmented`` does to one picture, with draws of its own.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rain.images import Images
from rain.training.recipe import Config


@dataclass(frozen=True)
class Cuts:
    """Where a batch is cut, each (N,), float32, whole pixels.

    Args:
        top, left: of the square in the picture.
        side: of the square.
        mirrored: whether left and right change places; booleans.
        window_top, window_left: of the window in the resized square.
    """

    top: Tensor
    left: Tensor
    side: Tensor
    mirrored: Tensor
    window_top: Tensor
    window_left: Tensor


def can_cut(config: Config, shortest: int) -> bool:
    """Whether pictures whose shorter sides are at least ``shortest`` pixels can be cut as a recipe says.

    Smaller ones would have to be enlarged first.
    """
    return config.augment == "zoom" or shortest >= config.side


def draw_cuts(sizes: Tensor, config: Config, generator: Generator) -> Cuts:
    """Draw where to cut.

    Args:
        sizes: (N, 2), float32, height and width of the pictures.
        config: ``side``, ``augment``, ``zoom`` and ``window`` say how.
        generator: on the device of ``sizes``.
    """
    draws = torch.rand((7, len(sizes)), device=sizes.device, generator=generator)
    shorter = sizes.amin(1)
    share = torch.ones_like(shorter)
    if config.augment != "crop":
        shares = config.zoom + (1 - config.zoom) * draws[1]
        share = torch.where(draws[0] >= 0.5, shares, share)
    if config.augment == "zoom":
        side = (share * shorter).round().clamp_min(2)
    else:
        side = torch.minimum((config.side / share).round(), shorter)
    slack = sizes - side[:, None]
    window_slack = config.side - (config.window or config.side)
    return Cuts(
        top=_below(draws[2], slack[:, 0]),
        left=_below(draws[3], slack[:, 1]),
        side=side,
        mirrored=draws[4] < 0.5,
        window_top=_below(draws[5], torch.full_like(shorter, window_slack)),
        window_left=_below(draws[6], torch.full_like(shorter, window_slack)),
    )


def _below(uniform: Tensor, most: Tensor) -> Tensor:
    """Whole numbers from 0 to ``most``, as likely."""
    return torch.minimum((uniform * (most + 1)).floor(), most)


def cut(pixels: Tensor, cuts: Cuts, config: Config) -> Images:
    """Cut, mirror and resize.

    Args:
        pixels: (N, 3, H, W), uint8.
        cuts: where.
        config: ``side`` and ``window`` say how large the result is.

    Shape: returns (N, 3, side, side), or windows of these, float32 in [0, 1].

    Convention: bicubic with antialiasing, as ``rain.images.resample``, to rounding.
    """
    extent = config.window or config.side
    places = torch.arange(extent, device=pixels.device, dtype=torch.float32)
    rows = places + cuts.window_top[:, None]
    columns = places + cuts.window_left[:, None]
    columns = torch.where(cuts.mirrored[:, None], config.side - 1 - columns, columns)
    height, width = pixels.shape[2:]
    down = _weights(rows, cuts.top, cuts.side, height, config.side)
    across = _weights(columns, cuts.left, cuts.side, width, config.side)
    images = pixels.float() / 255
    resized = down[:, None] @ images @ across.transpose(1, 2)[:, None]
    return resized.clamp(0, 1)


def _weights(targets: Tensor, start: Tensor, side: Tensor, extent: int, resized: int) -> Tensor:
    """What each pixel of an axis counts for at each place of the resized square.

    Args:
        targets: (N, O), the places.
        start, side: (N,), of the square on the axis.
        extent: pixels of the axis.
        resized: side of the resized square.

    Shape: returns (N, O, extent).

    Source: Keys, Cubic convolution interpolation for digital image processing (1981), with -0.5.
    """
    scale = (side / resized)[:, None, None]
    centre = scale * (targets[:, :, None] + 0.5)
    pixel = torch.arange(extent, device=targets.device, dtype=torch.float32) - start[:, None, None]
    distance = ((pixel + 0.5 - centre) / scale.clamp_min(1)).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    is_inside = (pixel >= 0) & (pixel < side[:, None, None])
    weights = torch.where(is_inside, weights, torch.zeros_like(weights))
    return weights / weights.sum(2, keepdim=True)
