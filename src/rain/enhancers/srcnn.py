"""SRCNN: the first convolutional super-resolution network, on bicubic up-sampling."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers.bicubic import upsample
from rain.images import Images
from rain.options import check_flag, check_integer, check_odd
from rain.registry import ENHANCERS

LAYERS = ("conv1", "conv2", "conv3")

LUMINANCE = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""What red, green and blue give to the luminance, which reaches from 16 to 235 (ITU-R BT.601)."""

BLACK = 16 / 255
RANGE = 219 / 255
"""The luminance of black, and of white above it."""


@ENHANCERS.register
class Srcnn(nn.Module):
    """SRCNN x2: three convolutions that correct bicubic up-sampling, at the resolution of the result.

    Args:
        weights: path of a safetensors file with the names ``conv1.weight`` to ``conv3.bias``, or None for an
            untrained network. The file says how large the network is, and whether it sees the luminance
            alone; the options below are for an untrained one.
        features: channels after the first convolution, 6 to 1024, or from 2 with ``luminance``; half of them
            after the second.
        middle: side of the second convolution's kernel, odd, 1 to 15: 1 as published, 3 or 5 in the paper's
            larger ones. The first has 9, the third 5.
        luminance: correct the luminance alone, as most published weights do; colour stays bicubic.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1], clamped.

    Raises:
        OptionError: a size is none.
        WeightsError: the file cannot be read, or belongs to another architecture.

    Source: Dong et al., Image super-resolution using deep convolutional networks (arXiv 1501.00092). The
    names of the weights are those of the well-known ports.

    Differs: convolutions are padded with zeros, so that no edge is lost. An untrained network is bicubic
    up-sampling: the first channels hand the colours on. From noise, the clamp would leave it no gradient.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        features: int = 64,
        middle: int = 1,
        luminance: bool = False,
    ):
        super().__init__()
        self.card: dict[str, str] | None = None
        planes = 1 if luminance else 3
        check_flag(luminance, "luminance")
        check_integer(features, "features", 2 * planes, 1024)
        check_odd(middle, "middle", 1, 15)
        shapes = [(features, planes, 9), (features // 2, features, middle), (planes, features // 2, 5)]
        state: dict[str, Tensor] = {}
        if weights is not None:
            path = checkpoints.find("srcnn", weights)
            state, self.card = checkpoints.read(path)
            state, prefix = checkpoints.without_prefix(state, [f"{layer}.weight" for layer in LAYERS])
            shapes = _shapes(state) or shapes
        self.luminance = shapes[0][1] == 1
        self.conv1, self.conv2, self.conv3 = (_convolution(*shape) for shape in shapes)
        if weights is None:
            self._start_as_bicubic(planes)
        else:
            checkpoints.load_state(self, state, str(path))
            checkpoints.warn_of_prefix(prefix, str(path))

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        enlarged = upsample(images).clamp(0, 1)
        if not self.luminance:
            return self._correct(enlarged).clamp(0, 1)
        weights = enlarged.new_tensor(LUMINANCE)[:, None, None]
        light = BLACK + (enlarged * weights).sum(1, keepdim=True)
        # With the colour differences as they are, all three colours change by as much.
        change = (self._correct(light) - light) / RANGE
        return (enlarged + change).clamp(0, 1)

    def _correct(self, planes: Tensor) -> Tensor:
        near = F.relu(self.conv1(planes))
        corrected: Tensor = self.conv3(F.relu(self.conv2(near)))
        return corrected

    @torch.no_grad()
    def _start_as_bicubic(self, planes: int) -> None:
        """Let the first channels of each layer hand the colours on, and the last layer nothing else."""
        nn.init.zeros_(self.conv3.weight)
        for convolution in (self.conv1, self.conv2, self.conv3):
            centre = convolution.kernel_size[0] // 2
            for plane in range(planes):
                nn.init.zeros_(convolution.weight[plane])
                convolution.weight[plane, plane, centre, centre] = 1.0
                convolution.bias[plane] = 0.0  # type: ignore[index]


def _convolution(outputs: int, inputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def _shapes(state: dict[str, Tensor]) -> list[tuple[int, int, int]] | None:
    """Outputs, inputs and kernel side of each layer; None if they are another architecture's."""
    shapes = []
    for layer in LAYERS:
        weight = state.get(f"{layer}.weight")
        if weight is None or weight.ndim != 4 or not weight.numel():
            return None
        # A kernel that is no square would have more numbers than the file.
        if weight.shape[2] != weight.shape[3] or weight.shape[3] % 2 == 0:
            return None
        shapes.append((weight.shape[0], weight.shape[1], weight.shape[3]))
    planes = shapes[0][1]
    return shapes if planes in (1, 3) and shapes[2][0] == planes else None
