"""Pictures without labels: every picture below a folder."""

from rain.datasets import Pictures
from rain.datasets._listing import existing_folder, list_pictures, refuse_links_out, warn_of_skipped
from rain.registry import DATASETS

NO_LABEL = -1


@DATASETS.register(argument=":PATH")
def pictures(path: str, *, licence: str = "not said") -> Pictures:
    """Every picture below a folder, without labels: to train on, not to measure accuracy with.

    Args:
        path: the folder; deeper folders are searched too, and the pictures sorted by path. Folders of the
            system and hidden ones are not, and files that are no pictures by their names are skipped with a
            warning.
        licence: what cards say about the terms of the pictures.

    Raises:
        DatasetError: the folder is missing, holds no pictures, or a link leads out of it.
    """
    root = existing_folder(path, "it must hold pictures")
    listing = list_pictures(root)
    files = tuple(listing.pictures)
    refuse_links_out(root, files)
    warn_of_skipped(root, listing.skipped)
    return Pictures(f"pictures:{path}", root, files, (NO_LABEL,) * len(files), (), licence)
