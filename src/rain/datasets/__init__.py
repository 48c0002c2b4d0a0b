"""Datasets: ordered (image, label) pairs that are read when asked for. One file each.

Images are float32 (3, H, W), RGB in [0, 1], each at its own size; labels are the indices of the classifier's
logits.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence

# Not "import csv": that name becomes our own csv.py as soon as it is loaded.
from csv import DictReader
from csv import Error as CsvError
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Protocol

from torch import Tensor

from rain.errors import DatasetError
from rain.files import identify, not_utf8, open_regular
from rain.pictures import SUFFIXES, read_image

SMALL_BYTES = 256 * 2**20

MOST_COLUMNS = 1000
"""Of a table. Each row has a value for each."""


class Dataset(Protocol):
    """What the package asks of a dataset; third parties need not inherit from it."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def licence(self) -> str:
        """The terms of the pictures, or "not said"."""
        ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the classes by label; empty if they are not known."""
        ...

    def __len__(self) -> int:
        """Count the pictures."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image, label); raise ``IndexError`` past the end. The order never changes."""
        ...

    def digest(self) -> str:
        """Identify the data: the first 16 hex digits of a SHA-256."""
        ...


@dataclass(frozen=True)
class Pictures:
    """A dataset of image files.

    Args:
        name: what reports call it.
        root: the folder that the files lie under.
        files: paths relative to ``root``, with "/", in the order of the dataset.
        labels: one for each file.
        categories: the names of the classes by label; empty if unknown.
        licence: the terms of the pictures.

    Raises:
        DatasetError: there are no files, or a label has no category.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    categories: tuple[str, ...] = ()
    licence: str = "not said"

    def __post_init__(self) -> None:
        if not self.files:
            endings = ", ".join(sorted(SUFFIXES))
            raise DatasetError(f"{self.root}: no pictures; the file names must end in {endings}")
        if self.categories and max(self.labels) >= len(self.categories):
            what = f"label {max(self.labels)} is past the {len(self.categories)} categories"
            raise DatasetError(f"{self.root}: {what}")

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image, label).

        Raises:
            IndexError: past the end.
            ImageError: the file is damaged.
        """
        return read_image(self.root / self.files[index]), self.labels[index]

    def digest(self) -> str:
        """Identify the data: the first 16 hex digits of a SHA-256.

        Convention: over each file's relative name, label, size and content.

        Differs: of a set larger than 256 MiB (``SMALL_BYTES``) the contents are left out, since reading them
            takes minutes.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        paths = [self.root / name for name in self.files]
        sizes = [path.stat().st_size for path in paths]
        small = sum(sizes) <= SMALL_BYTES
        total = hashlib.sha256()
        for path, name, label, size in zip(paths, self.files, self.labels, sizes, strict=True):
            total.update(identify(f"{name}\0{label}\0{size}\n"))
            total.update(path.read_bytes() if small else b"")
        return total.hexdigest()[:16]


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header, in UTF-8.

    Args:
        path: of the file.
        columns: the ones that must be there, with a value in every row; others are read too.

    Raises:
        DatasetError: the file is missing, is not such a table, is empty, or lacks a column or a value.
    """
    needs = f"it needs a first line with the columns {', '.join(columns)} and one line for each entry"
    rows: list[dict[str, str]] = []
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            reader = DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or [], columns, needs)
            for number, row in enumerate(reader, 1):
                _check_row(path, row, number, columns)
                rows.append(row)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; {needs}") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: {not_utf8(error)}; {needs}") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); {needs}") from None
    except CsvError as error:
        raise DatasetError(f"{path}: not a CSV file ({error}); {needs}") from None
    if not rows:
        raise DatasetError(f"{path}: no entries; {needs}")
    return rows


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str], needs: str) -> None:
    """Raise ``DatasetError`` for a header without the columns.

    It shows of the file only what is nearly the name of a column: whoever may name a path to somebody else's
    program must not learn the first line of any file.
    """
    if len(header) > MOST_COLUMNS:
        raise DatasetError(f"{path}: {len(header)} columns are too many for a table; {needs}")
    for column in columns:
        if column not in header:
            count = f"{len(header)} column" + ("" if len(header) == 1 else "s")
            what = f"no column {column!r} in its first line, which has {count}"
            raise DatasetError(f"{path}: {what}{_near(column, header)}{_separator(header)}; {needs}")


def _near(column: str, header: Sequence[str]) -> str:
    """Name the column that may be meant, which is written nearly the same."""
    plain = {name.strip().lower(): name for name in header}
    near = get_close_matches(column, plain, n=1, cutoff=0.75)
    return f"; {plain[near[0]]!r} must be {column!r}" if near else ""


def _check_row(path: Path, row: Mapping[str, str], number: int, columns: Sequence[str]) -> None:
    """Raise ``DatasetError`` for an entry without a value; of the first one, so that no more are kept."""
    for column in columns:
        if not row[column]:
            raise DatasetError(f"{path}: entry {number} (about line {number + 1}) has no {column}")


def _separator(header: Sequence[str]) -> str:
    """What a header of one column is told, which others share by another sign than a comma."""
    for sign in (";", "\t", "|"):
        if len(header) == 1 and sign in header[0]:
            return f"; they are separated by {sign!r}, and must be by commas"
    return ""


def to_label(text: str, where: str) -> int:
    """Read a label; ``where`` begins the error.

    Raises:
        DatasetError: not a whole number from 0, or more than any classifier has classes.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        needed = "a whole number from 0 to 999999, the index of the classifier's logit"
        raise DatasetError(f"{where}: label {text!r} must be {needed}")
    return int(digits)
