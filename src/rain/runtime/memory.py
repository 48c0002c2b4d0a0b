"""The device to compute on, and how much goes into its memory at a time."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from rain.errors import OptionError

IMAGE_BYTES = 7 * 2**30 / 60
"""Memory of one image and draw in a gradient step: measured with EfficientNet-Lite0 and RAIN at 224x224."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says what a container may use: a number, or "max"."""

SHARE = 0.5
"""The share of a device's memory that a batch may fill. Networks differ, and others compute here, too."""


@dataclass(frozen=True)
class Batches:
    """How many images go through a model at a time.

    Attack pieces have draws of their own, so that other batches give other draws, and the same figures up to
    noise.

    Args:
        attack: images times EOT draws in one gradient step of an attack.
        eot: images in one forward pass of these.

    Raises:
        OptionError: one of them is below 1.
    """

    attack: int = 60
    eot: int = 40

    def __post_init__(self) -> None:
        if min(self.attack, self.eot) < 1:
            raise OptionError(f"batches must be at least 1, got attack = {self.attack} and eot = {self.eot}")

    @classmethod
    def fitting(cls, device: torch.device, attack: int | None = None, eot: int | None = None) -> Self:
        """The given numbers; in the place of None the defaults, or fewer where the memory is small.

        Never more by itself: networks differ in what an image takes, and other batches give other draws.
        """
        room = max(1, int(SHARE * memory_bytes(device) / IMAGE_BYTES))
        attack = min(cls.attack, room) if attack is None else attack
        return cls(attack, max(1, attack * cls.eot // cls.attack) if eot is None else eot)


def memory_bytes(device: torch.device) -> int:
    """All the memory of a GPU; of any other device what the machine, or the container, may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        machine = 16 * 2**30
    try:
        container = CONTAINER_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(container)) if container.isdigit() else machine


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; without a name a GPU if there is one.

    Raises:
        OptionError: there is no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(
            f"device {str(name)!r} cannot be used here: {reason}; leave it out, or take cpu"
        ) from None
    return device


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next large tensors: a gradient step takes a third less time."""
    if sys.platform != "linux":
        return
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # the numbers of malloc.h
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(mmap_threshold, 2**30)
        library.mallopt(trim_threshold, 2**31 - 1)
