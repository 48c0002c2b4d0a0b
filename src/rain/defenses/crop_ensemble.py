"""The mean of the classifier's answers to random crops, each enlarged to the size of the picture."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint

from rain.answers import log_probabilities
from rain.defense import Classify, Defense, Draw
from rain.images import Images
from rain.options import check_integer, check_number
from rain.registry import DEFENSES
from rain.seeding import drawing_from

AT_ONCE = 2**21
"""Pixels of the crops that are classified at a time: 41 crops of 224x224, and never less than one crop."""


@DEFENSES.register
class CropEnsemble(Defense):
    """Average the classifier's probabilities over random crops, each enlarged; the gradient is exact.

    It answers itself: its logits are the logarithms of the mean probabilities. An image costs as many passes
    as it has crops. The crops go through the classifier in groups. While an attacker asks for gradients, what
    a group computed is forgotten and computed again: a third more work, and the memory of one group.

    Args:
        crops: how many, 1 to 1000. The default is the authors' 30.
        share: of each side that a crop has, from 0.01 to 1. The default is the authors' 90 of 224 pixels.

    Raises:
        OptionError: an option is out of range.

    Convention: all places at which a crop fits are equally likely, its sides are whole pixels, at least one.
        Enlarged bilinearly to the size of the image; beyond a crop's edge stands the pixel at the edge.

    Source: Guo et al., "Countering adversarial images using input transformations" (arXiv 1711.00117),
        image cropping and rescaling.

    Differs: the authors measure it with classifiers that were trained on crops, too. One that was not loses
        accuracy. ``transform`` gives the first crop alone, for the report and for whatever stands behind it.
    """

    def __init__(self, crops: int = 30, share: float = 90 / 224):
        super().__init__()
        self.crops = check_integer(crops, "crops", 1, 1000)
        self.share = check_number(share, "share", 0.01, 1)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "places" (N, crops, 2): top and left of each crop, as fractions of what is possible."""
        shape = (images.shape[0], self.crops, 2)
        places = torch.rand(shape, **drawing_from(generator, images.device))
        return {"places": places.to(images.device)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Give the first crop of each image, enlarged."""
        if not images.shape[0]:
            return images.clone()
        return self._cut(images, draw["places"][:, 0])

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the first crop, "first_crop": the others are of its kind."""
        return {"first_crop": self.transform(images, draw)}

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer by the logarithms of the probabilities averaged over the crops; logits (N, classes)."""
        places = draw["places"]
        rows = torch.arange(images.shape[0], device=images.device).repeat_interleave(self.crops)
        pairs = _grouped(images, rows, places.flatten(0, 1))

        def ask(group: Tensor, where: Tensor) -> Tensor:
            return log_probabilities(classify(self._cut(images.index_select(0, group), where)))

        is_forgotten = len(pairs) > 1 and torch.is_grad_enabled() and images.requires_grad
        answers = []
        for group, where in pairs:
            if is_forgotten:
                answers.append(_forgetting(ask, group, where))
            else:
                answers.append(ask(group, where))
        each = torch.cat(answers).unflatten(0, (images.shape[0], self.crops))
        return (each.logsumexp(1) - math.log(self.crops)).to(images.dtype)

    def _cut(self, images: Images, places: Tensor) -> Images:
        """Cut one crop out of each image and enlarge it.

        Args:
            images: (N, 3, H, W).
            places: (N, 2), top and left as fractions of what is possible.

        Shape: returns (N, 3, H, W).
        """
        height, width = images.shape[2:]
        down = self._coordinates(places[:, 0], height)
        across = self._coordinates(places[:, 1], width)
        x = across[:, None, :].expand(-1, height, width)
        y = down[:, :, None].expand(-1, height, width)
        # Coordinates do not fit into half precision: it knows eight bits of a place among 224.
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        grid = torch.stack([x, y], 3).to(wide.dtype)
        cut = F.grid_sample(wide, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return cut.clamp(0, 1).to(images.dtype)

    def _coordinates(self, fractions: Tensor, side: int) -> Tensor:
        """Where along an axis the pixels of the enlarged crops (N, side) lie, from -1 to 1 in the image."""
        size = max(1, round(self.share * side))
        start = (fractions * (side - size + 1)).floor().clamp(max=side - size)[:, None]
        pixel = torch.arange(side, device=fractions.device)
        within = ((pixel + 0.5) * size / side - 0.5).clamp(0, size - 1)
        return (start + within + 0.5) / side * 2 - 1


def _forgetting(ask: Callable[[Tensor, Tensor], Tensor], group: Tensor, where: Tensor) -> Tensor:
    """Ask, and keep nothing for the gradient but the question."""
    try:
        return checkpoint(ask, group, where, use_reentrant=False)
    except RuntimeError as error:
        # Under torch.func nothing can be forgotten, which torch says in words only, before it asks.
        if "saved tensor hooks" not in str(error):
            raise
        return ask(group, where)


def _grouped(images: Images, rows: Tensor, places: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
    """Which image each crop is of, and where it lies, in groups that are classified at a time."""
    if torch.compiler.is_compiling():
        return [(rows, places)]  # a graph serves batches of any length, which cannot be cut in groups
    most = max(1, AT_ONCE // (images.shape[2] * images.shape[3]))
    return list(zip(rows.split(most), places.split(most), strict=True))
