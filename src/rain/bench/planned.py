"""Which cells a run was to measure, left in its folder, so that a report can name what is missing.

``DIR/planned/grid-DIGEST.json``, where DIGEST is of what is in it: all runs of one grid leave the same file.
Never imports torch.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rain.bench.beside import check_format
from rain.bench.cells import Cell, Result, alike, check_inside, dump, read_content, write_file
from rain.bench.schema import fault_of_planned
from rain.errors import ResultError

FOLDER = "planned"
"""Within the folder of the results."""

FORMAT = 1
"""Of the files: raised when an older version of the package could not read what a newer one writes."""

ADVICE = "delete it; the next run of the grid writes it again"


def note(folder: Path, cells: Iterable[Cell]) -> None:
    """Leave word of the cells that a run is to measure, unless it is there.

    Raises:
        ResultError: the disk is full or the folder cannot be written.
    """
    ordered = sorted(cells, key=lambda cell: cell.key)
    content = (dump({"format": FORMAT, "cells": [asdict(cell) for cell in ordered]}) + "\n").encode()
    path = folder / FOLDER / _name(content)
    if not path.is_file():
        write_file(path, content)


def files(folder: Path) -> list[Path]:
    """List the files that say what was planned, sorted.

    Raises:
        ResultError: a link leads out of the folder.
    """
    paths = sorted((folder / FOLDER).glob("grid-*.json"))
    for place in (folder / FOLDER, *paths):
        if place.is_symlink():
            check_inside(place, folder)
    return paths


def load(folder: Path) -> list[Cell]:
    """Read the cells that were planned, each once; none where nothing is said.

    Whoever sends a folder may have written anything into it: all of it is checked.

    Raises:
        ResultError: a file is not what its name says.
    """
    cells: dict[Cell, None] = {}
    for path in files(folder):
        content = read_content(path, "list of planned cells", ADVICE)
        check_format(path, content, FORMAT)
        fault = fault_of_planned(content)
        if fault:
            raise ResultError(f"{path}: not a list of planned cells ({fault}); {ADVICE}")
        if path.name != _name((dump(content) + "\n").encode()):
            raise ResultError(f"{path}: does not hold what its name says; {ADVICE}")
        cells |= dict.fromkeys(Cell(**row) for row in content["cells"])
    return list(cells)


def never_begun(folder: Path, results: Sequence[Result]) -> list[Cell]:
    """Name the planned cells of which no chunk is there, nor one of more images that is the same in all else.

    Args:
        folder: of the results.
        results: all that are in it, or from ``rain.bench.taking_over.load_each_once``.
    """
    most: dict[Cell, int] = defaultdict(int)
    for result in results:
        rest = alike(result.cell)
        most[rest] = max(most[rest], result.cell.examples, *result.aside)
    return [cell for cell in load(folder) if most[alike(cell)] < cell.examples]


def _name(content: bytes) -> str:
    return f"grid-{hashlib.sha256(content).hexdigest()[:16]}.json"
