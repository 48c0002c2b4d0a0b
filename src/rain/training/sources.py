"""The pictures of a training run: those that are learnt from, and those that the weights are chosen on."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from rain.errors import DatasetError
from rain.files import is_folder, to_path
from rain.images import Images, centre_crop, resize_shorter
from rain.registry import DATASETS, load_dataset
from rain.training.recipe import Config

if TYPE_CHECKING:
    from rain.datasets import Dataset


@runtime_checkable
class Labelled(Protocol):
    """A dataset that tells its labels without reading a picture."""

    @property
    def labels(self) -> tuple[int, ...]:
        """One for each picture."""
        ...


@runtime_checkable
class OfFiles(Protocol):
    """A dataset that tells which files its pictures are."""

    @property
    def root(self) -> Path:
        """The folder that they lie under."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Their paths, relative to ``root``."""
        ...


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
        self.parts = [_open(spec) for spec in specs]
        self.ends = torch.tensor([len(part) for part in self.parts]).cumsum(0).tolist()
        answers = {_has_labels(part) for part in self.parts}
        if len(answers) > 1:
            advice = "give a folder of classes as folder:PATH"
            raise DatasetError(f"{', '.join(specs)}: some have labels and some have none; {advice}")
        self.labelled = answers.pop()
        self.categories = max((part.categories for part in self.parts), key=len)
        for spec, part in zip(specs, self.parts, strict=True):
            check_same_classes(self.categories, part.categories, spec)

    def __len__(self) -> int:
        """Count the pictures."""
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image (3, H, W) in [0, 1], label; -1 without labels)."""
        number = next(number for number, end in enumerate(self.ends) if index < end)
        start = self.ends[number - 1] if number else 0
        return self.parts[number][index - start]

    def files(self) -> set[Path]:
        """List the files that the pictures are read from, of the parts that tell them."""
        of_files = [part for part in self.parts if isinstance(part, OfFiles)]
        return {Path(part.root, name).resolve() for part in of_files for name in part.files}

    def title(self) -> str:
        """Name what is in it, for a weight card."""
        titles = [_last_folders(part.name) for part in self.parts]
        return ", ".join(dict.fromkeys(titles))


def _open(spec: str) -> "Dataset":
    return load_dataset(f"pictures:{spec}" if _is_folder(spec) else spec)


def _is_folder(spec: str) -> bool:
    """Whether a spec is the path of a folder of pictures, not a dataset.

    A folder that is there is one, whatever it is called. What is not there and has a colon is a dataset, if
    one that was typed wrong.
    """
    if is_folder(to_path(spec)):
        return True
    name, _, _ = DATASETS.look_up(spec)
    return name not in DATASETS.names() and ":" not in name


def _has_labels(dataset: "Dataset") -> bool:
    # The first picture itself may be damaged.
    first = dataset.labels[0] if isinstance(dataset, Labelled) else dataset[0][1]
    return first >= 0


def _last_folders(name: str) -> str:
    """The end of a dataset's name: the last two folders of its path."""
    path = name.rpartition(":")[2].rstrip("/")
    return "/".join(path.split("/")[-2:])


def check_same_classes(categories: tuple[str, ...], others: tuple[str, ...], spec: str) -> None:
    """Check that a label means one class: class folders are numbered in each dataset anew.

    Raises:
        DatasetError: it means another one in ``spec``.
    """
    for label, (name, other) in enumerate(zip(categories, others, strict=False)):
        if name != other:
            what = f"label {label} is {other!r} there and {name!r} in another dataset of this run"
            advice = (
                "give all of them the same class folders, or say the labels by folder:PATH(labels=TABLE.csv)"
            )
            raise DatasetError(f"{spec}: {what}: {advice}")


def warn_of_shared(sources: Sources, validation: Sources) -> None:
    """Warn of validation pictures that are learnt from, too."""
    shared = len(sources.files() & validation.files())
    if shared:
        what = f"{shared} of {len(validation)} validation pictures are learnt from, too"
        why = "the weights that know them by heart will look best"
        advice = "give validation pictures that are not among images"
        warnings.warn(f"{what}: {why}; {advice}", stacklevel=2)


def validation_batch(sources: Sources, config: Config) -> tuple[Images, Tensor]:
    """Read the validation images: the first ones, or those spread over an unlabelled folder.

    Returns: the centre of each, at ``side``: (N, 3, side, side); and their labels (N,).
    """
    count = min(config.validation_images, len(sources))
    spread = [place * len(sources) // count for place in range(count)]
    pairs = [sources[index] for index in (range(count) if sources.labelled else spread)]
    resized = [resize_shorter(image[None], config.side) for image, _ in pairs]
    images = torch.cat([centre_crop(image, config.side) for image in resized])
    return images, torch.tensor([label for _, label in pairs])
