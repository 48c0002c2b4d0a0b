"""Compact: detail generation for two CPU cores, which is told where each pixel came from."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers._slim import GREY, Slim
from rain.enhancers.bicubic import upsample
from rain.errors import OptionError, shown
from rain.images import Images
from rain.options import check_flag, check_integer
from rain.registry import ENHANCERS
from rain.tracing import is_channels_last

CHANNELS, BLOCKS = 256, 64
"""The largest sizes; beyond them it is compact no more."""

SCALES = {1: "keeps the sides", 2: "doubles the sides", 4: "makes the sides four times as large"}
"""By how much the sides may grow, and how it is told."""


class Size(NamedTuple):
    """How large a network is: the options of ``Compact``, but for its weights."""

    informed: bool
    head: int
    near: int
    features: int
    blocks: int
    scale: int
    slim: bool


@ENHANCERS.register
class Compact(nn.Module):
    """A x2 network of one and a half billion multiply-adds at 112x112.

    Most of them are at half of that resolution, where they see four times as far.

    Args:
        weights: shipped name, path, or None for untrained. The file says how large the network is; the
            options below are for an untrained one.
        informed: the network is told which pixel of each 2x2 cell SRd kept: a problem of filling in, not of
            guessing where the samples lie. It then corrects an interpolation of the kept pixels at their true
            places. False: it corrects bicubic up-sampling, and knows nothing.
        head: channels at the input's resolution, 1 to 256.
        near: residual blocks at the input's resolution, 0 to 64.
        features: channels at half the input's resolution, 1 to 256.
        blocks: residual blocks there, 0 to 64.
        scale: 2, the default; 1 for a denoiser, as ``smooth`` takes one, which corrects its input, and may
            get values outside of [0, 1]; or 4 for ``rain(cell=4)``, which corrects bicubic up-sampling. The
            last two are not told of picks.
        slim: a network for production: all of its convolutions are at half the input's resolution. It has
            ``features`` and ``blocks`` (single convolutions), and no ``head`` or ``near``. With 48 and 3 it
            needs a fifth of the default's multiply-adds.

    Shape: (N, 3, h, w) to (N, 3, scale h, scale w), values in [0, 1]; an odd h or w is padded by repeating
        the edge, and the result cropped.

    Raises:
        OptionError: a size is out of range; scale is none of 1, 2 and 4, or not 2 and the network is slim, or
            1 or 4 and the file is of another.
        WeightsError: the file cannot be read, or belongs to another architecture.

    Differs: the paper uses EDSR-baseline, at eleven times the multiply-adds, and does not tell it which
        pixels were picked.
    """

    def __init__(
        self,
        weights: str | Path | None = "default",
        *,
        informed: bool = True,
        head: int = 32,
        near: int = 2,
        features: int = 48,
        blocks: int = 4,
        scale: int = 2,
        slim: bool = False,
    ):
        super().__init__()
        if type(scale) is not int or scale not in SCALES:
            raise OptionError(f"compact: scale must be 1 (a denoiser), 2 or 4, got {shown(scale)}")
        informed = check_flag(informed, "informed") and scale == 2
        if check_flag(slim, "slim") and scale != 2:
            raise OptionError(f"compact: slim doubles the sides: leave it out where scale = {scale}")
        self.card: dict[str, str] | None = None
        state: dict[str, Tensor] = {}
        if weights is not None:
            path = checkpoints.find("compact", weights)
            state, self.card = checkpoints.read(path)
            needed = ["head.weight", "down.weight", "slim.down.weight"]
            state, prefix = checkpoints.without_prefix(state, needed)
            size = _size(state)
            if size is not None:
                _check_scale(path.name, scale, size.scale)
                informed, head, near, features, blocks, scale, slim = size
            with checkpoints.promised(str(path)), torch.device("meta"):
                empty = Compact(
                    None,
                    informed=informed,
                    head=head,
                    near=near,
                    features=features,
                    blocks=blocks,
                    scale=scale,
                    slim=slim,
                )
            checkpoints.check(empty, state, str(path))
        self.informed = informed
        check_integer(head, "head", 1, CHANNELS)
        check_integer(near, "near", 0, BLOCKS)
        check_integer(features, "features", 1, CHANNELS)
        check_integer(blocks, "blocks", 0, BLOCKS)
        if slim:
            self.slim = Slim(informed, features, blocks)
        else:
            self._add_layers(head, near, features, blocks, scale)
        if weights is not None:
            checkpoints.load_state(self, state, str(path))
            checkpoints.warn_of_prefix(prefix, str(path))

    def _add_layers(self, head: int, near: int, features: int, blocks: int, scale: int) -> None:
        """Make the layers of a network that is not slim."""
        self.head = nn.Conv2d(27 if self.informed else 3, head, 3, padding=1)
        self.near = nn.Sequential(*[Block(head) for _ in range(near)])
        self.down = nn.Conv2d(4 * head, features, 3, padding=1)
        self.body = nn.Sequential(*[Block(features) for _ in range(blocks)])
        self.up = nn.Conv2d(features, 4 * head, 3, padding=1)
        self.tail = nn.Conv2d(2 * head, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def is_slim(self) -> bool:
        """Whether its layers are those of ``rain.enhancers._slim``."""
        return "slim" in self._modules

    @property
    def scale(self) -> int:
        """By how much the sides grow."""
        return 2 if self.is_slim else math.isqrt(self.tail.out_channels // 3)

    def forward(self, images: Images, choice: Tensor | None = None) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, scale h, scale w), or denoise it.

        Args:
            images: what SRd gives: (N, 3, h, w), or, for an informed network, (N, keep * 3, h, w), as many
                pixels of each cell.
            choice: (N, 3 or 1, h, w) or (N, keep * 3, h, w), which pixel of its cell each one was
                (``rain.randomize.pick``), shifted as the images were; None if it was none of them but a mean.
                A network that is not informed does not look at it.
        """
        height, width = images.shape[2:]
        scale = self.scale
        if not images.shape[0]:
            return images.new_zeros(0, 3, scale * height, scale * width)
        if self.is_slim:
            enlarged: Tensor = self.slim(images, choice)
            return enlarged
        if self.informed:
            mean, mask, values = place_pixels(images, choice)
            skip = interpolate(values, mask)
            inputs = torch.cat([mean, mask, values - GREY * mask], 1)
        else:
            skip = images if scale == 1 else upsample(images, scale)
            inputs = images
        if height % 2 or width % 2:
            inputs = F.pad(inputs, (0, width % 2, 0, height % 2), mode="replicate")
        near = self.near(F.relu(self.head(inputs)))
        far = self.up(self.body(self.down(F.pixel_unshuffle(near, 2))))
        detail = F.pixel_shuffle(self.tail(torch.cat([near, F.pixel_shuffle(far, 2)], 1)), scale)
        return (skip + detail[..., : scale * height, : scale * width]).clamp(0, 1)


