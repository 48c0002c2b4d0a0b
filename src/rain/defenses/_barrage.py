"""The families of weak transformations that ``bart`` draws from.

Each member is a pure function of one image and of what chance gave it. All give values that may leave [0, 1];
``apply`` clamps them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.adaptive import straight_through
from rain.defenses import _colors
from rain.defenses.jpeg import Jpeg
from rain.defenses.median import Median
from rain.images import Images

STRENGTHS = 8
"""Numbers that each family gets from chance, whether it needs them or not."""

AUTHORS_SIDE = 224
"""The shorter side at which lengths in pixels are the authors'."""


class Chance(NamedTuple):
    """What chance gives one family for one image.

    Args:
        member: which of the family, in [0, 1).
        strengths: ``STRENGTHS`` numbers in [0, 1).
        noise: (1, 3, H, W), Gaussian, of standard deviation 1.
        uniform: (1, 3, H, W), in [0, 1).
    """

    member: float
    strengths: list[float]
    noise: Tensor
    uniform: Tensor

    def between(self, number: int, low: float, high: float) -> float:
        """Bring one of the strengths into a range."""
        return low + self.strengths[number] * (high - low)

    def whole(self, number: int, low: int, high: int) -> int:
        """Bring one of the strengths to an integer, both ends included."""
        return low + math.floor(self.strengths[number] * (high - low + 1))


Member = Callable[[Images, Chance], Images]
"""From one image (1, 3, H, W), float32 or wider, to what it becomes."""


def round_levels(image: Images, chance: Chance) -> Images:
    """Round to 8 to 200 steps, of all channels or of each; the gradient is BPDA's."""
    steps = [chance.whole(number, 8, 200) for number in range(3)]
    if chance.strengths[3] < 0.5:
        steps = steps[:1] * 3
    scale = image.new_tensor(steps)[:, None, None]
    return straight_through(lambda values: (values * scale).round() / scale, image)


def encode(image: Images, chance: Chance) -> Images:
    """JPEG of quality 55 to 95; the gradient is BPDA's."""
    return Jpeg(quality=chance.whole(0, 55, 95)).transform(image, {})


def swirl(image: Images, chance: Chance) -> Images:
    """Turn the image around a point, less and less away from it."""
    height, width = image.shape[2:]
    unit = min(height, width) / AUTHORS_SIDE
    strength = chance.between(0, 0.01, 2)
    reach = math.log(2) * chance.between(1, 10, 200) * unit / 5
    x = torch.arange(width, device=image.device) + 0.5 - chance.between(2, 0, width)
    y = torch.arange(height, device=image.device) + 0.5 - chance.between(3, 0, height)
    y, x = torch.meshgrid(y, x, indexing="ij")
    distance = torch.sqrt(x**2 + y**2)
    angle = torch.atan2(y, x) + strength * torch.exp(-distance / reach)
    across = (distance * torch.cos(angle) + chance.between(2, 0, width)) / width * 2 - 1
    down = (distance * torch.sin(angle) + chance.between(3, 0, height)) / height * 2 - 1
    grid = torch.stack([across, down], 2)[None].to(image.dtype)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def add_gaussian(image: Images, chance: Chance) -> Images:
    """Add Gaussian noise of standard deviation 0.1."""
    return image + 0.1 * chance.noise


def add_poisson(image: Images, chance: Chance) -> Images:
    """Add noise like that of counted light, 256 quanta for white; how much is taken as given."""
    return image + (image.detach().clamp_min(0) / 256).sqrt() * chance.noise


def add_salt(image: Images, chance: Chance) -> Images:
    """Make 5 % of the values 1."""
    return image.masked_fill(chance.uniform < 0.05, 1.0)


def add_pepper(image: Images, chance: Chance) -> Images:
    """Make 5 % of the values 0."""
    return image.masked_fill(chance.uniform < 0.05, 0.0)


def add_both(image: Images, chance: Chance) -> Images:
    """Make 5 % of the values 0 or 1."""
    salted = image.masked_fill(chance.uniform < 0.025, 1.0)
    return salted.masked_fill(chance.uniform > 0.975, 0.0)


def add_speckle(image: Images, chance: Chance) -> Images:
    """Add Gaussian noise of standard deviation 0.1 times the value."""
    return image + 0.1 * chance.noise * image


