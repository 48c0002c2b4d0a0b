"""A ResNet for small pictures (96x96 and less), of a size that a laptop trains in minutes.

It is the classifier of the STL-10 setting.
"""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from rain import checkpoints
from rain.classifiers import Preprocessed, check_classes, check_pixels
from rain.classifiers._denoising import KINDS, NONE, Denoise, kind_in
from rain.errors import OptionError, did_you_mean, shown
from rain.options import check_integer
from rain.registry import CLASSIFIERS

MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)


@CLASSIFIERS.register
def small_resnet(
    weights: str | Path | None = None,
    *,
    classes: int = 10,
    width: int = 32,
    size: int = 96,
    denoise: str = "none",
) -> Preprocessed:
    """ResNet-18 with half of its channels or less and a gentle stem, for small pictures.

    Args:
        weights: name of a shipped file, a safetensors file as ``rain train`` leaves it, or None for an
            untrained network.
        classes: logits, 1 to 50000; a weight file says it itself.
        width: channels of the first stage, 1 to 256, doubled in each of the three others; ResNet-18 has 64. A
            weight file says it itself.
        size: side of the pictures that enter, in pixels, 1 to 8000; others are resized and cropped.
        denoise: "nonlocal", "mean" or "median", blocks that smooth the features (Xie et al., arXiv
            1812.03411); "none" for none, or for what a weight file says itself.

    Raises:
        OptionError: there is no such ``denoise``, or a number is out of range.
        WeightsError: the file cannot be read or does not fit.

    Source: He et al., Deep residual learning for image recognition (arXiv 1512.03385). Differs: the stem is
    one 3x3 convolution of stride 2 without pooling, since 96x96 has less to give away than 224x224.
    """
    if denoise not in (NONE, *KINDS):
        near = did_you_mean(str(denoise), (NONE, *KINDS))
        raise OptionError(f"small_resnet: no denoise {shown(denoise)}; {near}")
    check_pixels(size, "size")
    path = checkpoints.find("small_resnet", weights) if weights is not None else None
    state, card = checkpoints.read(path) if path else ({}, {})
    # ``rain train`` writes the names of the whole, "network.last.weight"; a bare network has "last.weight".
    inside, _ = checkpoints.without_prefix(state, ["last.weight", "last.bias"])
    if denoise == NONE:
        denoise = kind_in(inside)
    last = inside.get("last.weight")
    if last is not None and last.ndim == 2 and len(last) and last.shape[1] >= 8:
        classes, width = last.shape[0], last.shape[1] // 8
        with checkpoints.promised(str(path)), torch.device("meta"):
            empty = _network(classes, width, denoise)
        checkpoints.check(empty, inside, str(path))
    network = _network(classes, width, denoise)
    categories = checkpoints.categories(card)
    classifier = Preprocessed(network, resize=size, crop=size, mean=MEAN, std=STD, categories=categories)
    if path:
        checkpoints.load_state(classifier.network, state, str(path), within="network.")
    classifier.card, classifier.untrained = card, path is None
    return classifier.eval()


def _network(classes: int, width: int, denoise: str) -> "SmallResnet":
    check_classes(classes)
    check_integer(width, "width", 1, 256)
    return SmallResnet(classes, width) if denoise == NONE else DenoisingResnet(classes, width, denoise)


class SmallResnet(nn.Module):
    """Four stages of two blocks each: normalised images (N, 3, H, W) to logits (N, classes)."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.stem = _convolution(3, width, 2)
        widths = [width, 2 * width, 4 * width, 8 * width]
        blocks = [Block(width, width, 1), Block(width, width, 1)]
        for before, after in pairwise(widths):
            blocks += [Block(before, after, 2), Block(after, after, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised images."""
        return self.last(self.blocks(torch.relu(self.stem(images))).mean((2, 3)))


class DenoisingResnet(SmallResnet):
    """The same network with a block that denoises its features after the second, third and fourth stage.

    Differs: Xie et al. denoise after the first stage, too. Here that has the most places by far, and
    non-local means compare every place with every other.
    """

    def __init__(self, classes: int, width: int, kind: str):
        super().__init__(classes, width)
        self.denoisers = nn.ModuleList([Denoise(kind, factor * width) for factor in (2, 4, 8)])

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised images."""
        values = torch.relu(self.stem(images))
        for stage in range(4):
            values = self.blocks[2 * stage + 1](self.blocks[2 * stage](values))
            if stage:
                values = self.denoisers[stage - 1](values)
        return self.last(values.mean((2, 3)))


class Block(nn.Module):
    """Two convolutions with batch norm, and a skip."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = _convolution(inputs, outputs, stride)
        self.second = _convolution(outputs, outputs, 1)
        self.stride = stride
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """From (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        # The stride is taken here, not by the 1x1 convolution: for less than 16 channels its backward pass
        # crashes on some CPUs (oneDNN issue 6035).
        skipped = self.skip(values[:, :, :: self.stride, :: self.stride])
        return torch.relu(self.second(torch.relu(self.first(values))) + skipped)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
