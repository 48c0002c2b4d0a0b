"""A folder with one subfolder for each class."""

import re
from itertools import zip_longest
from pathlib import Path

from rain import imagenet
from rain.datasets import Pictures, class_folders, existing_folder, picture_files, read_table, to_label
from rain.errors import DatasetError
from rain.registry import DATASETS

LAYOUT = "it must hold one subfolder of pictures for each class"

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
            within a class, pictures are sorted by path, and deeper folders are searched too.
        labels: which label a subfolder gets.
            "auto": "imagenet" if all subfolders are named like WordNet ids (n01440764), else "sorted".
            "sorted": its place in the sorted list, as in torchvision's ImageFolder.
            "imagenet": ImageNet's index; known for all 1000 classes together and for the ten of Imagenette.
            Anything else is the path of a CSV file with the columns folder, label and, if you like, category.
        licence: what reports say about the terms of the pictures.

    Raises:
        DatasetError: the folder or the CSV file is missing, empty, or does not give every subfolder a label.
    """
    root = existing_folder(path, LAYOUT)
    folders = class_folders(root)
    if not folders:
        raise DatasetError(f"{root}: no subfolders; {LAYOUT}, or use csv:{path} with a labels.csv")
    by_folder, categories = _labels(root, folders, labels)
    classes = [[(file, by_folder[name]) for file in picture_files(root, name)] for name in folders]
    # Class by class, the first hundred images of ImageNet would be two classes.
    pairs = [pair for turn in zip_longest(*classes) for pair in turn if pair]
    files, numbers = tuple(file for file, _ in pairs), tuple(label for _, label in pairs)
    return Pictures(f"folder:{path}", root, files, numbers, categories, licence)


def _labels(root: Path, folders: list[str], labels: str) -> tuple[dict[str, int], tuple[str, ...]]:
    wordnet = all(re.fullmatch(r"n\d{8}", name) for name in folders)
    if labels == "sorted" or (labels == "auto" and not wordnet):
        return {name: label for label, name in enumerate(folders)}, tuple(folders)
    if labels not in ("auto", "imagenet"):
        return _labels_from(Path(labels).expanduser(), folders)
    by_folder = IMAGENETTE
    if wordnet and len(folders) == 1000:
        # ImageNet numbers its classes in the order of their WordNet ids.
        by_folder = dict(zip(folders, range(1000), strict=True))
    without = [name for name in folders if name not in by_folder]
    if without:
        what = f"no ImageNet label known for {_first_four(without)}"
        table = "labels=PATH of a CSV file with the columns folder,label"
        raise DatasetError(f"{root}: {what}; give {table}, or labels=sorted for 0, 1, 2, ...")
    return by_folder, imagenet.categories()


def _labels_from(table: Path, folders: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    rows = read_table(table, ("folder", "label"))
    by_folder = {row["folder"]: to_label(row["label"], f"{table}, folder {row['folder']}") for row in rows}
    without = [name for name in folders if name not in by_folder]
    if without:
        what = f"no label for the folders {_first_four(without)}"
        raise DatasetError(f"{table}: {what}; add a line for each")
    names = {by_folder[row["folder"]]: row.get("category") or row["folder"] for row in rows}
    return by_folder, tuple(names.get(label, str(label)) for label in range(max(names) + 1))


def _first_four(names: list[str]) -> str:
    return ", ".join([*names[:4], "..."] if len(names) > 4 else names)
