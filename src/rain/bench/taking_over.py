"""Cells that differ in their number of images only share their chunks. Never imports torch.

What happens to a chunk is a function of the seed, the dataset and its number: of a cell that differs in
``examples`` only, every chunk of the same images has the same outcomes.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from rain.bench.cells import (
    Cell,
    Chunked,
    Result,
    alike,
    chunk_files,
    load,
    path_of,
    pending,
    read_chunk,
    save,
    write_file,
)
from rain.bench.schema import GALLERY, GALLERY_BYTES
from rain.files import read_foreign


class HasCell(Protocol):
    """Results of a kind of cell."""

    @property
    def cell(self) -> Chunked:
        """What they are about."""
        ...


OfCell = TypeVar("OfCell", bound=HasCell)

ALIKE = ("precision", "left_out")
"""Facts that must be equal besides those that a run refuses for the whole folder."""


def take_over(
    folder: Path,
    cells: Iterable[Cell],
    made_by: Callable[[Cell], Mapping[str, str]],
    *,
    pictured: Collection[Cell],
    clean_only: bool,
) -> int:
    """Write the chunks of cells that others in the folder have, but for their number of images.

    Args:
        folder: of the results; a run would not refuse it.
        cells: of the run.
        made_by: what would make the numbers of a cell now.
        pictured: those of which pictures are kept: a first chunk without any is left to be made.
        clean_only: what is attacked is left to be made, since its images shall be kept.

    Returns: how many chunks were taken over. What they were taken from stays.

    Raises:
        ResultError: a file cannot be read or written.
    """
    work = pending(folder, cells)
    others = _by_the_rest(folder) if work else {}
    taken = 0
    for cell, number in work:
        if clean_only and cell.attack != "none":
            continue
        for other in others.get(alike(cell), ()):
            if other.indices(number) == cell.indices(number) and _take(
                folder, other, cell, number, made_by(cell), cell in pictured
            ):
                taken += 1
                break
    return taken


def load_each_once(folder: Path) -> list[Result]:
    """Read the results below a folder as all that is told of them does, in the order of ``load``.

    Of cells that differ in their number of images only there is one, that with most finished images. It
    names the others (``Result.aside``), but for those of which it has every outcome.

    Raises:
        ResultError: what ``rain.bench.cells.load`` raises.
    """
    together = of_most_images(load(folder), lambda result: result.outcomes)
    return [replace(result, aside=_aside(result, others)) for result, others in together]


def of_most_images(
    results: Iterable[OfCell], said: Callable[[OfCell], Sequence[object]]
) -> list[tuple[OfCell, list[OfCell]]]:
    """Put together what differs in its number of images only.

    Args:
        results: of any kind.
        said: of the finished images of one.

    Returns: each that has most finished images, with the others, in the order of the results.
    """
    results = list(results)
    together: dict[Chunked, list[OfCell]] = defaultdict(list)
    for result in results:
        together[alike(result.cell)].append(result)
    pairs = []
    for result in results:
        same = together[alike(result.cell)]
        if result is max(same, key=lambda one: (len(said(one)), one.cell.examples)):
            pairs.append((result, [other for other in same if other is not result]))
    return pairs


def _aside(result: Result, others: Iterable[Result]) -> tuple[int, ...]:
    """The numbers of images of those that ask for more, or answered otherwise, as in a chunk that was cut."""
    there, examples = set(result.outcomes), result.cell.examples
    differing = [one for one in others if one.cell.examples > examples or not there.issuperset(one.outcomes)]
    return tuple(sorted(one.cell.examples for one in differing))


def _take(
    folder: Path, other: Cell, cell: Cell, number: int, facts: Mapping[str, str], is_pictured: bool
) -> bool:
    """Write a chunk as another cell has it; whether it has it, made as it would be now."""
    source, target = path_of(folder, other, number), path_of(folder, cell, number)
    if not source.is_file():
        return False
    chunk = read_chunk(source)
    if any(chunk.made_by.get(name) != facts.get(name) for name in ALIKE):
        return False
    if number == 0:
        pictures = source.with_name(GALLERY)
        if pictures.is_file():
            write_file(target.with_name(GALLERY), read_foreign(pictures, GALLERY_BYTES))
        elif is_pictured:
            return False
    save(folder, cell, number, chunk.outcomes, chunk.made_by)
    return True


def _by_the_rest(folder: Path) -> dict[Cell, list[Cell]]:
    """The cells of a folder, by what they are but for their number of images; the most images come first."""
    firsts = {path.parent: path for path in reversed(chunk_files(folder))}
    cells: dict[Cell, list[Cell]] = defaultdict(list)
    for cell in sorted((read_chunk(path).cell for path in firsts.values()), key=lambda one: -one.examples):
        cells[alike(cell)].append(cell)
    return cells
