"""Whether the labels of a dataset are those of a classifier."""

import warnings
from typing import TYPE_CHECKING

from torch import Tensor

from rain.bench.cells import Cell
from rain.errors import DatasetError
from rain.specs import parse

if TYPE_CHECKING:
    from rain.datasets import Dataset


def check_labels(cell: Cell, labels: Tensor, classes: int) -> None:
    """Raise ``DatasetError`` for images without labels, or a label that is none of the classifier's."""
    if int(labels.min()) < 0:
        raise DatasetError(
            f"{cell.dataset} has no labels: it is for training; to measure, give folder:PATH or csv:PATH"
        )
    if int(labels.max()) >= classes:
        what = f"{cell.dataset} has label {int(labels.max())}, {cell.classifier} {classes} classes"
        raise DatasetError(f"{what}: they do not belong together; {labels_advice(cell.dataset)}")


def labels_advice(dataset: str) -> str:
    """Say how the labels of a dataset are made to fit a classifier."""
    spec, _ = parse(dataset)
    if spec.startswith("folder:"):
        numbered = f"{spec}(labels=sorted) numbers its folders 0, 1, 2, ..."
        return f"{numbered}; labels=PATH takes them from a CSV file with the columns folder,label"
    return "a label is the number of the classifier's logit, from 0"


def warn_of_other_classes(cell: Cell, dataset: "Dataset", classes: int) -> None:
    """Warn of a dataset that numbers classes of its own, before a classifier that has more of them."""
    spec, options = parse(cell.dataset)
    kind, _, _ = spec.partition(":")
    labels = options.get("labels", "auto")
    count = len(dataset.categories)
    # Who writes a table says the labels himself; its names need not be those of all classes.
    if kind == "csv" or labels not in ("auto", "sorted") or not 0 < count < classes:
        return
    first, last = dataset.categories[0], dataset.categories[-1]
    what = f"{cell.dataset} has {count} classes, labelled 0 ({first}) to {count - 1} ({last})"
    other = f"{cell.classifier} has {classes}, of which the first {count} will be others"
    advice = "say the labels in a table, by csv:PATH"
    if kind == "folder":
        wordnet = "name the folders by WordNet ids (n01440764) for ImageNet's labels"
        advice = f"{wordnet}, or say the labels by labels=PATH of a CSV file with the columns folder,label"
    warnings.warn(f"{what}, and {other}: {advice}", stacklevel=2)
