"""Pictures with their labels in a CSV file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rain import imagenet
from rain.datasets import Pictures, read_table, to_label
from rain.datasets._listing import refuse_links_out
from rain.errors import DatasetError, OptionError
from rain.files import is_file, is_folder, spellings, to_path
from rain.registry import DATASETS


@DATASETS.register(argument=":PATH")
def csv(path: str, *, categories: str | None = None, licence: str | None = None) -> Pictures:
    """Pictures whose labels are in a table: a folder with labels.csv, which has the columns file and label.

    The picture files lie beside the table, or in images/.

    Args:
        path: the folder, or the CSV file itself. Its order is the dataset's.
        categories: "imagenet" names the 1000 classes of ImageNet. Otherwise a column "category" gives the
            names, if there is one.
        licence: what reports say about the terms of the pictures; by default, what a column "licence" or
            "license" holds.

    Raises:
        DatasetError: the table is missing, broken, names files that are not there or that lie outside its
            folder, or a label is not a whole number.
        OptionError: ``categories`` is something else than "imagenet".
    """
    if categories not in (None, "imagenet"):
        what = f"categories must be imagenet or left out, got {categories!r}"
        raise OptionError(f"{what}; for other names add a column category to the table")
    table = to_path(path)
    if not is_folder(table) and not is_file(table) and not table.suffix:
        needed = "write csv:PATH of a folder that holds labels.csv, or of the table itself"
        raise DatasetError(f"{table}: no such folder; {needed}")
    table = table / "labels.csv" if is_folder(table) else table
    rows = read_table(table, ("file", "label"))
    root = table.parent
    files = tuple(_file(table, row["file"]) for row in rows)
    refuse_links_out(root, files)
    labels = tuple(to_label(row["label"], f"{table}, file {row['file']}") for row in rows)
    names = imagenet.categories() if categories == "imagenet" else _categories(rows, labels)
    terms = sorted({row.get("licence") or row.get("license") or "" for row in rows} - {""})
    licence = licence or ", ".join(terms) or "not said"
    return Pictures(f"csv:{path}", root, files, labels, names, licence)


def _categories(rows: Sequence[Mapping[str, str]], labels: Sequence[int]) -> tuple[str, ...]:
    """The names in the column category; a label without one is its own name."""
    pairs = [(label, row.get("category")) for label, row in zip(labels, rows, strict=True)]
    names = {label: name for label, name in pairs if name}
    return tuple(names.get(label, str(label)) for label in range(max(labels) + 1)) if names else ()


def _file(table: Path, name: str) -> str:
    relative = Path(name)
    # A table may come from elsewhere: it must not make us read, and later show, what lies outside its folder.
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{table}: {name!r} leaves the folder; write paths relative to it")
    for spelling in spellings(name):
        for candidate in (Path(spelling), "images" / Path(spelling)):
            if is_file(table.parent / candidate):
                return candidate.as_posix()
    what = f"{name!r} is neither beside the table nor in images/"
    raise DatasetError(f"{table}: {what}; add the file or delete its line")