def perturb_spectrum(image: Images, chance: Chance) -> Images:
    """Keep each channel's frequencies up to a limit of its own, each times 0.98 to 1.02."""
    height, width = image.shape[2:]
    spectrum = torch.fft.rfft2(image)
    factor = 0.98 + 0.04 * chance.uniform[:, :1, :, : spectrum.shape[3]]
    down = torch.fft.fftfreq(height, device=image.device).abs()[:, None]
    across = torch.fft.rfftfreq(width, device=image.device)[None, :]
    frequency = torch.maximum(down.expand(-1, across.shape[1]), across.expand(height, -1))
    limits = [chance.between(number, 0.05, 0.95) for number in range(3)]
    kept = frequency[None] <= image.new_tensor(limits)[:, None, None]
    return torch.fft.irfft2(spectrum * (factor * kept), s=(height, width))


def zoom(image: Images, chance: Chance) -> Images:
    """Cut a margin of 10 to 50 of 256 pixels from each edge, and enlarge what is left."""
    height, width = image.shape[2:]
    margins = [chance.between(number, 10, 50) / 256 for number in range(4)]
    top, bottom = (math.floor(margin * height) for margin in margins[:2])
    left, right = (math.floor(margin * width) for margin in margins[2:])
    rest = image[:, :, top : height - bottom, left : width - right]
    return F.interpolate(rest, (height, width), mode="bilinear", align_corners=False)


def shift_hsv(image: Images, chance: Chance) -> Images:
    """Shift hue by up to 0.05, saturation and value by up to 0.25."""
    hue, saturation, value = (_colors.rgb_to_hsv(image) + _shifts(image, chance, 0.05, 0.25, 0.25)).unbind(1)
    return _colors.hsv_to_rgb(torch.stack([hue % 1, saturation.clamp(0, 1), value.clamp(0, 1)], 1))


def shift_xyz(image: Images, chance: Chance) -> Images:
    """Shift X, Y and Z by up to 0.05."""
    shifted = _colors.rgb_to_xyz(image) + _shifts(image, chance, 0.05, 0.05, 0.05)
    return _colors.xyz_to_rgb(shifted.clamp(0, 1))


def shift_lab(image: Images, chance: Chance) -> Images:
    """Shift lightness by up to 5, the two colour axes by up to 2."""
    shifted = _colors.rgb_to_lab(image) + _shifts(image, chance, 5, 2, 2)
    lightness = shifted[:, :1].clamp(0, 100)
    return _colors.lab_to_rgb(torch.cat([lightness, shifted[:, 1:]], 1))


def shift_yuv(image: Images, chance: Chance) -> Images:
    """Shift Y by up to 0.05, U and V by up to 0.02."""
    shifted = _colors.rgb_to_yuv(image) + _shifts(image, chance, 0.05, 0.02, 0.02)
    return _colors.yuv_to_rgb(torch.cat([shifted[:, :1].clamp(0, 1), shifted[:, 1:]], 1))


def _shifts(image: Images, chance: Chance, *most: float) -> Tensor:
    """What is added to each channel, at most so much in either direction: (3, 1, 1)."""
    values = [chance.between(number, -width, width) for number, width in enumerate(most)]
    return image.new_tensor(values)[:, None, None]


def equalize(image: Images, chance: Chance) -> Images:
    """Equalise the histogram of each channel, of 40 to 256 bins; the gradient takes it as given."""
    bins = chance.whole(0, 40, 256)
    return torch.stack([_equalized(channel, bins) for channel in image[0]])[None]


def _equalized(channel: Tensor, bins: int) -> Tensor:
    low, high = (float(bound) for bound in channel.detach().aminmax())
    if high - low < 1e-6:
        return channel
    counts = torch.histc(channel.detach(), bins, low, high)
    share = counts.cumsum(0) / channel.numel()
    place = ((channel - low) / (high - low) * bins - 0.5).clamp(0, bins - 1)
    below = place.detach().floor().clamp(max=bins - 2).long()
    return torch.lerp(share[below], share[below + 1], place - below)


def stretch(image: Images, chance: Chance) -> Images:
    """Stretch each channel so that 1 to 4 % become black, and as many white; the ends have no gradient."""
    pixels = image.shape[2] * image.shape[3]
    flat = image.detach().flatten(2)
    low = flat.kthvalue(1 + int(chance.between(0, 0.01, 0.04) * (pixels - 1)), 2).values
    high = flat.kthvalue(1 + int(chance.between(1, 0.96, 0.99) * (pixels - 1)), 2).values
    spread = (high - low)[:, :, None, None]
    stretched = (image - low[:, :, None, None]) / spread.clamp_min(1e-6)
    return torch.where(spread > 1e-6, stretched, image)


