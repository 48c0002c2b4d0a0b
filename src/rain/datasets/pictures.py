"""Pictures without labels: every picture below a folder."""

from rain.datasets import Pictures, existing_folder, picture_files
from rain.registry import DATASETS

NO_LABEL = -1


@DATASETS.register(argument=":PATH")
def pictures(path: str, *, licence: str = "not said") -> Pictures:
    """Every picture below a folder, without labels: to train on, not to measure accuracy with.

    Args:
        path: the folder; deeper folders are searched too, and the pictures sorted by path.
        licence: what cards say about the terms of the pictures.

    Raises:
        DatasetError: the folder is missing, or holds no pictures.
    """
    root = existing_folder(path, "it must hold pictures")
    files = tuple(picture_files(root, "."))
    return Pictures(f"pictures:{path}", root, files, (NO_LABEL,) * len(files), (), licence)
