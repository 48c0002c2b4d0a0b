"""Put folders of results together: the shards of one grid, each done somewhere else. Never imports torch.

Whoever sends a folder may have written anything into it: a file is copied if the report would read it, and no
other. Nothing is copied before all folders have been looked at.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rain.bench import certificates, kept_lists, planned, proofs
from rain.bench.cells import (
    Cell,
    Result,
    check_inside,
    chunk_files,
    make_folder,
    read_chunk,
    write_file,
)
from rain.bench.grid import clean_cell
from rain.bench.kept_lists import Kept, fault_of_head, most_bytes_of, read_list, read_lists
from rain.bench.provenance import FACTS, Difference, Fact, differences
from rain.bench.schema import FILE_BYTES, GALLERY, GALLERY_BYTES
from rain.errors import ResultError, shown
from rain.files import is_folder, read_foreign

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
        missing: chunks that are in none of the folders, of the cells that are there or were planned.
        images: attacked images that are kept in the folder now.
    """

    chunks: int
    fresh: int
    missing: int
    images: int = 0


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


class _Maker(NamedTuple):
    """What made a chunk, or its kept images.

    Args:
        folder: of the results.
        cell: that it is of.
        facts: what reproduces it.
    """

    folder: Path
    cell: Cell
    facts: Mapping[str, str]


def merge(sources: Sequence[Path], out: Path) -> Merged:
    """Copy the results of several folders into one. What is in that one stays, and is looked at, too.

    Args:
        sources: folders of results. Where a shard had nothing to do there is only what was planned.
        out: the folder that is to hold them all; it is made if it is not there.

    Raises:
        ResultError: a folder holds no results and no plan, or none holds results, or one something that is
            none; two results of one chunk differ; or they were made by different revisions, or from different
            images or weights.
    """
    # What is there already comes first, so that a merge which goes on does not write it again.
    folders = list(dict.fromkeys([*([out] if is_folder(out) else []), *sources]))
    files: dict[str, _File] = {}
    there: set[tuple[Cell, int]] = set()
    makers: list[_Maker] = []
    beside: list[tuple[Path, Any]] = []
    for folder in folders:
        if not is_folder(folder):
            raise ResultError(f"{folder}: no such folder")
        chunks = [read_chunk(path) for path in chunk_files(folder)]
        of_others = [(folder, result) for _, load in BESIDE for result in load(folder)]
        lists = read_lists(folder)
        is_empty = not chunks and not of_others and not lists
        if is_empty and folder != out and not planned.files(folder):
            raise ResultError(f"{folder}: no results in it")
        there |= {(chunk.cell, chunk.number) for chunk in chunks}
        makers += [_Maker(folder, chunk.cell, chunk.made_by) for chunk in chunks]
        makers += [_Maker(folder, kept.source, kept.made_by) for kept in lists]
        beside += of_others
        _collect(folder, lists, files)
    if not makers and not beside:
        raise ResultError(f"{', '.join(map(str, folders))}: no results there, only what was planned")
    _check_makers(makers, beside)
    before = len(chunk_files(out)) if is_folder(out) else 0
    make_folder(out)
    for name in sorted(files, key=_turn):
        file = files[name]
        if file.path != out / name:
            write_file(out / name, _read(file))
    cells = {cell for cell, _ in there}.union(*map(planned.load, folders))
    missing = sum(cell.chunks for cell in cells) - len(there)
    return Merged(len(there), len(there) - before, missing, sum(map(_is_image, files)))


def _turn(name: str) -> int:
    """When a file is copied: as a run writes them, so that a merge that is killed leaves what a run may.

    Images come first, then what says of them what they are, then the rest.
    """
    if _is_image(name):
        return 0
    return 1 if _home(name) == kept_lists.FOLDER else 2


def _home(name: str) -> str:
    """The folder of a file within the results: of a cell's its key."""
    return name.partition("/")[0]


def _is_image(name: str) -> bool:
    return _home(name) == kept_lists.FOLDER and not name.endswith(".json")


