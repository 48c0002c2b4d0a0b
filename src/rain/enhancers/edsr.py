"""EDSR: the super-resolution network that RAIN was published with."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import OptionError, WeightsError, did_you_mean, shown
from rain.images import Images
from rain.options import check_integer, check_number
from rain.registry import ENHANCERS

MEAN = (0.4488, 0.4371, 0.4040)
"""The mean colour of DIV2K, in [0, 1]: EDSR subtracts it before the network and adds it after."""

WHITE = 255.0
"""Inside the network, images reach from 0 to 255."""

SIZES = {"baseline": (64, 16, 1.0), "full": (256, 32, 0.1)}
"""Features, blocks and residual scale of the two networks of the paper."""


@ENHANCERS.register
class Edsr(nn.Module):
    """EDSR-baseline x2, as published: 1.37 million parameters, 17 billion multiply-adds at 112x112.

    ``size=full`` is the paper's large network: 40.7 million parameters, 511 billion multiply-adds.

    Args:
        weights: path of a safetensors file with the keys of the authors' release (``head.0.weight``,
            ``body.0.body.0.weight``, ...), or None for an untrained network. The constants ``sub_mean`` and
            ``add_mean`` may be in the file or not.
        size: "baseline" or "full"; the options below change single numbers of it.
        features: channels, 1 to 256; 64 in the baseline, 256 in the full network.
        blocks: residual blocks, 0 to 64; 16 in the baseline, 32 in the full network.
        residual_scale: what a block's result is multiplied by before the skip, 0 to 10; 1 in the baseline,
            0.1 in the full network. No weight file says it.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1], clamped.

    Raises:
        OptionError: there is no such size, or a number is out of range.
        WeightsError: the file cannot be read, belongs to another architecture, or was trained with another
            mean or range.

    Source: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution (2017), section 3;
    the mean and the names of the weights are those of the authors' PyTorch release.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        size: str = "baseline",
        features: int | None = None,
        blocks: int | None = None,
        residual_scale: float | None = None,
    ):
        super().__init__()
        if not isinstance(size, str) or size not in SIZES:
            raise OptionError(f"edsr: no size {shown(size)}; {did_you_mean(str(size), SIZES)}")
        published = SIZES[size]
        features = published[0] if features is None else features
        blocks = published[1] if blocks is None else blocks
        residual_scale = published[2] if residual_scale is None else residual_scale
        check_integer(features, "features", 1, 256)
        check_integer(blocks, "blocks", 0, 64)
        residual_scale = check_number(residual_scale, "residual_scale", 0, 10)
        self.sub_mean = MeanShift(-1)
        self.head = nn.Sequential(_convolution(3, features))
        residual = [Block(features, residual_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, _convolution(features, features))
        double = nn.Sequential(_convolution(features, 4 * features), nn.PixelShuffle(2))
        self.tail = nn.Sequential(double, _convolution(features, 3))
        self.add_mean = MeanShift(1)
        self.card: dict[str, str] | None = None
        if weights is not None:
            path = checkpoints.find("edsr", weights)
            state, self.card = checkpoints.read(path)
            state, prefix = checkpoints.without_prefix(state, self.state_dict())
            checkpoints.load_state(self, self._with_constants(state, path), str(path))
            checkpoints.warn_of_prefix(prefix, str(path))

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        near = self.head(self.sub_mean(images * WHITE))
        enlarged: Tensor = self.add_mean(self.tail(near + self.body(near)))
        return (enlarged / WHITE).clamp(0, 1)

    def _with_constants(self, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
        """Put our constants in the place of the file's, which may be missing.

        They must not be others: the network would get wrong colours.

        Raises:
            WeightsError: the file's constants are others.
        """
        weights = self.state_dict()
        names = [name for name in weights if name.startswith(("sub_mean.", "add_mean."))]
        constants = {name: weights[name] for name in names}
        for name, ours in constants.items():
            theirs = state.get(name, ours)
            if theirs.shape != ours.shape or not torch.allclose(theirs.to(ours), ours, rtol=0, atol=0.01):
                values = (
                    f"{theirs.flatten().tolist()[:9]}, not the {ours.flatten().tolist()} of EDSR on 0-255"
                )
                why = "these weights were trained with another mean or range"
                raise WeightsError(f"{path}: {name} is {values}; {why}")
        return state | constants


class MeanShift(nn.Module):
    """Add ``sign`` times the mean colour.

    It is a 1x1 convolution whose weights are constants: no optimiser ever gets them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, sign: int):
        super().__init__()
        self.register_buffer("weight", torch.eye(3)[:, :, None, None])
        self.register_buffer("bias", sign * WHITE * torch.tensor(MEAN))

    def forward(self, images: Tensor) -> Tensor:
        """Keep the shape (N, 3, h, w)."""
        return F.conv2d(images, self.weight, self.bias)


class Block(nn.Module):
    """Two convolutions and a skip, without batch norm."""

    def __init__(self, features: int, scale: float):
        super().__init__()
        first, second = (_convolution(features, features) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(), second)
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        """Keep the shape (N, features, h, w)."""
        change: Tensor = self.body(values)
        return values + change * self.scale


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
