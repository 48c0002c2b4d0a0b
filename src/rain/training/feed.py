"""What a training run is fed.

Sample number n of a run is a pure function of (recipe, n): a resumed run goes on with the same pictures.
"""

import math
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from rain.errors import DatasetError, ImageError
from rain.images import Images, resize_shorter
from rain.seeding import generator_for
from rain.training.recipe import Config
from rain.training.sources import Sources


class Feed(TorchDataset[tuple[Tensor, int]]):
    """The endless row of a run's training samples: each pass in a new order, each picture cut anew.

    Args:
        sources: what is learnt from.
        config: ``side``, ``augment``, ``zoom`` and ``seed`` say how.
    """

    def __init__(self, sources: Sources, config: Config):
        self.sources, self.config = sources, config

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Make sample ``number`` of the run: (image (3, side, side) in [0, 1], label)."""
        seed, count = self.config.seed, len(self.sources)
        epoch, place = divmod(number, count)
        image, label = self._readable(int(order(count, seed, epoch)[place]))
        return augmented(image, self.config, generator_for(seed, "sample", number)), label

    def _readable(self, index: int) -> tuple[Tensor, int]:
        """Read a picture; in the place of a damaged one the next that is not."""
        for later in range(len(self.sources)):
            try:
                return self.read((index + later) % len(self.sources))
            except ImageError as error:
                warnings.warn(f"{error}; the next picture is learnt from in its place", stacklevel=2)
        raise DatasetError(f"{self.sources.title()}: not one picture can be read")

    def read(self, index: int) -> tuple[Tensor, int]:
        """Read picture ``index`` of the sources as it is, and its label.

        Raises:
            ImageError: it is damaged, or too small to learn from.
        """
        image, label = self.sources[index]
        height, width = image.shape[1:]
        if min(height, width) < 2:
            picture = f"picture {index} of {self.sources.title()}"
            raise ImageError(f"{picture} is of {width} x {height} pixels")
        return image, label


@lru_cache(maxsize=2)
def order(count: int, seed: int, epoch: int) -> Tensor:
    """Draw the order in which one pass shows ``count`` pictures."""
    return torch.randperm(count, generator=generator_for(seed, "order", epoch))


def batches(feed: Feed, first: int, last: int, rank: int, world: int) -> Iterator[tuple[Images, Tensor]]:
    """Make one process's part of the batches of steps ``first`` to ``last`` (not included).

    Yields: images (batch / world, 3, side, side), or windows of them, and labels.
    """
    config = feed.config
    part = config.batch // world
    # Made one at a time: the numbers of a long run would fill gigabytes.
    starts = (step * config.batch + rank * part for step in range(first, last))
    numbers = (list(range(start, start + part)) for start in starts)
    options: dict[str, Any] = {"num_workers": config.workers}
    if config.workers:
        options |= {"prefetch_factor": 4, "persistent_workers": True}
    yield from DataLoader(feed, batch_sampler=numbers, **options)


def augmented(image: Tensor, config: Config, generator: Generator) -> Tensor:
    """Cut a random square of (3, H, W) for training, mirrored every other time.

    Returns: (3, side, side), or a window of it.

    Convention: "zoom" and "scale" leave half of the pictures as large as they are. One smaller than a "crop"
        or a "scale" is enlarged first.
    """

    def uniform() -> float:
        return float(torch.rand((), generator=generator))

    def cut(picture: Tensor, side: int) -> Tensor:
        top, left = (math.floor(uniform() * (extent - side + 1)) for extent in picture.shape[1:])
        return picture[:, top : top + side, left : left + side]

    shorter = min(image.shape[1:])
    share = 1.0
    if config.augment != "crop" and uniform() >= 0.5:
        share = config.zoom + (1 - config.zoom) * uniform()
    if config.augment == "zoom":
        side = max(2, round(share * shorter))
    else:
        image = image if shorter >= config.side else resize_shorter(image[None], config.side)[0]
        side = min(round(config.side / share), max(shorter, config.side))
    square = cut(image, side)
    if uniform() < 0.5:
        square = square.flip(2)
    square = resize_shorter(square[None], config.side)[0]
    return cut(square, config.window) if config.window else square