class Block(nn.Module):
    """Two convolutions and a skip, without batch norm, as in EDSR."""

    def __init__(self, features: int):
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """Keep the shape (N, features, h, w)."""
        return values + self.second(F.relu(self.first(values)))


def _size(state: dict[str, Tensor]) -> Size | None:
    """How large the network is whose weights these are.

    None if they are another architecture's, which loading them will tell.
    """
    slim = state.get("slim.down.weight")
    if slim is not None:
        return _slim_size(state, slim)
    first, down = state.get("head.weight"), state.get("down.weight")
    if first is None or first.ndim != 4 or down is None or down.ndim != 4:
        return None
    head, inputs = first.shape[:2]
    features = down.shape[0]
    if not head or not features:
        return None
    near, blocks = _count_blocks(state, "near"), _count_blocks(state, "body")
    tail = state.get("tail.weight")
    outputs = 12 if tail is None or not tail.ndim else tail.shape[0]
    scale = {3: 1, 48: 4}.get(outputs, 2)
    return Size(inputs == 27, head, near, features, blocks, scale, slim=False)


def _check_scale(name: str, scale: int, own: int) -> None:
    """Raise ``OptionError`` for a file of another scale than that which was asked for; 2 is the default."""
    if scale in (2, own):
        return
    what, other = f"{name} {SCALES[own]}", f"one of scale {scale}"
    if scale == 1:
        what, other = f"{name} is no denoiser, it {SCALES[own]}", "a denoiser"
    raise OptionError(f"{what}: give weights=PATH of {other}, or weights=None")


