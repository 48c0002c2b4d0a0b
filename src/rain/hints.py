"""What is said of a name that nothing stands for: what was meant, most likely. Never imports torch."""

from collections.abc import Iterable

from rain.errors import did_you_mean, shown
from rain.files import is_file, is_folder, to_path

PICTURES = (
    "your own pictures are folder:PATH (a subfolder for each class), csv:PATH (with labels.csv) or "
    "pictures:PATH (without labels)"
)
CLASSIFIER = "others' networks are torchvision/NAME and timm/NAME, your own is PACKAGE.MODULE:FUNCTION"


def unknown(kind: str, head: str, name: str, names: Iterable[str]) -> str:
    """Say that there is no such entry.

    Args:
        kind: of the entry, as ``Registry`` calls it.
        head: what was written, without options.
        name: the part of it that should name an entry.
        names: of all entries.
    """
    hints = [f"no {kind} {shown(head)}", did_you_mean(name.partition(":")[0], names)]
    if kind == "dataset":
        hints.append(_as_dataset(head))
    if kind == "classifier":
        hints.append(CLASSIFIER)
    if ":" in name:
        hints.append(f"your own is found by an entry point in the group 'rain.{kind}s'")
    return "; ".join(hints).replace("?;", "?")


def _as_dataset(head: str) -> str:
    """Say how a dataset is written that may be meant by its path alone."""
    path = to_path(head)
    if path.suffix.lower() == ".csv" or is_file(path / "labels.csv"):
        return f"for the table write csv:{head}"
    if not is_folder(path):
        return PICTURES
    try:
        has_folders = any(map(is_folder, path.iterdir()))
    except OSError:  # it may not be read
        return PICTURES
    return f"for the folder write {'folder' if has_folders else 'pictures'}:{head}"
