"""Any attack, whose images are rounded to the 8 bits of a picture file before they are judged."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.errors import OptionError
from rain.images import Images, check_norm, distance
from rain.registry import ATTACKS, Traits, load_attack
from rain.seeding import keyword_for

LEVELS = 255
"""Steps between the values of a picture file."""

SLACK = 1e-4
"""Levels by which float32 may miss one: far less than a level, more than rounding."""

TRIES = 64
"""Into so many parts a perturbation is cut to find the largest part that still fits when it is rounded."""


@ATTACKS.register(traits=Traits())
def eight_bit(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    generator: Generator | None = None,
) -> Images:
    """Round what an attack makes to whole grey levels, within the budget: what a PNG file can hold.

    Every image that comes back holds whole levels, k/255, also one that the attack left as it was. A budget
    of 0 changes nothing, and rounds nothing.

    Args:
        attack: spec of the attack, with its options.
        generator: of the attack.

    Raises:
        OptionError: what the attack raises; or no picture of whole levels lies within the budget. For linf
            that takes a budget below 1/510, half a level, around images that are not of whole levels
            themselves (a resize gives such); for l2 it takes more the more pixels there are.

    Convention: for linf each value becomes the nearest whole level within eps of the clean value. For l2 the
        perturbation is shrunk, image by image, by as little of 64 parts as it takes for the rounded image to
        lie within eps.
    """
    check_norm(norm)
    craft = load_attack(attack)
    adversarial = craft(model, images, labels, eps=eps, norm=norm, **keyword_for(craft, generator))
    if not len(images) or eps == 0:
        return adversarial
    # Half precision cannot tell all the levels apart.
    wide = torch.promote_types(images.dtype, torch.float32)
    clean, moved = images.detach().to(wide), adversarial.detach().to(wide)
    rounded = within_linf(moved, clean, eps) if norm == "linf" else within_ball(moved, clean, eps, norm)
    return rounded.to(images.dtype)


def within_linf(moved: Images, clean: Images, eps: float) -> Images:
    """Round each value to the nearest whole level within eps of the clean one.

    Args:
        moved, clean: (N, 3, H, W) in [0, 1].

    Raises:
        OptionError: there is no such level.
    """
    reach = min(eps, 1.0)
    low = ((clean - reach) * LEVELS - SLACK).ceil().clamp_min(0)
    high = ((clean + reach) * LEVELS + SLACK).floor().clamp_max(LEVELS)
    if (low > high).any():
        raise OptionError(_no_picture(f"eps = {eps:.4g} is less than half a grey level (1/510)"))
    levels = (moved * LEVELS).round()
    return torch.maximum(torch.minimum(levels, high), low) / LEVELS


def within_ball(moved: Images, clean: Images, eps: float, norm: str) -> Images:
    """Round, image by image, the largest part of a perturbation that stays within eps.

    Args:
        moved, clean: (N, 3, H, W) in [0, 1].

    Raises:
        OptionError: not even the clean image does, rounded.
    """
    rounded = _whole(moved)
    for part in range(TRIES - 1, -1, -1):
        far = distance(rounded.double(), clean.double(), norm) > eps * (1 + 1e-6)
        if not far.any():
            return rounded
        nearer = clean[far] + (moved[far] - clean[far]) * (part / TRIES)
        rounded[far] = _whole(nearer)
    furthest = float(distance(rounded.double(), clean.double(), norm).max())
    if furthest > eps * (1 + 1e-6):
        what = f"rounding alone moves an image by {furthest:.4g} in {norm}, more than eps = {eps:.4g}"
        raise OptionError(_no_picture(what))
    return rounded


def _whole(images: Images) -> Images:
    return (images * LEVELS).round().clamp(0, LEVELS) / LEVELS


def _no_picture(what: str) -> str:
    """Say that no picture file lies within the budget, and what to do."""
    why = "and the images are not of whole levels: no 8-bit picture lies within the budget"
    return f'{what}, {why}; take a larger eps, or images at their own size (in a grid size = "native")'
