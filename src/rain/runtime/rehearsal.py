"""How long a defence takes for an image, measured on a part of one: what is slow shall not begin unsaid."""

import time

import torch
from torch import Generator

from rain.defense import Defense

SIDE = 32
"""Pixels of the first part's side; each further part has twice as many."""

ENOUGH = 0.2
"""Seconds of a pass that tell more of the work than of its beginning."""


@torch.no_grad()
def seconds_for(defense: Defense, size: tuple[int, int], device: torch.device) -> float:
    """Estimate how long a defence takes for an image and a draw, in seconds.

    It takes a second itself, however slow the defence and however large the image. No draw of another is
    changed by it.

    Args:
        defense: whose draw and ``transform`` are timed, on noise.
        size: height and width of the image in pixels.
        device: where the defence computes.

    Convention: beyond the largest part that was timed, each pixel costs what it cost from the part before it
        to that one.
    """
    generator = Generator().manual_seed(0)
    _pass(defense, size, SIDE, device, generator)  # what is loaded at first use
    side, slope, whole = SIDE, 0.0, size[0] * size[1]
    pixels, seconds = _pass(defense, size, side, device, generator)
    # At least two parts, since some of the time may be that of any image.
    while pixels < whole and (side == SIDE or seconds < ENOUGH):
        before, spent = pixels, seconds
        side *= 2
        pixels, seconds = _pass(defense, size, side, device, generator)
        slope = (seconds - spent) / (pixels - before)
    return seconds + max(0.0, slope) * (whole - pixels)


def _pass(
    defense: Defense, size: tuple[int, int], side: int, device: torch.device, generator: Generator
) -> tuple[int, float]:
    """Defend a part of an image: its pixels, and the seconds that it took."""
    height, width = min(side, size[0]), min(side, size[1])
    image = torch.rand((1, 3, height, width), generator=generator).to(device)
    begin = time.perf_counter()
    defended = defense.transform(image, defense.draw(image, generator))
    defended.sum().item()  # waits for a GPU
    return height * width, time.perf_counter() - begin
