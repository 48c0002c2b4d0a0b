"""Corruptions, which are no attack: what happens to pictures without anybody meaning harm."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional

from rain.adaptive import Model
from rain.attacks import check_arguments
from rain.attacks._draws import gaussian
from rain.errors import OptionError, did_you_mean
from rain.images import Images
from rain.pictures import compress
from rain.registry import ATTACKS, Traits

DEVIATIONS = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Of the noise, for values in [0, 1], by strength."""

SIGMAS = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Of the blur, in pixels."""

QUALITIES = (25, 18, 15, 10, 7)
"""Of the JPEG file."""

FACTORS = (1.2, 1.4, 1.6, 1.8, 2.0)
"""By which light is more."""

KINDS = ("noise", "blur", "jpeg", "brightness")

REACH = 3
"""The blur's kernel is cut at so many sigmas."""


def _no_calls(options: Mapping[str, Any]) -> int:
    return 0


@ATTACKS.register(traits=Traits(follows=False, sees="labels", corrupts=True), calls=_no_calls)
def corruption(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    kind: str = "noise",
    strength: int = 3,
    generator: Generator | None = None,
) -> Images:
    """Corrupt images by noise, blur, JPEG or brightness: no attack, and told apart from attacks.

    A detector should let it pass, and a defence should stay accurate. Use access "transfer": all defences
    then see the same images.

    Args:
        model, labels: not looked at.
        eps: 1.0 in "linf", all of [0, 1]: a corruption has no budget. A smaller one is refused, since it
            would weaken the corruption unseen.
        kind: "noise" (Gaussian, of deviation 0.08, 0.12, 0.18, 0.26, 0.38 by strength), "blur" (Gaussian, of
            sigma 1, 2, 3, 4, 6 pixels), "jpeg" (quality 25, 18, 15, 10, 7), or "brightness" (all values times
            1.2, 1.4, 1.6, 1.8, 2.0).
        strength: 1 to 5.
        generator: of the noise; the other kinds are not random.

    Raises:
        OptionError: another kind or strength, "l2", or a budget.

    Convention: values are cut to [0, 1]. The blur's kernel ends at 3 sigma, or where a small image ends, and
        the border is reflected. JPEG is Pillow's, of values rounded to 256 levels; chroma has half the
        resolution.

    Source: Hendrycks, Dietterich (arXiv 1903.12261): the idea, and the parameters of noise, blur and JPEG,
        which are for 224 pixels.

    Differs: brightness is multiplied, as more light would do; the source adds to the value of HSV.
    """
    _check(eps, norm, kind, strength)
    is_half = images.dtype in (torch.float16, torch.bfloat16)
    pixels = images.float() if is_half else images
    corrupted = _corrupted(pixels, kind, strength - 1, generator)
    return corrupted.clamp(0, 1).to(images.dtype)


def _check(eps: float, norm: str, kind: str, strength: int) -> None:
    check_arguments(norm, eps)
    if norm != "linf":
        raise OptionError(f'a corruption has no budget: leave norm at "linf", got {norm!r}')
    if eps < 1:
        what = f"a corruption has no budget, and eps = {eps:g} would weaken it unseen"
        raise OptionError(f"{what}: give eps = 1.0, and choose its strength, 1 to 5")
    if kind not in KINDS:
        near = did_you_mean(str(kind), KINDS)
        raise OptionError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}; {near}")
    if type(strength) is not int or not 1 <= strength <= len(FACTORS):
        raise OptionError(f"strength must be an integer from 1 to {len(FACTORS)}, got {strength!r}")


def _corrupted(pixels: Images, kind: str, place: int, generator: Generator | None) -> Tensor:
    if kind == "noise":
        return pixels + DEVIATIONS[place] * gaussian(tuple(pixels.shape), pixels, generator)
    if kind == "blur":
        return _blurred(pixels, SIGMAS[place])
    if kind == "jpeg":
        return compress(pixels, QUALITIES[place])
    return functional.adjust_brightness(pixels, FACTORS[place])


def _blurred(pixels: Images, sigma: float) -> Tensor:
    height, width = pixels.shape[-2:]
    radius = round(REACH * sigma)
    # Only so much of a border can be reflected as the image has behind it.
    sides = [2 * min(radius, side - 1) + 1 for side in (width, height)]
    return functional.gaussian_blur(pixels, sides, [sigma, sigma])
