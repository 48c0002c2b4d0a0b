"""A folder with one subfolder for each class."""

import re
import warnings
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from rain import imagenet
from rain.datasets import Pictures, read_table, to_label
from rain.datasets._listing import (
    class_folders,
    existing_folder,
    first_of,
    list_pictures,
    refuse_links_out,
    warn_of_outside,
    warn_of_skipped,
)
from rain.errors import DatasetError
from rain.files import comparable, to_path
from rain.registry import DATASETS

LAYOUT = "it must hold one subfolder of pictures for each class"
TABLE = "labels=PATH of a CSV file with the columns folder,label"

WORDNET = re.compile(r"n\d{8}")
"""A folder of ImageNet is named so."""

SPLITS = {"train", "training", "val", "valid", "validation", "test"}
"""What is no class but a part of a dataset."""

# The ten classes of Imagenette. A subset says nothing about where its other members would stand, so these are
# known by heart.
IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


@DATASETS.register(argument=":PATH")
def folder(path: str, *, labels: str = "auto", licence: str = "not said") -> Pictures:
    """Pictures in one subfolder for each class; folders named after ImageNet classes get ImageNet's labels.

    Args:
        path: the folder. Classes take turns, so that the first n pictures are of as many classes as possible;
            within a class, pictures are sorted by path, and deeper folders are searched too. Folders of the
            system (``__MACOSX``, ``@eaDir``, hidden ones) are not. A subfolder without pictures is no class,
            and a file that is no picture by its name is skipped: of both there is a warning.
        labels: which label a subfolder gets.
            "auto": "imagenet" if all subfolders are named like WordNet ids (n01440764), "sorted" if none is.
            "sorted": its place in the sorted list of those that hold pictures, as in torchvision's
            ImageFolder.
            "imagenet": ImageNet's index; known for all 1000 classes together and for the ten of Imagenette.
            Anything else is the path of a CSV file with the columns folder, label and, if you like, category.
        licence: what reports say about the terms of the pictures.

    Raises:
        DatasetError: the folder or the CSV file is missing, empty, or does not give every subfolder a label;
            a link leads out of the folder; or some subfolders are named like WordNet ids and some are not,
            and ``labels`` is "auto".
    """
    root = existing_folder(path, f"{LAYOUT}; a table of labels is csv:PATH")
    folders = class_folders(root)
    if not folders:
        raise DatasetError(f"{root}: no subfolders; {LAYOUT}, or use csv:{path} with a labels.csv")
    listings = [list_pictures(root, name) for name in folders]
    refuse_links_out(root, [file for listing in listings for file in listing.pictures])
    filled = [name for name, listing in zip(folders, listings, strict=True) if listing.pictures]
    by_folder, categories = _labels(root, folders, filled, labels)
    if filled:
        _warn_of_classes(root, folders, filled, _are_numbered(filled, labels))
        warn_of_skipped(root, [file for listing in listings for file in listing.skipped])
        warn_of_outside(root)
    classes = []
    for name, listing in zip(folders, listings, strict=True):
        classes.append([(file, by_folder[name]) for file in listing.pictures])
    # Class by class, the first hundred images of ImageNet would be two classes.
    pairs = [pair for turn in zip_longest(*classes) for pair in turn if pair]
    files, numbers = tuple(file for file, _ in pairs), tuple(label for _, label in pairs)
    return Pictures(f"folder:{path}", root, files, numbers, categories, licence)


Labels = tuple[dict[str, int], tuple[str, ...]]
"""A label for each folder, and the names of the classes by label."""


def _labels(root: Path, folders: Sequence[str], filled: Sequence[str], labels: str) -> Labels:
    """Label the folders that hold pictures; ``folders`` are all of them."""
    wordnet = [name for name in filled if WORDNET.fullmatch(name)]
    others = [name for name in filled if name not in wordnet]
    if labels == "auto" and wordnet and others:
        some = f"{len(wordnet)} of {len(filled)} folders are named like ImageNet's ({first_of(wordnet)})"
        rest = f"and {len(others)} are not ({first_of(others)})"
        advice = f"move those out, or say what the labels are: labels=sorted for 0, 1, 2, ..., or {TABLE}"
        raise DatasetError(f"{root}: {some}, {rest}; {advice}")
    if _are_numbered(filled, labels):
        return {name: label for label, name in enumerate(filled)}, tuple(filled)
    if labels not in ("auto", "imagenet"):
        return _labels_from(to_path(labels), filled)
    by_folder = IMAGENETTE
    thousand = [name for name in folders if WORDNET.fullmatch(name)]
    if len(thousand) == 1000:
        # ImageNet numbers its classes in the order of their WordNet ids.
        by_folder = dict(zip(thousand, range(1000), strict=True))
    without = [name for name in filled if name not in by_folder]
    if without:
        what = f"no ImageNet label known for {first_of(without)}"
        raise DatasetError(f"{root}: {what}; give {TABLE}, or labels=sorted for 0, 1, 2, ...")
    return by_folder, imagenet.categories()


def _are_numbered(filled: Sequence[str], labels: str) -> bool:
    """Whether a label is a place in the list of the folders."""
    return labels == "sorted" or (labels == "auto" and not any(map(WORDNET.fullmatch, filled)))


def _labels_from(table: Path, filled: Sequence[str]) -> Labels:
    """Look the labels up in a table, whatever way its letters are composed."""
    rows = read_table(table, ("folder", "label"))
    by_name: dict[str, int] = {}
    names: dict[int, str] = {}
    for row in rows:
        label = to_label(row["label"], f"{table}, folder {row['folder']}")
        by_name[comparable(row["folder"])] = label
        names[label] = row.get("category") or row["folder"]
    without = [name for name in filled if comparable(name) not in by_name]
    if without:
        what = f"no label for the folders {first_of(without)}"
        raise DatasetError(f"{table}: {what}; add a line for each")
    by_folder = {name: by_name[comparable(name)] for name in filled}
    return by_folder, tuple(names.get(label, str(label)) for label in range(max(names) + 1))


def _warn_of_classes(root: Path, folders: Sequence[str], filled: Sequence[str], numbered: bool) -> None:
    """Warn of folders without pictures, and of folders that are no classes."""
    empty = [name for name in folders if name not in filled]
    if empty:
        what = f"{len(empty)} of {len(folders)} class folders without pictures ({first_of(empty)})"
        rest = f"; the others are numbered without them, unless you give {TABLE}" if numbered else ""
        warnings.warn(f"{root}: {what}{rest}", stacklevel=3)
    if (root / "labels.csv").is_file() and numbered:
        what = f"labels.csv is not read, and the folders are numbered ({first_of(filled)})"
        warnings.warn(f"{root}: {what}; to read it write csv:{root}, or labels=PATH", stacklevel=3)
    if len(filled) > 1 and {name.casefold() for name in filled} <= SPLITS:
        what = f"{first_of(filled)} look like parts of a dataset, and are taken as classes"
        warnings.warn(f"{root}: {what}; one part is folder:{root / filled[0]}", stacklevel=3)