def _collect(folder: Path, lists: Iterable[Kept], files: dict[str, _File]) -> None:
    """Take note of the files of a folder; two of one name hold the same.

    Args:
        lists: what the folder says of its kept images; no other name is copied from there.

    Raises:
        ResultError: they do not.
    """
    paths = chunk_files(folder)
    galleries = [place / GALLERY for place in dict.fromkeys(path.parent for path in paths)]
    sizes = dict.fromkeys(paths, FILE_BYTES)
    sizes |= {path: GALLERY_BYTES for path in galleries if path.is_file()}
    for within, _ in BESIDE:
        sizes |= dict.fromkeys(chunk_files(folder, within), FILE_BYTES)
    planned.load(folder)  # or it says what is wrong with them
    sizes |= dict.fromkeys(planned.files(folder), FILE_BYTES)
    for kept in lists:
        sizes[kept.path] = FILE_BYTES
        sizes |= {kept.image_path(index): most_bytes_of(kept) for index in kept.labels}
    for path, most in sizes.items():
        check_inside(path, folder)
        name = path.relative_to(folder).as_posix()
        file = _File(path, _digest(path, name, most), most)
        other = files.setdefault(name, file)
        if other.digest != file.digest:
            raise ResultError(f"{other.path} and {path} differ{_reason(name, other.path, path)}")


def _digest(path: Path, name: str, most: int) -> str:
    """SHA-256 of a file.

    Raises:
        ResultError: it cannot be read, or is a kept image that is none.
    """
    if not _is_image(name):
        return hashlib.sha256(_content(path, most)).hexdigest()
    content = _content(path, most, f"; {kept_lists.ADVICE}")
    fault = fault_of_head(content, path.suffix)
    if fault:
        raise ResultError(f"{path}: not an attacked image ({fault}); {kept_lists.ADVICE}")
    return hashlib.sha256(content).hexdigest()


def _reason(name: str, first: Path, second: Path) -> str:
    """Say in what two files of one name differ that made them, and what to do.

    Args:
        name: of both, within their folders.
    """
    of_images = _home(name) == kept_lists.FOLDER
    advice = "merge one of the two folders only" if of_images else "delete one of them"
    if first.name == GALLERY or _home(name) in dict(BESIDE) or _is_image(name):
        return f": {advice}"
    one, other = (_facts(path, of_images) for path in (first, second))
    unequal = sorted(fact for fact in one.keys() | other.keys() if one.get(fact) != other.get(fact))
    if not unequal:
        return f", and the same made them: {advice}"
    return f" ({', '.join(fact.replace('_', ' ') for fact in unequal)}): {advice}"


def _facts(path: Path, of_images: bool) -> Mapping[str, str]:
    """What a file says of how it was made."""
    if not of_images:
        return read_chunk(path).made_by
    kept = read_list(path.parents[2], path)
    return {**kept.made_by, "form": kept.form}


def _content(path: Path, most: int, advice: str = "") -> bytes:
    try:
        return read_foreign(path, most)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}{advice}") from None


def _read(file: _File) -> bytes:
    """Read a file again, as it was when it was looked at."""
    content = _content(file.path, file.most)
    if hashlib.sha256(content).hexdigest() != file.digest:
        raise ResultError(f"{file.path}: it was changed while it was read; try again")
    return content


def _check_makers(makers: Iterable[_Maker], beside: Iterable[tuple[Path, Any]]) -> None:
    """Raise ``ResultError`` for results that do not belong together; warn of what the checklist warns of."""
    different: dict[tuple[Any, ...], tuple[Path, Result]] = {}
    tests: dict[tuple[type, str], tuple[Path, Any]] = {}
    for folder, cell, facts in makers:
        made_by = {name: (value,) for name, value in facts.items()}
        different.setdefault((cell, *sorted(facts.items())), (folder, Result(cell, (), False, made_by)))
    for difference in differences(result for _, result in different.values()):
        text = _text(difference, different.values())
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
    _hold_together(list(different.values()), [(folder, _as_result(one)) for folder, one in beside])


def _hold_together(results: Sequence[tuple[Path, Result]], beside: Sequence[tuple[Path, Result]]) -> None:
    """Hold what stands beside results against them: it is of the same images and weights.

    It may be of another revision, as where it was made later; that is warned of.

    Raises:
        ResultError: it is not.
    """
    of_results = set(differences(result for _, result in results))
    both = [*results, *beside]
    for difference in differences(result for _, result in both) if beside else ():
        if difference in of_results:
            continue
        text = _text(difference, both)
        if FACTS.get(difference.name, Fact()).refused:
            raise ResultError(f"{text}: results and what stands beside them belong together")
        warnings.warn(text, stacklevel=5)


def _as_result(one: Any) -> Result:
    """What made a proof or certificates, as results have it."""
    if isinstance(one, proofs.Proof):
        return proofs.as_result(one)
    cell = one.cell
    clean = clean_cell(
        cell.dataset, cell.classifier, cell.defense, size=cell.size, seed=cell.seed, examples=cell.examples
    )
    return Result(clean, (), one.complete, one.made_by)


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
