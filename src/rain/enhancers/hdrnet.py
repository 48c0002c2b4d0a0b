"""HDRnet: colour changes that are found at low resolution, in a bilateral grid, on bicubic up-sampling."""

import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers.bicubic import upsample
from rain.errors import OptionError
from rain.images import Images
from rain.options import check_integer
from rain.registry import ENHANCERS

AFFINE = 12
"""Numbers of one colour change: three rows of a matrix and a constant each."""

KNOTS = 16
"""Bends of each of the guide's curves."""


@ENHANCERS.register
class Hdrnet(nn.Module):
    """HDRnet behind bicubic x2: an affine change of colour for each pixel, out of a small grid.

    A network at a fixed low resolution fills a grid over place and brightness with affine changes. Each pixel
    of the enlarged picture looks up its own by where it is and by its brightness in a learnt guide. It adds
    little to the cost of bicubic, and makes no detail of its own; edges it can sharpen only by brightness.

    Args:
        weights: path of a safetensors file, or None for an untrained network. The file says how large the
            network is; the options below are for an untrained one.
        side: side of the picture that the low network sees, in pixels, a multiple of 64 from 64 to 512. The
            grid has a cell for each 16 of them.
        width: channels after its first convolution, 1 to 64; eight times as many at the end.
        bins: cells of the grid along brightness, 2 to 64.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1], clamped.

    Raises:
        OptionError: a size is none.
        WeightsError: the file cannot be read, or belongs to another architecture.

    Source: Gharbi et al., Deep bilateral learning for real-time image enhancement (arXiv 1707.02880).

    Differs: the low network sees 128x128 by default, not 256x256, since the pictures are smaller. There is no
    batch norm. The multiply-adds that ``rain list`` prints leave out the looking up: 200 for each pixel.
    """

    def __init__(self, weights: str | Path | None = None, *, side: int = 128, width: int = 8, bins: int = 8):
        super().__init__()
        self.card: dict[str, str] | None = None
        _check_sizes(side, width, bins)
        state: dict[str, Tensor] = {}
        if weights is not None:
            path = checkpoints.find("hdrnet", weights)
            state, self.card = checkpoints.read(path)
            state, prefix = checkpoints.without_prefix(state, ["low.0.weight", "coefficients.weight"])
            side, width, bins = _size(state) or (side, width, bins)
            with checkpoints.promised(str(path)), torch.device("meta"):
                empty = Hdrnet(None, side=side, width=width, bins=bins)
            checkpoints.check(empty, state, str(path))
        self.side, self.bins = side, bins
        deep = 8 * width
        widths = [3, width, 2 * width, 4 * width, deep]
        low: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            low += [nn.Conv2d(inputs, outputs, 3, 2, padding=1), nn.ReLU()]
        self.low = nn.Sequential(*low)
        local = nn.Conv2d(deep, deep, 3, padding=1, bias=False)
        self.local = nn.Sequential(nn.Conv2d(deep, deep, 3, padding=1), nn.ReLU(), local)
        halving = [nn.Conv2d(deep, deep, 3, 2, padding=1) for _ in range(2)]
        rest = (side // 64) ** 2
        flat = [nn.Linear(deep * rest, 4 * deep), nn.Linear(4 * deep, 2 * deep), nn.Linear(2 * deep, deep)]
        self.whole = nn.Sequential(
            halving[0], nn.ReLU(), halving[1], nn.ReLU(), nn.Flatten(),
            flat[0], nn.ReLU(), flat[1], nn.ReLU(), flat[2],
        )  # fmt: skip
        self.coefficients = nn.Conv2d(deep, AFFINE * bins, 1)
        self.guide = Guide()
        nn.init.zeros_(self.coefficients.weight)
        identity = torch.eye(3, 4).flatten().repeat_interleave(bins)
        self.coefficients.bias = nn.Parameter(identity)
        if weights is not None:
            checkpoints.load_state(self, state, str(path))
            checkpoints.warn_of_prefix(prefix, str(path))

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        enlarged = upsample(images).clamp(0, 1)
        if not len(images):
            return enlarged
        changes = slice_grid(self._grid(images), self.guide(enlarged))
        rows = changes.unflatten(1, (3, 4))
        changed = (rows[:, :, :3] * enlarged[:, None]).sum(2) + rows[:, :, 3]
        return changed.clamp(0, 1)

    def _grid(self, images: Images) -> Tensor:
        """The affine changes (N, 12, bins, side / 16, side / 16)."""
        small = F.interpolate(images, (self.side, self.side), mode="bilinear", align_corners=False)
        features = self.low(small)
        whole = self.whole(features)[:, :, None, None]
        grid: Tensor = self.coefficients(F.relu(self.local(features) + whole))
        return grid.unflatten(1, (AFFINE, self.bins))


class Guide(nn.Module):
    """Each pixel's place along the grid's brightness: a mix of colours, each bent by a curve of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.mix.weight = nn.Parameter(torch.eye(3)[:, :, None, None].clone())
        self.mix.bias = nn.Parameter(torch.zeros(3))
        self.knots = nn.Parameter(torch.linspace(0, 1, KNOTS + 1)[:-1].expand(3, -1).clone())
        slopes = torch.zeros(3, KNOTS)
        slopes[:, 0] = 1 / 3
        self.slopes = nn.Parameter(slopes)
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, images: Images) -> Tensor:
        """From (N, 3, H, W) to (N, H, W), in [0, 1]."""
        mixed = self.mix(images)
        total = self.offset.expand(len(images), *images.shape[2:])
        for channel in range(3):
            for knot in range(KNOTS):
                bent = F.relu(mixed[:, channel] - self.knots[channel, knot])
                total = total + self.slopes[channel, knot] * bent
        return total.clamp(0, 1)


def slice_grid(grid: Tensor, guide: Tensor) -> Tensor:
    """Look up each pixel in a bilateral grid, trilinearly.

    Args:
        grid: (N, C, bins, rows, columns).
        guide: (N, H, W), where along the bins each pixel lies, 0 to 1.

    Shape: returns (N, C, H, W).

    Convention: values stand at the centres of cells; beyond the outermost centres they are held. Places are
        computed in float32 at least: half precision has no digits for them.
    """
    count, height, width = guide.shape
    kind, guide = guide.dtype, guide if guide.dtype.itemsize >= 4 else guide.float()
    down = (2 * torch.arange(height, device=guide.device, dtype=guide.dtype) + 1) / height - 1
    across = (2 * torch.arange(width, device=guide.device, dtype=guide.dtype) + 1) / width - 1
    rows = down[:, None].expand(count, height, width)
    columns = across.expand(count, height, width)
    places = torch.stack([columns, rows, 2 * guide - 1], -1)[:, None]
    sampled = F.grid_sample(grid.to(places.dtype), places, padding_mode="border", align_corners=False)
    return sampled[:, :, 0].to(kind)


def _check_sizes(side: int, width: int, bins: int) -> None:
    """Raise ``OptionError`` for a network that cannot be."""
    check_integer(side, "side", 64, 512)
    if side % 64:
        raise OptionError(f"hdrnet: side must be a multiple of 64 pixels, got {side!r}")
    check_integer(width, "width", 1, 64)
    check_integer(bins, "bins", 2, 64)


def _size(state: dict[str, Tensor]) -> tuple[int, int, int] | None:
    """Side, width and bins of the network whose weights these are; None if they are another's."""
    first, last = state.get("low.0.weight"), state.get("coefficients.weight")
    flat = state.get("whole.5.weight")
    if first is None or flat is None or last is None or first.ndim != 4 or flat.ndim != 2 or not last.ndim:
        return None
    width, bins = first.shape[0], last.shape[0] // AFFINE
    if not width or bins < 2:
        return None
    rest = math.isqrt(flat.shape[1] // (8 * width))
    return 64 * max(rest, 1), width, bins
