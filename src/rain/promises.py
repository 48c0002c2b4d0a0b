"""What a defence says of itself, held against what it does."""

import torch
from torch import Generator

from rain.defense import Defense
from rain.errors import OptionError
from rain.images import Images


def check_promises(defense: Defense, images: Images) -> None:
    """Hold a defence to what it says of itself, on some images (N, 3, H, W).

    An attacker who believes a wrong word is blind, and the figure flatters.

    Raises:
        OptionError: it does not give images in [0, 1]; the same draw gives other outputs, or, with random =
            False, other draws do; or, with differentiable = True, no gradient comes through it.
    """
    with torch.no_grad():
        output = _defended(defense, images, seed=0)
        _check_output(defense, images, output)
        _check_randomness(defense, images, output)
    if defense.differentiable:
        _check_gradient(defense, images)


def _check_output(defense: Defense, images: Images, output: Images) -> None:
    name = type(defense).__name__
    if output.ndim != 4 or output.shape[:2] != images.shape[:2]:
        shapes = f"{tuple(output.shape)} for images {tuple(images.shape)}"
        raise OptionError(f"{name} gives {shapes}: a defence gives images for images")
    low, high = float(output.min()), float(output.max())
    if not -1e-3 <= low <= high <= 1 + 1e-3:
        values = f"values from {low:.4g} to {high:.4g}"
        raise OptionError(f"{name} gives {values}: keep to [0, 1], .clamp(0, 1) does")


def _check_randomness(defense: Defense, images: Images, output: Images) -> None:
    name = type(defense).__name__
    if _differ(output, _defended(defense, images, seed=0)):
        advice = "all that is random belongs into draw, where seeds and attackers find it"
        raise OptionError(f"{name}: the same draw gives other outputs: {advice}")
    if not defense.random and _differ(output, _defended(defense, images, seed=1)):
        what = "says random = False, and other draws give other outputs"
        raise OptionError(f"{name} {what}: take that line out of it")


def _check_gradient(defense: Defense, images: Images) -> None:
    gradient = None
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        output = _defended(defense, leaf, seed=0)
        if output.requires_grad:
            # Weighted, since the plain sum of some outputs never changes, such as that of normalised images.
            weights = torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(output)
            (gradient,) = torch.autograd.grad((output * weights).sum(), leaf, allow_unused=True)
    if gradient is None or not gradient.any():
        name = type(defense).__name__
        what = "says differentiable = True, and no gradient comes through it"
        advice = "say differentiable = False, and adaptive attacks pass over it by BPDA"
        raise OptionError(f"{name} {what}, which blinds attackers (gradient masking): {advice}")


def _defended(defense: Defense, images: Images, seed: int) -> Images:
    return defense.transform(images, defense.draw(images, Generator().manual_seed(seed)))


def _differ(first: Images, second: Images) -> bool:
    return first.shape != second.shape or not torch.allclose(first, second, rtol=0, atol=1e-4)
