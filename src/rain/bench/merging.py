"""Put folders of results together: the shards of one grid, each done somewhere else. Never imports torch.

Whoever sends a folder may have written anything into it: a file is copied if the report would read it, and no
other. Nothing is copied before all folders have been looked at.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rain.bench import certificates, proofs
from rain.bench.cells import Chunk, Result, check_inside, chunk_files, make_folder, read_chunk, write_file
from rain.bench.provenance import FACTS, Difference, Fact, differences
from rain.bench.schema import FILE_BYTES, GALLERY_BYTES
from rain.errors import ResultError, shown
from rain.files import is_folder, read_foreign

GALLERY = "gallery.npz"
"""Beside the chunks of a cell."""

IMAGES = "images"
"""Where the attacked images are that a run kept (``rain.bench.kept``)."""

ALONE = ("rain", "revision")
"""Facts of which results that belong together have one value, besides those that a run refuses."""

BESIDE: tuple[tuple[str, Callable[[Path], Iterable[Any]]], ...] = (
    (certificates.FOLDER, certificates.load_certified),
    (proofs.FOLDER, proofs.load),
)
"""What may stand beside the results: its folder, and what reads all of it, or raises."""


@dataclass(frozen=True)
class Merged:
    """What came of putting folders together.

    Args:
        chunks: that are in the folder now.
        fresh: those of them that were not there before.
        missing: chunks of the same cells that are in none of the folders.
    """

    chunks: int
    fresh: int
    missing: int


class _File(NamedTuple):
    """A file that is to be copied.

    Args:
        path: where it is.
        digest: SHA-256 of what is in it.
        most: bytes that it may have.
    """

    path: Path
    digest: str
    most: int


def merge(sources: Sequence[Path], out: Path) -> Merged:
    """Copy the results of several folders into one. What is in that one stays, and is looked at, too.

    Args:
        sources: folders of results.
        out: the folder that is to hold them all; it is made if it is not there.

    Raises:
        ResultError: a folder holds no results, or something that is none; two results of one chunk differ;
            or they were made by different revisions, or from different images or weights.
    """
    folders = list(dict.fromkeys([*sources, *([out] if is_folder(out) else [])]))
    files: dict[str, _File] = {}
    chunks: list[tuple[Path, Chunk]] = []
    beside: list[tuple[Path, Any]] = []
    for folder in folders:
        if not is_folder(folder):
            raise ResultError(f"{folder}: no such folder")
        of_cells = [(folder, read_chunk(path)) for path in chunk_files(folder)]
        of_others = [(folder, result) for _, load in BESIDE for result in load(folder)]
        if not of_cells and not of_others and folder != out:
            raise ResultError(f"{folder}: no results in it")
        chunks += of_cells
        beside += of_others
        _collect(folder, files)
    _check_makers(chunks, beside)
    for folder in folders:
        if folder != out and is_folder(folder / IMAGES):
            what = f"the attacked images in {folder / IMAGES} are not copied"
            warnings.warn(f"{what}: rain replay {folder} reads them there", stacklevel=2)
    before = len(chunk_files(out)) if is_folder(out) else 0
    make_folder(out)
    for name, file in files.items():
        if file.path != out / name:
            write_file(out / name, _read(file))
    there = {(chunk.cell, chunk.number) for _, chunk in chunks}
    missing = sum(cell.chunks for cell in {cell for cell, _ in there}) - len(there)
    return Merged(len(there), len(there) - before, missing)


def _collect(folder: Path, files: dict[str, _File]) -> None:
    """Take note of the files of a folder; two of one name hold the same.

    Raises:
        ResultError: they do not.
    """
    paths = chunk_files(folder)
    galleries = [place / GALLERY for place in dict.fromkeys(path.parent for path in paths)]
    sizes = dict.fromkeys(paths, FILE_BYTES)
    sizes |= {path: GALLERY_BYTES for path in galleries if path.is_file()}
    for within, _ in BESIDE:
        sizes |= dict.fromkeys(chunk_files(folder, within), FILE_BYTES)
    for path, most in sizes.items():
        check_inside(path, folder)
        name = path.relative_to(folder).as_posix()
        file = _File(path, hashlib.sha256(_content(path, most)).hexdigest(), most)
        other = files.setdefault(name, file)
        if other.digest != file.digest:
            raise ResultError(
                f"{other.path} and {path} differ{_reason(other.path, path)}: delete one of them"
            )


def _reason(first: Path, second: Path) -> str:
    """Say in what two results of one chunk differ that made them."""
    if first.name == GALLERY or first.parent.parent.name in dict(BESIDE):
        return ""
    one, other = read_chunk(first).made_by, read_chunk(second).made_by
    unequal = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    if not unequal:
        return ", and the same made them"
    return f" ({', '.join(name.replace('_', ' ') for name in unequal)})"


def _content(path: Path, most: int) -> bytes:
    try:
        return read_foreign(path, most)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read(file: _File) -> bytes:
    """Read a file again, as it was when it was looked at."""
    content = _content(file.path, file.most)
    if hashlib.sha256(content).hexdigest() != file.digest:
        raise ResultError(f"{file.path}: it was changed while it was read; try again")
    return content


def _check_makers(chunks: Iterable[tuple[Path, Chunk]], beside: Iterable[tuple[Path, Any]]) -> None:
    """Raise ``ResultError`` for results that do not belong together; warn of what the checklist warns of."""
    makers: dict[tuple[Any, ...], tuple[Path, Result]] = {}
    tests: dict[tuple[type, str], tuple[Path, Any]] = {}
    for folder, chunk in chunks:
        made_by = {name: (value,) for name, value in chunk.made_by.items()}
        key = (chunk.cell, *sorted(chunk.made_by.items()))
        makers.setdefault(key, (folder, Result(chunk.cell, (), False, made_by)))
    for difference in differences(result for _, result in makers.values()):
        text = _text(difference, makers.values())
        if _is_refused(difference.name):
            raise ResultError(f"{text}: results that belong together have one")
        warnings.warn(text, stacklevel=4)
    for folder, result in beside:
        other_folder, other = tests.setdefault((type(result), result.key), (folder, result))
        for name, values in result.made_by.items():
            if _is_refused(name) and other.made_by.get(name, values) != values:
                kept = Difference(name, "", tuple(sorted({*values, *other.made_by[name]})))
                text = _text(kept, [(folder, result), (other_folder, other)])
                raise ResultError(f"{text}: results that belong together have one")


def _is_refused(name: str) -> bool:
    return name in ALONE or FACTS.get(name, Fact()).refused


def _text(difference: Difference, makers: Iterable[tuple[Path, Any]]) -> str:
    """Say what differs: two of its values, each with a folder where it occurs."""
    places: dict[str, Path] = {}
    for folder, result in makers:
        for value in result.made_by.get(difference.name, ()):
            if value in difference.values:
                places.setdefault(value, folder)
    of = f" of {difference.defense}" if difference.defense else ""
    first, second = difference.values[:2]
    values = f"{shown(first)} in {places[first]}, {shown(second)} in {places[second]}"
    return f"more than one {difference.name.replace('_', ' ')}{of}: {values}"
