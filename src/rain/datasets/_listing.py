"""What lies in a folder of pictures, and what of it is none.

Convention:
    Folders and files that a system or a program leaves beside the user's own are no part of a dataset, at any
    depth: hidden ones (``.``), those of network stores (``@eaDir``), and those of ``SYSTEM``.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rain.errors import DatasetError
from rain.files import is_file, is_folder, leaves, to_path
from rain.pictures import SUFFIXES

SYSTEM = frozenset(
    (
        *("__macosx", "__pycache__", "lost+found", "$recycle.bin", "system volume information"),
        *("#recycle", "#snapshot", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
"""Names in small letters. Other names with underscores, as ``__background__``, may be classes."""

SHOWN = 4
"""Names that a message tells of many."""


class Listing(NamedTuple):
    """The files below a folder.

    Args:
        pictures: paths relative to the root of the dataset, with "/", sorted.
        skipped: the same, of what is no picture by its name.
    """

    pictures: list[str]
    skipped: list[str]


def existing_folder(path: str | Path, hint: str) -> Path:
    """Expand ``~`` and check that a folder is there; ``hint`` ends the error by what the folder should hold.

    Raises:
        DatasetError: it is missing, or a file.
    """
    folder = to_path(path)
    if not is_folder(folder):
        what = "not a folder" if is_file(folder) else "no such folder"
        raise DatasetError(f"{folder}: {what}; {hint}")
    return folder


def is_system(name: str) -> bool:
    """Whether a system or a program left a file or folder of this name, not the user."""
    return name.startswith((".", "@")) or name.casefold() in SYSTEM


def class_folders(root: Path) -> list[str]:
    """List the subfolders, sorted by name, without those of the system.

    Raises:
        DatasetError: the folder may not be read.
    """
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_system(path.name))
    except OSError as error:
        raise DatasetError(f"{root}: cannot be read ({error.strerror or error})") from None


def list_pictures(root: Path, folder: str = ".") -> Listing:
    """List the files below ``root / folder``, at any depth."""
    top = root / folder
    pictures: list[str] = []
    skipped: list[str] = []
    for path in top.rglob("*"):
        relative = path.relative_to(top)
        if any(map(is_system, relative.parts)):
            continue
        name = (Path(folder) / relative).as_posix()
        if path.suffix.lower() in SUFFIXES and path.is_file():
            pictures.append(name)
        elif not path.is_dir():
            skipped.append(name)
    return Listing(sorted(pictures), sorted(skipped))


def refuse_links_out(root: Path, names: Iterable[str]) -> None:
    """Raise ``DatasetError`` for a link that leads out of a dataset, which may come from somebody else.

    Args:
        root: the folder.
        names: of files, relative to it.
    """
    paths = [root / name for name in names]
    folders = {path.parent for path in paths} - {root}
    links = [path for path in paths if path.is_symlink()]
    for path in (*sorted(folders), *links):
        if leaves(path, root):
            what = f"{path}: a link that leads out of {root}"
            raise DatasetError(f"{what}: put a copy in its place, or name the folder that it leads to")


def warn_of_skipped(root: Path, skipped: Sequence[str]) -> None:
    """Warn of files that are no pictures by their names, with their number and kinds."""
    if not skipped:
        return
    kinds = Counter(Path(name).suffix.lower() or "without an ending" for name in skipped)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(SHOWN))
    files = count_of(len(skipped), "file")
    what = f"{files} skipped, as they are no pictures ({counts}): {first_of(skipped)}"
    warnings.warn(f"{root}: {what}", stacklevel=3)


def warn_of_outside(root: Path) -> None:
    """Warn of pictures that lie beside the class folders: they are of no class."""
    beside = [path.name for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    outside = sorted(name for name in beside if not is_system(name))
    if outside:
        what = f"{count_of(len(outside), 'picture')} left out, in no class folder: {first_of(outside)}"
        warnings.warn(f"{root}: {what}", stacklevel=3)


def count_of(number: int, thing: str) -> str:
    """Say how many, with the verb that follows: "1 file is", "2 files are"."""
    return f"1 {thing} is" if number == 1 else f"{number} {thing}s are"


def first_of(names: Sequence[str]) -> str:
    """Name the first ones."""
    rest = ["..."] if len(names) > SHOWN else []
    return ", ".join([*names[:SHOWN], *rest])