def mix_grey(image: Images, chance: Chance) -> Images:
    """Make all channels one mix of the three."""
    return _grey(image, chance).expand_as(image)


def mix_part(image: Images, chance: Chance) -> Images:
    """Mix each channel with one grey; at least a fifth of the channel stays."""
    own = [max(0.2, chance.strengths[number]) for number in range(3, 6)]
    share = image.new_tensor(own)[:, None, None]
    return share * image + (1 - share) * _grey(image, chance)


def mix_two(image: Images, chance: Chance) -> Images:
    """Make two channels one mix of the two."""
    first, second, _ = _channels(chance)
    grey = torch.lerp(image[:, second], image[:, first], chance.strengths[1])
    channels = list(image.unbind(1))
    channels[first] = channels[second] = grey
    return torch.stack(channels, 1)


def mix_one(image: Images, chance: Chance) -> Images:
    """Mix one channel with a mix of the two others, of which it gets 0.1 to 0.9."""
    first, second, altered = _channels(chance)
    grey = torch.lerp(image[:, second], image[:, first], chance.strengths[1])
    channels = list(image.unbind(1))
    channels[altered] = torch.lerp(channels[altered], grey, chance.between(2, 0.1, 0.9))
    return torch.stack(channels, 1)


def _grey(image: Images, chance: Chance) -> Tensor:
    """A mix of the channels (1, 1, H, W), by the first three strengths."""
    weights = image.new_tensor(chance.strengths[:3]).clamp_min(1e-6)
    return torch.einsum("c,nchw->nhw", weights / weights.sum(), image)[:, None]


def _channels(chance: Chance) -> tuple[int, int, int]:
    """Two channels, and the one that is left."""
    left = chance.whole(0, 0, 2)
    first, second = (number for number in range(3) if number != left)
    return first, second, left


def blur(image: Images, chance: Chance) -> Images:
    """Blur by a Gaussian of 0.1 to 0.8 pixels, of all channels or of each."""
    sigmas = [chance.between(number, 0.1, 0.8) for number in range(3)]
    if chance.strengths[3] < 0.5:
        sigmas = sigmas[:1] * 3
    offsets = torch.arange(-3, 4, device=image.device, dtype=image.dtype)
    bell = torch.exp(-((offsets / image.new_tensor(sigmas)[:, None]) ** 2) / 2)
    weights = bell / bell.sum(1, keepdim=True)
    down = F.conv2d(F.pad(image, (0, 0, 3, 3), "replicate"), weights[:, None, :, None], groups=3)
    return F.conv2d(F.pad(down, (3, 3, 0, 0), "replicate"), weights[:, None, None, :], groups=3)


def take_medians(image: Images, chance: Chance) -> Images:
    """Replace each value by the median of 2 to 5 pixels squared."""
    size = _size(image, chance)
    if size < 2:
        return image
    median = Median(size)
    # One channel after the other: the neighbourhoods take size ** 2 times its memory.
    return torch.cat([median.transform(channel, {}) for channel in image.split(1, 1)], 1)


def take_means(image: Images, chance: Chance) -> Images:
    """Replace each value by the mean of 2 to 5 pixels squared."""
    size = _size(image, chance)
    before, after = size // 2, size - 1 - size // 2
    return F.avg_pool2d(F.pad(image, (before, after, before, after), "replicate"), size, stride=1)


def _size(image: Images, chance: Chance) -> int:
    """The side of a neighbourhood; in an image smaller than the authors' it is smaller, too."""
    unit = min(1.0, min(image.shape[2:]) / AUTHORS_SIDE)
    return max(1, round(chance.between(0, 2, 5) * unit))


FAMILIES: dict[str, tuple[Member, ...]] = {
    "levels": (round_levels,),
    "jpeg": (encode,),
    "swirl": (swirl,),
    "noise": (add_gaussian, add_poisson, add_salt, add_pepper, add_both, add_speckle),
    "spectrum": (perturb_spectrum,),
    "zoom": (zoom,),
    "colors": (shift_hsv, shift_xyz, shift_lab, shift_yuv),
    "contrast": (equalize, stretch),
    "grey": (mix_grey, mix_part, mix_two, mix_one),
    "smoothing": (blur, take_medians, take_means),
}
"""The families, and the members of each, of which one is drawn."""


def apply(family: str, image: Images, chance: Chance) -> Images:
    """Apply the member of a family that was drawn, and clamp to [0, 1]."""
    members = FAMILIES[family]
    member = members[min(int(chance.member * len(members)), len(members) - 1)]
    return member(image, chance).clamp(0, 1)
