"""Total-variation minimisation of a random half of the pixels."""

import math

import torch
from torch import Generator, Tensor

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.images import Images
from rain.options import check_integer, check_number
from rain.registry import DEFENSES
from rain.seeding import drawing_from

NORM = math.sqrt(8)
"""A bound on how much the differences of neighbours can lengthen a picture."""


@DEFENSES.register
class Tv(Defense):
    """Drop a random half of the values, and fill in the smoothest picture.

    The gradient is BPDA's, the identity. It is slow: a tenth of a second or two for an image of 224x224 on a
    CPU core.

    Args:
        drop: which part of the values is dropped, from 0 to 0.99. The default is Guo's 0.5.
        weight: of the total variation, beside half the squared error of what was kept, from 0.0001 to 10. The
            default is Guo's 0.03.
        steps: of the minimisation, 1 to 10000.

    Raises:
        OptionError: an option is out of range.

    Convention: total variation is the sum of the lengths of the gradient, isotropic, each channel by itself,
        as scikit-image has it.

    Source: Guo, Rana, Cisse, van der Maaten (arXiv 1711.00117); Chambolle, Pock, "A first-order primal-dual
        algorithm" (2011), which minimises; BPDA after Athalye et al. (arXiv 1802.00420).

    Differs: the authors' formula adds up the lengths of whole rows and columns. Their released code minimises
        the usual variation, as here, by another algorithm. scikit-image cannot leave out values; with nothing
        dropped the result is that of its ``denoise_tv_chambolle``.
    """

    keeps_places = True

    def __init__(self, drop: float = 0.5, weight: float = 0.03, steps: int = 150):
        super().__init__()
        self.drop = check_number(drop, "drop", 0, 0.99)
        self.weight = check_number(weight, "weight", 1e-4, 10)
        self.steps = check_integer(steps, "steps", 1, 10_000)
        self.random = self.drop > 0

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "kept": (N, 3, H, W), true where a value stays."""
        if not self.random:
            return {}
        uniform = torch.rand(images.shape, **drawing_from(generator, images.device))
        return {"kept": (uniform >= self.drop).to(images.device)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Minimise; what was dropped is not looked at."""
        return straight_through(lambda values: self._fill(values, draw.get("kept")), images)

    def _fill(self, images: Images, kept: Tensor | None) -> Images:
        if not images.shape[0]:
            return images.clone()
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        wide = wide.clamp(0, 1)
        mask = torch.ones_like(wide) if kept is None else kept.to(wide.dtype)
        return minimise(wide, mask, self.weight, self.steps).clamp(0, 1).to(images.dtype)


def minimise(values: Images, kept: Tensor, weight: float, steps: int) -> Images:
    """Minimise half the squared error of the kept values plus ``weight`` times the total variation.

    Args:
        values: (N, C, H, W).
        kept: the same shape, 1 where a value counts, and 0 where it does not.
        weight: of the total variation.
        steps: so many.

    Shape: returns (N, C, H, W).
    """
    count = kept.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (values * kept).sum((2, 3), keepdim=True) / count
    picture = torch.where(kept > 0, values, mean)
    ahead = picture
    down, right = torch.zeros_like(picture), torch.zeros_like(picture)
    step = 1 / NORM
    for _ in range(steps):
        down, right = _ascend(ahead, down, right, step, weight)
        moved = picture + step * _divergence(down, right)
        fitted = (moved + step * kept * values) / (1 + step * kept)
        ahead = 2 * fitted - picture
        picture = fitted
    return picture


def _ascend(
    picture: Images, down: Tensor, right: Tensor, step: float, weight: float
) -> tuple[Tensor, Tensor]:
    """Move the dual along the differences of neighbours, and bring it back to a length of ``weight``."""
    down, right = down.clone(), right.clone()
    down[:, :, :-1] += step * picture.diff(dim=2)
    right[:, :, :, :-1] += step * picture.diff(dim=3)
    shrink = (torch.hypot(down, right) / weight).clamp_min(1)
    return down / shrink, right / shrink


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """The negative adjoint of the differences."""
    divergence = down + right
    divergence[:, :, 1:] -= down[:, :, :-1]
    divergence[:, :, :, 1:] -= right[:, :, :, :-1]
    return divergence
