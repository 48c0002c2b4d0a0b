"""What a folder of results says of the attacked images that are kept in it. Never imports torch.

They lie in ``DIR/images/KEY``, where KEY is the key of the cell whose attacker made them: what several cells
share is there once. ``CHUNK.json`` says what the images of a chunk are, and is written last. The images are
``INDEX.png``, rounded to 8 bits, or ``INDEX.safetensors``, as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rain.bench.cells import Cell, check_inside, read_content
from rain.bench.schema import SIDE, fault_of_kept
from rain.errors import ResultError
from rain.files import is_folder

FOLDER = "images"
"""Within the folder of the results."""

FORM = 1
"""Of the files that say what images are: raised when an older version could not read them."""

FORMS = ("png", "float")
SUFFIXES = {"png": ".png", "float": ".safetensors"}

ADVICE = "delete it, and run the grid again with --keep-images into a fresh folder"

PNG = b"\x89PNG\r\n\x1a\n"
"""How every PNG begins."""


@dataclass(frozen=True)
class Kept:
    """The attacked images of one chunk of one cell, as a file says it.

    Args:
        path: of the file.
        source: the cell whose attacker made them.
        chunk: of it.
        form: one of ``FORMS``.
        labels: of the images, by their index.
        made_by: what made them, as a result remembers it.
    """

    path: Path
    source: Cell
    chunk: int
    form: str
    labels: Mapping[int, int]
    made_by: Mapping[str, str]

    def image_path(self, index: int) -> Path:
        """Where one of the images lies. The name is made here: none is taken from a file."""
        return self.path.with_name(image_name(index, self.form))


def home_of(folder: Path, source: Cell) -> Path:
    """The folder of the images that a cell's attacker made."""
    return folder / FOLDER / source.key


def list_path(folder: Path, source: Cell, chunk: int) -> Path:
    """Where it is said what the images of a chunk are."""
    return home_of(folder, source) / f"{chunk:05d}.json"


def image_name(index: int, form: str) -> str:
    """The name of the file of one image."""
    return f"{index:08d}{SUFFIXES[form]}"


def most_bytes(values: int, form: str) -> int:
    """How large the file of an image may be that has so many values."""
    # A PNG of noise is a little larger than its pixels; a header comes on top.
    return values * (5 if form == "float" else 2) + 2**16


def most_bytes_of(kept: Kept) -> int:
    """How large each file of these images may be, where no clean image is at hand."""
    side = kept.source.size or SIDE
    return most_bytes(3 * side * side, kept.form)


def fault_of_head(content: bytes, suffix: str) -> str:
    """Say why the bytes of a file hold no image, as far as their head tells; empty where they may.

    Args:
        suffix: of the file's name, one of ``SUFFIXES``.
    """
    if suffix == SUFFIXES["png"]:
        return "" if content.startswith(PNG) else "no PNG"
    header = int.from_bytes(content[:8], "little")
    is_tensors = content[8:9] == b"{" and header <= len(content) - 8
    return "" if is_tensors else "no safetensors"


def find_kept(folder: Path) -> list[Kept]:
    """Read what a folder of results says of its kept images, as ``read_lists`` does.

    Raises:
        ResultError: also where there is no such folder, or nothing in it.
    """
    if not is_folder(folder):
        raise ResultError(f"{folder}: no such folder")
    lists = read_lists(folder)
    if not lists:
        advice = "make some by: rain run GRID --keep-images png --out DIR"
        raise ResultError(f"{folder}: no attacked images are kept in it; {advice}")
    return lists


def read_lists(folder: Path) -> list[Kept]:
    """Read what a folder of results says of its kept images, sorted; nothing if none are kept.

    Whoever sends one may have written anything into it: all of it is checked, and a name of a file is never
    taken from it.

    Raises:
        ResultError: a file is not what its name says, or a link leads out of the folder.
    """
    paths = sorted((folder / FOLDER).glob("*/[0-9]*.json"))
    if not paths:
        return []
    for place in dict.fromkeys([folder / FOLDER, *(path.parent for path in paths), *paths]):
        if place.is_symlink():
            check_inside(place, folder)
    return [read_list(folder, path) for path in paths]


def read_list(folder: Path, path: Path) -> Kept:
    """Read what is said of the images of one chunk.

    Args:
        folder: of the results.
        path: of the file.

    Raises:
        ResultError: it is not what its name says.
    """
    content = read_content(path, "list of kept images", ADVICE)
    fault = fault_of_kept(content)
    if content.get("format") != FORM and not fault:
        fault = f"its format is {content.get('format')}, and this version of rain reads {FORM}"
    if fault:
        raise ResultError(f"{path}: not a list of kept images ({fault}); {ADVICE}")
    source, chunk = Cell(**content["source"]), content["chunk"]
    labels = {row["index"]: row["label"] for row in content["images"]}
    indices = source.indices(chunk)
    belongs = chunk < source.chunks and all(index in indices for index in labels)
    if not belongs or len(labels) != len(content["images"]) or path != list_path(folder, source, chunk):
        raise ResultError(f"{path}: does not hold what its name says; {ADVICE}")
    return Kept(path, source, chunk, content["form"], labels, content["made_by"])