def _slim_size(state: dict[str, Tensor], down: Tensor) -> Size | None:
    if down.ndim != 4 or not down.shape[0]:
        return None
    features, inputs = down.shape[:2]
    blocks = sum(name.startswith("slim.body.") and name.endswith(".weight") for name in state)
    return Size(inputs > 3, 1, 0, features, blocks, 2, slim=True)


def _count_blocks(state: dict[str, Tensor], part: str) -> int:
    names = [name for name in state if name.startswith(f"{part}.")]
    return sum(name.endswith(".first.weight") for name in names)


def place_pixels(images: Tensor, choice: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Put what SRd kept where it was.

    Args:
        images, choice: as for ``Compact.forward``.

    Returns: the mean of the pixels kept of each cell (N, 3, h, w); 1 for each place that was kept, and the
        pixels at their places, 0 elsewhere, both (N, 12, h, w): colour by colour, the four places of its
        cell.
    """
    pictures = images.split(3, 1)
    picks = (None,) if choice is None else choice.chunk(len(pictures), 1)
    masks = [mask_of(pick, picture) for pick, picture in zip(picks, pictures, strict=True)]
    values = [mask * picture.repeat_interleave(4, 1) for mask, picture in zip(masks, pictures, strict=True)]
    mean = sum(pictures[1:], pictures[0]) / len(pictures)
    return mean, sum(masks[1:], masks[0]), sum(values[1:], values[0])


def mask_of(choice: Tensor | None, images: Images) -> Tensor:
    """Mark the places of the pixels that were kept, with 1.

    Args:
        choice: (N, 3 or 1, h, w), which pixel of its cell each one was; None marks all with a quarter.
        images: (N, 3, h, w), the kept pixels; only their shape, type and layout are used.

    Shape: returns (N, 12, h, w): colour by colour, the four places of its cell.
    """
    if choice is None:
        return torch.full_like(images[:, :1], 0.25).expand(-1, 12, -1, -1)
    places = torch.arange(4, device=images.device)[:, None, None]
    mask = (choice.expand(-1, 3, -1, -1)[:, :, None] == places).to(images.dtype).flatten(1, 2)
    layout = torch.channels_last if is_channels_last(images) else torch.contiguous_format
    return mask.contiguous(memory_format=layout)


def interpolate(values: Tensor, mask: Tensor) -> Images:
    """Fill in what was not kept by a mean of what was: a normalised convolution.

    Convention: the weights are Gaussian, with a sigma of 0.9 pixels, and end three pixels away.

    Args:
        values: (N, 12, h, w), the kept pixels at their places (colour, place), 0 elsewhere.
        mask: the same, 1 where one was kept.

    Shape: returns (N, 3, 2h, 2w).

    Source: Knutsson and Westin, Normalized and differential convolution (1993).
    """
    steps = torch.arange(-3, 4, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-steps.square() / (2 * 0.9**2))
    # Along each axis in turn: two passes of 7 instead of one of 49.
    weights = torch.cat([F.pixel_shuffle(values, 2), F.pixel_shuffle(mask, 2)], 1)
    # What the network corrects shall be exact, whatever the network computes in.
    with torch.autocast(values.device.type, enabled=False):
        across = F.conv2d(weights, kernel.expand(6, 1, 1, 7), padding=(0, 3), groups=6)
        total = F.conv2d(across, kernel[:, None].expand(6, 1, 7, 1), padding=(3, 0), groups=6)
    return total[:, :3] / total[:, 3:].clamp_min(1e-6)
