"""The pictures of a run in a device's memory: decoded once, as bytes.

Values are kept as the nearest of 256 levels, which is what picture files of 8 bits hold.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from rain.errors import DatasetError, ImageError

LARGEST_SIDE = 1024
"""Larger pictures stay in their files: a batch of them would fill gigabytes."""

Read = Callable[[int], tuple[Tensor, int]]
"""Picture number n: (image (3, H, W) in [0, 1], label)."""


@dataclass(frozen=True)
class Store:
    """Pictures on a device.

    Args:
        pixels: (M, 3, H, W), uint8; each picture stands at the top left of its place.
        sizes: (M, 2), float32: height and width of each.
        labels: (M,), -1 where there are none.
        places: (N,), which of the M pictures number n of the run's sources is.
    """

    pixels: Tensor
    sizes: Tensor
    labels: Tensor
    places: Tensor


def open_store(read: Read, names: list[int], device: torch.device, room: int) -> Store | None:
    """Decode pictures, and keep them on a device.

    Args:
        read: gives each picture.
        names: for each number of the run's sources the number of the picture that it is: those of a source
            that is listed twice are read once.
        device: that keeps them.
        room: bytes that they may fill there.

    Returns: None where they do not fit, or are larger than ``LARGEST_SIDE``.

    Raises:
        DatasetError: not one can be read.
    """
    numbers = sorted(set(names))
    images: dict[int, Tensor] = {}
    labels: dict[int, int] = {}
    height = width = 0
    for number, image, label in _decoded(read, numbers):
        if image is None:
            continue
        images[number], labels[number] = image, label
        height, width = max(height, image.shape[1]), max(width, image.shape[2])
        if max(height, width) > LARGEST_SIDE or 3 * height * width * len(numbers) > room:
            return None
    if not images:
        raise DatasetError("not one of the pictures to learn from can be read")
    kept = list(images)
    pixels = torch.zeros((len(kept), 3, height, width), dtype=torch.uint8)
    for place, number in enumerate(kept):
        image = images[number]
        pixels[place, :, : image.shape[1], : image.shape[2]] = image
    place_of = _next_readable(numbers, {number: place for place, number in enumerate(kept)})
    return Store(
        pixels=pixels.to(device),
        sizes=torch.tensor([images[number].shape[1:] for number in kept], dtype=torch.float32).to(device),
        labels=torch.tensor([labels[number] for number in kept]).to(device),
        places=torch.tensor([place_of[name] for name in names]).to(device),
    )


def _decoded(read: Read, numbers: list[int]) -> Iterator[tuple[int, Tensor | None, int]]:
    """Decode pictures by several threads: number, bytes (3, H, W) and label; None of a damaged one."""

    def decode(number: int) -> tuple[int, Tensor | None, int, str]:
        try:
            image, label = read(number)
        except ImageError as error:
            return number, None, -1, str(error)
        return number, (image * 255).round().to(torch.uint8), label, ""

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        for number, image, label, problem in threads.map(decode, numbers):
            if problem:
                what = "the next picture is learnt from in its place"
                warnings.warn(f"{problem}; {what}", stacklevel=2)
            yield number, image, label


def _next_readable(numbers: list[int], places: dict[int, int]) -> dict[int, int]:
    """Where each picture is; of a damaged one the place of the next that is not."""
    answer: dict[int, int] = {}
    place = places[next(number for number in numbers if number in places)]
    for number in reversed(numbers):
        place = places.get(number, place)
        answer[number] = place
    return answer
