"""What a training run is fed: sample number n of a run is a pure function of (recipe, n), so that a resumed run goes on with the same pictures."""

import math
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from rain.errors import DatasetError, ImageError
from rain.images import centre_crop, resize_shorter
from rain.registry import DATASETS, load_dataset
from rain.seeding import generator_for
from rain.training.recipe import Config


class Sources(TorchDataset[tuple[Tensor, int]]):
    """Several folders or datasets as one.

    Args:
        specs: a folder of pictures without labels, or the spec of a dataset; one that is listed twice counts
            twice.

    Raises:
        UnknownNameError, OptionError, DatasetError: there is no such thing, some have labels and some have
            none, or one label means two classes.
    """

    def __init__(self, specs: tuple[str, ...]):
        self.parts = [load_dataset(f"pictures:{spec}" if _is_folder(spec) else spec) for spec in specs]
        self.ends = torch.tensor([len(part) for part in self.parts]).cumsum(0).tolist()
        # The first picture itself may be damaged.
        labelled = {(part.labels[0] if hasattr(part, "labels") else part[0][1]) >= 0 for part in self.parts}
        if len(labelled) > 1:
            raise DatasetError(
                f"{', '.join(specs)}: some have labels and some have none; give a folder of classes as folder:PATH"
            )
        self.labelled: bool = labelled.pop()
        self.categories = max((part.categories for part in self.parts), key=len)
        for spec, part in zip(specs, self.parts, strict=True):
            same_classes(self.categories, part.categories, spec)

    def __len__(self) -> int:
        """Count the pictures."""
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image (3, H, W) in [0, 1], label; -1 without labels)."""
        part = next(number for number, end in enumerate(self.ends) if index < end)
        image, label = self.parts[part][index - (self.ends[part - 1] if part else 0)]
        return image, label

    def files(self) -> set[Path]:
        """The files that its pictures are read from, as far as they are known."""
        known = [part for part in self.parts if hasattr(part, "root") and hasattr(part, "files")]
        return {Path(part.root, name).resolve() for part in known for name in part.files}

    def said(self) -> str:
        """Name what is in it, for a weight card."""
        return ", ".join(
            dict.fromkeys(
                "/".join(part.name.rpartition(":")[2].rstrip("/").split("/")[-2:]) for part in self.parts
            )
        )


def _is_folder(spec: str) -> bool:
    """Whether a spec is the path of a folder of pictures, not a dataset; a folder that is there is one, whatever it is called."""
    return Path(spec).expanduser().is_dir() or DATASETS.look_up(spec)[0] not in DATASETS.names()


def warn_of_shared(sources: Sources, held: Sources) -> None:
    """Warn of validation pictures that are learnt from, too."""
    shared = len(sources.files() & held.files())
    if shared:
        what = f"{shared} of {len(held)} validation pictures are learnt from, too: the weights that know them by heart will look best"
        warnings.warn(f"{what}; give validation pictures that are not among images", stacklevel=2)


def same_classes(categories: tuple[str, ...], others: tuple[str, ...], spec: str) -> None:
    """Raise ``DatasetError`` if a label means one class here and another one there: class folders are numbered in each dataset anew."""
    for label, (name, other) in enumerate(zip(categories, others, strict=False)):
        if name != other:
            raise DatasetError(
                f"{spec}: label {label} is {other!r} there and {name!r} in another dataset of this run: give all of them the same class folders, "
                "or say the labels by folder:PATH(labels=TABLE.csv)"
            )


class Feed(TorchDataset[tuple[Tensor, int]]):
    """The endless row of a run's training samples: each pass in a new order, each picture cut and mirrored anew.

    Args:
        sources: what is learnt from.
        config: ``side``, ``augment``, ``zoom`` and ``seed`` say how.
    """

    def __init__(self, sources: Sources, config: Config):
        self.sources, self.config = sources, config
        self._order = lru_cache(2)(
            lambda epoch: torch.randperm(len(sources), generator=generator_for(config.seed, "order", epoch))
        )

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Make sample ``number`` of the run: (image (3, side, side) in [0, 1], label)."""
        epoch, place = divmod(number, len(self.sources))
        image, label = self._readable(int(self._order(epoch)[place]))
        return augmented(image, self.config, generator_for(self.config.seed, "sample", number)), label

    def _readable(self, index: int) -> tuple[Tensor, int]:
        """Read a picture; in the place of a damaged one the next that is not."""
        for place in range(len(self.sources)):
            try:
                image, label = self.sources[(index + place) % len(self.sources)]
                if min(image.shape[1:]) < 2:
                    raise ImageError(
                        f"picture {index + place} of {self.sources.said()} is of {image.shape[2]} x {image.shape[1]} pixels"
                    )
                return image, label
            except ImageError as error:
                warnings.warn(f"{error}; the next picture is learnt from in its place", stacklevel=2)
        raise DatasetError(f"{self.sources.said()}: not one picture can be read")

    def __getstate__(self) -> dict[str, object]:
        """Leave out what cannot go to a worker process."""
        return {"sources": self.sources, "config": self.config}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Make it again there."""
        self.__init__(**state)  # type: ignore[misc]


def batches(feed: Feed, first: int, last: int, rank: int, world: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Make one process's part of the batches of steps ``first`` to ``last`` (not included).

    Yields: images (batch / world, 3, side, side), or windows of them, and labels.
    """
    config = feed.config
    part = config.batch // world
    # Made one at a time: the numbers of a long run would fill gigabytes.
    numbers = (
        [step * config.batch + rank * part + place for place in range(part)] for step in range(first, last)
    )
    more = {"prefetch_factor": 4, "persistent_workers": True} if config.workers else {}
    yield from DataLoader(feed, batch_sampler=numbers, num_workers=config.workers, **more)  # type: ignore[arg-type]


def augmented(image: Tensor, config: Config, generator: Generator) -> Tensor:
    """Cut a random square of (3, H, W) for training, mirrored every other time; (3, side, side) comes back, or a window of it.

    Convention: "zoom" and "scale" leave half of the pictures as large as they are. One smaller than a "crop"
        or a "scale" is enlarged first.
    """

    def uniform() -> float:
        return float(torch.rand((), generator=generator))

    def cut(picture: Tensor, side: int) -> Tensor:
        top, left = (math.floor(uniform() * (extent - side + 1)) for extent in picture.shape[1:])
        return picture[:, top : top + side, left : left + side]

    shorter = min(image.shape[1:])
    part = 1.0 if config.augment == "crop" or uniform() < 0.5 else config.zoom + (1 - config.zoom) * uniform()
    if config.augment == "zoom":
        side = max(2, round(part * shorter))
    else:
        image = image if shorter >= config.side else resize_shorter(image[None], config.side)[0]
        side = min(round(config.side / part), max(shorter, config.side))
    piece = cut(image, side)
    piece = piece.flip(2) if uniform() < 0.5 else piece
    piece = resize_shorter(piece[None], config.side)[0]
    return cut(piece, config.window) if config.window else piece


def fixed(sources: Sources, config: Config) -> tuple[Tensor, Tensor]:
    """The validation images: the first ones (spread over an unlabelled folder), at ``side``, their centre: (N, 3, side, side), labels (N,)."""
    count = min(config.validation_images, len(sources))
    places = range(count) if sources.labelled else [place * len(sources) // count for place in range(count)]
    pairs = [sources[place] for place in places]
    images = torch.stack(
        [centre_crop(resize_shorter(image[None], config.side), config.side)[0] for image, _ in pairs]
    )
    return images, torch.tensor([label for _, label in pairs])
