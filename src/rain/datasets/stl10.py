"""STL-10: 96x96 pictures in ten classes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rain.errors import DatasetError, OptionError
from rain.files import to_path
from rain.registry import DATASETS

SPLITS = ("test", "train")
SIDE = 96
FOLDER = "stl10_binary"
HOME = "cs.stanford.edu/~acoates/stl10"


@DATASETS.register(argument=":ROOT")
class Stl10:
    """STL-10 (Coates, Lee and Ng, 2011): 8000 test or 5000 labelled training pictures, 96x96, ten classes.

    Args:
        root: the folder that holds ``stl10_binary``, as for torchvision's STL10.
        split: "test" or "train".
        download: let torchvision fetch the archive (2.6 GB) if the files are missing.

    Raises:
        DatasetError: the files are missing or damaged; says how to get them.
        OptionError: no such split.

    Differs: the files are read here, since torchvision checks the 2.7 GB of unlabelled pictures each time it
        opens any split.
    """

    licence = "not said; the pictures were drawn from ImageNet"

    def __init__(self, root: str, *, split: str = "test", download: bool = False):
        if split not in SPLITS:
            raise OptionError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.name = f"stl10 ({split})"
        folder = to_path(root) / FOLDER
        if download and not (folder / f"{split}_X.bin").is_file():
            _download(folder.parent, split)
        names = (f"{split}_X.bin", f"{split}_y.bin", "class_names.txt")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            advice = f"pass download=True (2.6 GB), or unpack there stl10_binary.tar.gz from {HOME}"
            raise DatasetError(f"{folder}: no {', '.join(missing)}; {advice}")
        self.categories = tuple((folder / "class_names.txt").read_text(encoding="utf-8").split())
        self._folder, self._split = folder, split
        self._pixels, self._labels = _read(folder, split, len(self.categories))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pictures where they are: another process maps the file again."""
        return {**vars(self), "_pixels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the pictures."""
        vars(self).update(state)
        self._pixels, self._labels = _read(self._folder, self._split, len(self.categories))

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image, label); raise ``IndexError`` past the end."""
        # The file holds columns of pixels, not rows.
        pixels = torch.from_numpy(self._pixels[index].copy()).transpose(1, 2)
        return pixels.contiguous().float() / 255, int(self._labels[index]) - 1

    def digest(self) -> str:
        """Identify the data: the first 16 hex digits of a SHA-256.

        Convention: over the bytes of the labels and then of the pictures.
        """
        return hashlib.sha256(self._labels.tobytes() + self._pixels.tobytes()).hexdigest()[:16]


def _download(root: Path, split: str) -> None:
    from torchvision.datasets import STL10

    try:
        STL10(str(root), split=split, download=True)
    except (OSError, RuntimeError) as error:
        advice = f"unpack stl10_binary.tar.gz from {HOME} in {root}"
        raise DatasetError(f"STL-10 could not be fetched ({error}); {advice}") from error


def _read(folder: Path, split: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read pictures (N, 3, 96, 96), column by column, and labels (N,), from 1.

    Raises:
        DatasetError: the two files do not belong together.
    """
    labels = np.fromfile(folder / f"{split}_y.bin", dtype=np.uint8)
    size = (folder / f"{split}_X.bin").stat().st_size
    if size == 0 or size != len(labels) * 3 * SIDE * SIDE or labels.min() < 1 or labels.max() > classes:
        what = f"{split}_X.bin and {split}_y.bin do not belong together"
        raise DatasetError(f"{folder}: {what}; delete them and unpack the archive again")
    # Mapped, not loaded: the test split has 221 MB.
    shape = (len(labels), 3, SIDE, SIDE)
    return np.memmap(folder / f"{split}_X.bin", dtype=np.uint8, mode="r", shape=shape), labels
