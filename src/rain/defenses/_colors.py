"""Colour spaces as formulas with a gradient, of images (N, 3, H, W) in [0, 1]."""

import torch
from torch import Tensor

from rain.images import Images

TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Linear RGB to CIE XYZ, ITU-R BT.709 primaries, white D65."""

TO_YUV = (
    (0.299, 0.587, 0.114),
    (-0.14714119, -0.28886916, 0.43601035),
    (0.61497538, -0.51496512, -0.10001026),
)
"""RGB to YUV, ITU-R BT.601."""

WHITE = (0.95047, 1.0, 1.08883)
"""D65 in XYZ, which is L = 100 and no colour in LAB."""

LEAST = 1e-6
"""What roots are cut at: at 0 their slope is infinite."""


def mixed(images: Tensor, matrix: tuple[tuple[float, ...], ...], *, inverse: bool = False) -> Tensor:
    """Multiply the channels of each pixel by a matrix (3, 3), or by its inverse."""
    weights = torch.tensor(matrix, dtype=torch.float64)
    if inverse:
        weights = weights.inverse()
    return torch.einsum("oc,nchw->nohw", weights.to(images), images)


def rgb_to_linear(images: Images) -> Tensor:
    """Undo the curve of sRGB: values proportional to light."""
    steep = ((images.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(images > 0.04045, steep, images / 12.92)


def linear_to_rgb(light: Tensor) -> Tensor:
    """Apply the curve of sRGB."""
    steep = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light > 0.0031308, steep, light * 12.92)


def rgb_to_xyz(images: Images) -> Tensor:
    """CIE XYZ of sRGB."""
    return mixed(rgb_to_linear(images), TO_XYZ)


def xyz_to_rgb(values: Tensor) -> Tensor:
    """SRGB of CIE XYZ, which may leave [0, 1]."""
    return linear_to_rgb(mixed(values, TO_XYZ, inverse=True))


def rgb_to_lab(images: Images) -> Tensor:
    """CIE LAB of sRGB: lightness 0 to 100, then green to red, and blue to yellow."""
    white = images.new_tensor(WHITE)[:, None, None]
    relative = rgb_to_xyz(images) / white
    root = relative.clamp_min(LEAST) ** (1 / 3)
    x, y, z = torch.where(relative > 0.008856, root, 7.787 * relative + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(values: Tensor) -> Tensor:
    """SRGB of CIE LAB, which may leave [0, 1]."""
    lightness, red, yellow = values.unbind(1)
    y = (lightness + 16) / 116
    roots = torch.stack([y + red / 500, y, y - yellow / 200], 1)
    relative = torch.where(roots > 0.2068966, roots**3, (roots - 16 / 116) / 7.787)
    return xyz_to_rgb(relative.clamp_min(0) * values.new_tensor(WHITE)[:, None, None])


def rgb_to_yuv(images: Images) -> Tensor:
    """YUV of RGB."""
    return mixed(images, TO_YUV)


def yuv_to_rgb(values: Tensor) -> Tensor:
    """RGB of YUV, which may leave [0, 1]."""
    return mixed(values, TO_YUV, inverse=True)


def rgb_to_hsv(images: Images) -> Tensor:
    """Hue, saturation and value, each 0 to 1; grey has hue and saturation 0."""
    value, _ = images.max(1)
    spread = value - images.amin(1)
    safe = spread.clamp_min(LEAST)
    red, green, blue = images.unbind(1)
    hue = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = torch.where(value == red, (green - blue) / safe, hue)
    hue = torch.where(spread > LEAST, hue / 6 % 1, torch.zeros_like(hue))
    return torch.stack([hue, spread / value.clamp_min(LEAST), value], 1)


def hsv_to_rgb(values: Tensor) -> Images:
    """RGB of hue, saturation and value."""
    hue, saturation, value = values.unbind(1)
    channels = []
    for offset in (5, 3, 1):
        place = (offset + 6 * hue) % 6
        ramp = torch.minimum(place, 4 - place).clamp(0, 1)
        channels.append(value * (1 - saturation * ramp))
    return torch.stack(channels, 1)
