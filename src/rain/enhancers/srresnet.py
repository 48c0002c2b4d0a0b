"""SRResNet: the generator of SRGAN, without its adversarial loss."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import WeightsError
from rain.images import Images
from rain.options import check_integer
from rain.registry import ENHANCERS

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TUTORIAL = {
    r"conv_block1\.conv_block\.": "head.",
    r"residual_blocks\.(\d+)\.conv_block1\.conv_block\.0\.": r"body.\1.conv1.",
    r"residual_blocks\.(\d+)\.conv_block1\.conv_block\.1\.": r"body.\1.bn1.",
    r"residual_blocks\.(\d+)\.conv_block1\.conv_block\.2\.": r"body.\1.prelu.",
    r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.0\.": r"body.\1.conv2.",
    r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.1\.": r"body.\1.bn2.",
    r"conv_block2\.conv_block\.": "fusion.",
    r"subpixel_convolutional_blocks\.0\.conv\.": "up.0.",
    r"subpixel_convolutional_blocks\.0\.prelu\.": "up.2.",
    r"conv_block3\.conv_block\.0\.": "tail.",
}
"""Names of the port whose layers are called conv_block1, residual_blocks, ...; others to ours."""


MOST_NUMBERED = 100
"""The number of the last block in a file, at most."""


@ENHANCERS.register
class Srresnet(nn.Module):
    """SRResNet x2: residual blocks with batch norm at the input's resolution, then a pixel shuffle.

    Args:
        weights: path of a safetensors file, or None for an untrained network. The file says how large the
            network is; the options below are for an untrained one. It has our names or those of one of two
            well-known ports: ``block1.0.weight``, ... or ``conv_block1.conv_block.0.weight``, ....
        features: channels, 1 to 256; 64 as published.
        blocks: residual blocks, 1 to 64; 16 as published.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1]: a hyperbolic tangent holds them there.

    Raises:
        OptionError: a size is none.
        WeightsError: the file cannot be read, is not for x2, or belongs to another architecture.

    Convention: weights with the names ``conv_block1...`` were trained on pictures less ImageNet's mean,
        divided by its std, and get such. ``mean`` and ``std`` are kept with the weights.

    Source: Ledig et al., Photo-realistic single image super-resolution using a generative adversarial network
    (arXiv 1609.04802), figure 4, with one shuffle instead of two for x2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None = None, *, features: int = 64, blocks: int = 16):
        super().__init__()
        self.card: dict[str, str] | None = None
        check_integer(features, "features", 1, 256)
        check_integer(blocks, "blocks", 1, 64)
        state: dict[str, Tensor] = {}
        if weights is not None:
            path = checkpoints.find("srresnet", weights)
            state, self.card, prefix = _read(path)
            features, blocks = _size(state) or (features, blocks)
            with checkpoints.promised(str(path)), torch.device("meta"):
                empty = Srresnet(None, features=features, blocks=blocks)
            checkpoints.check(empty, state, str(path))
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.head = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*[Block(features) for _ in range(blocks)])
        self.fusion = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features))
        widen = nn.Conv2d(features, 4 * features, 3, padding=1)
        self.up = nn.Sequential(widen, nn.PixelShuffle(2), nn.PReLU())
        self.tail = nn.Conv2d(features, 3, 9, padding=4)
        if weights is not None:
            checkpoints.load_state(self, state, str(path))
            checkpoints.warn_of_prefix(prefix, str(path))

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        near = self.head((images - self.mean) / self.std)
        enlarged: Tensor = self.tail(self.up(near + self.fusion(self.body(near))))
        return (torch.tanh(enlarged) + 1) / 2


class Block(nn.Module):
    """Two convolutions with batch norm, and a skip."""

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, values: Tensor) -> Tensor:
        """Keep the shape (N, features, h, w)."""
        change = self.prelu(self.bn1(self.conv1(values)))
        return values + self.bn2(self.conv2(change))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Read a file of any of the three layouts.

    Returns: the tensors by our names, the card, and the prefix that was left out.

    Raises:
        WeightsError: it cannot be read, or is not for x2.
    """
    state, card = checkpoints.read(path)
    firsts = ["head.0.weight", "block1.0.weight", "conv_block1.conv_block.0.weight"]
    state, prefix = checkpoints.without_prefix(state, firsts)
    if "head.0.weight" in state:
        return state, card, prefix
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    if "conv_block1.conv_block.0.weight" in state:
        mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
        std = torch.tensor(IMAGENET_STD)[:, None, None]
        state = _rename(state, TUTORIAL)
        surplus = [name for name in state if name.startswith("subpixel_convolutional_blocks.")]
    else:
        state = _rename(state, _numbered_names(state))
        surplus = [name for name in state if re.match(r"up\.\d+\.conv\.", name)]
    if surplus:
        raise WeightsError(f"{path}: SRResNet for x4 or more ({surplus[0]}); detail generation needs x2")
    return state | {"mean": mean, "std": std}, card, prefix


def _numbered_names(state: dict[str, Tensor]) -> dict[str, str]:
    """Names of the port whose layers are block1, block2, ... to ours: the last but one ends the body."""
    numbers = [int(match[1]) for name in state if (match := re.match(r"block(\d+)\.", name))]
    last = max(numbers, default=0)
    if last > MOST_NUMBERED:
        return {}
    names = {r"block1\.": "head.", rf"block{last - 1}\.": "fusion."}
    names |= {rf"block{last}\.0\.conv\.": "up.0.", rf"block{last}\.0\.prelu\.": "up.2."}
    # For x4 a second shuffle stands where the last convolution is for x2.
    names |= {rf"block{last}\.1\.conv\.": "up.3.conv.", rf"block{last}\.1\.": "tail."}
    for number in range(2, last - 1):
        names[rf"block{number}\."] = f"body.{number - 2}."
    return names


def _rename(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Rename tensors by the first pattern that their name begins with."""
    renamed = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in names.items():
            if re.match(pattern, name):
                new = re.sub(f"^{pattern}", replacement, name)
                break
        renamed[new] = tensor
    return renamed


def _size(state: dict[str, Tensor]) -> tuple[int, int] | None:
    """Features and blocks of the network whose weights these are; None if they are another architecture's."""
    first = state.get("head.0.weight")
    blocks = sum(bool(re.fullmatch(r"body\.\d+\.conv1\.weight", name)) for name in state)
    if first is None or first.ndim != 4 or not first.shape[0] or not blocks:
        return None
    return first.shape[0], blocks
