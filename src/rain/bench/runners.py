"""Run a grid: see that it can be done, then measure what has no result file yet."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rain.bench.access import try_options
from rain.bench.assets import Assets
from rain.bench.cells import Cell, Result, load, make_folder, path_of, pending, save, write_file
from rain.bench.grid import Grid, read
from rain.bench.measure import Bench
from rain.bench.provenance import refused_fact
from rain.bench.workload import pieces
from rain.errors import (
    AttackError,
    ClassifierError,
    DatasetError,
    GridError,
    OptionError,
    RainError,
    ResultError,
)
from rain.images import enter
from rain.promises import check_promises
from rain.runtime.memory import Batches, pick_device
from rain.runtime.progress import bar

PICTURED = ("transfer", "adaptive")
"""The accesses of which pictures are kept: an attack that a defence may undo, and one made against it."""


def run(
    grid: Grid | str | Path,
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: str = "32-true",
    attack_batch: int | None = None,
    eot_batch: int | None = None,
    progress: bool = False,
) -> list[Result]:
    """Measure all of a grid that has no result file yet; each finished chunk is kept, whatever happens next.

    Args:
        grid: from ``rain.grid.read``, a path of a grid file, or the name of a shipped grid.
        folder: of the result files; running the same grid into it again does only what is missing.
        device: where to compute; by default a GPU if there is one.
        precision: of attacks on random defences, "32-true", "bf16-mixed", or "auto"
            (``rain.runtime.precision``). bfloat16 is twice as fast and more, and what it rounds is a fiftieth
            of what the draws change. All else, and every answer that counts, is computed in float32.
        attack_batch: images times EOT draws in one gradient step; by default 60, and fewer where the device's
            memory is small.
        eot_batch: images in one forward pass of these; by default two thirds of ``attack_batch``.
        progress: show a progress bar with the time left.

    Returns: the grid's results.

    Raises:
        GridError, UnknownNameError, OptionError, DatasetError, WeightsError: the grid asks for what is not
            there; said before anything is computed.
        AttackError: an attack broke its promise, or found only at work that it cannot do what is asked, or a
            classifier answered NaN; the cell is left where it was, and all others are done first.
        ResultError: a result file cannot be written or read, or was made with other images or weights than
            there are now.
    """
    grid = grid if isinstance(grid, Grid) else read(grid)
    folder, place = Path(folder), pick_device(device)
    assets = Assets(place, precision, Batches.fitting(place, attack_batch, eot_batch))
    cells = tuple(dict.fromkeys(settle(assets, cell) for cell in grid.cells))
    check_defenses(assets, cells)
    make_folder(folder)
    refuse_others(assets, folder, cells)
    broken = measure_pending(assets, folder, cells, grid.gallery, progress)
    if broken:
        what = "; ".join(f"on {cell.defense}, {cell.access}: {error}" for cell, error in broken.items())
        raise AttackError(f"{len(broken)} of {len(cells)} cells are not finished ({what})")
    return [result for result in load(folder) if result.cell in cells]


def measure_pending(
    assets: Assets, folder: Path, cells: Sequence[Cell], pictures: int, progress: bool
) -> dict[Cell, RainError]:
    """Measure the chunks that have no file yet, and write one for each.

    Args:
        pictures: kept of the first chunk of each transferred and adaptive cell at its largest budget.

    Returns: the cells whose attack failed, and how; they are left where they were.
    """
    bench, shown = Bench(assets), largest_budgets(cells)
    broken: dict[Cell, RainError] = {}
    # All cells of a chunk before the next chunk: neighbours share images, clean answers and transferred
    # attacks, and a run that is stopped early leaves a whole table, if a coarse one.
    work = sorted(pending(folder, cells), key=lambda item: item[1])
    with bar(pieces(assets, work), progress) as ticks:
        for (cell, chunk), tick in zip(work, ticks, strict=True):
            if cell in broken:
                continue
            kept = pictures if chunk == 0 and cell in shown else 0
            try:
                outcomes, gallery = bench.measure(cell, chunk, pictures=kept, tick=tick)
            except (AttackError, OptionError, ClassifierError) as error:
                broken[cell] = error
                what = f"{cell.attack} ({cell.access}, on {cell.defense}) is left out, the rest goes on"
                warnings.warn(f"{what}: {error}", stacklevel=3)
                continue
            if gallery:
                write_file(path_of(folder, cell, chunk).with_name("gallery.npz"), gallery)
            save(folder, cell, chunk, outcomes, assets.made_by(cell))
    return broken


def settle(assets: Assets, cell: Cell) -> Cell:
    """Build everything that a cell names, so that a mistake shows before hours of work.

    Returns: the cell, with a single draw where the defence has no randomness to draw.

    Raises:
        GridError: the dataset has fewer images than the cell asks for.
        UnknownNameError, OptionError, DatasetError, WeightsError: as the loaders do.
    """
    defense = assets.hardened(cell.classifier, cell.defense).defense
    if cell.attack != "none":
        try_options(cell)
    check_examples(assets, cell)
    return cell if defense.random else replace(cell, draws=1, eot=1)


def check_examples(assets: Assets, cell: Cell) -> None:
    """Raise ``DatasetError`` if a cell's dataset cannot be opened, ``GridError`` if it has too few images."""
    try:
        count = len(assets.dataset(cell.dataset))
    except DatasetError as error:
        kind, path, _ = cell.dataset.partition(":")
        advice = (
            f". If the images lie elsewhere, say where: rain run ... --dataset {kind}:PATH" if path else ""
        )
        raise DatasetError(f"{error}{advice}") from None
    if count < cell.examples:
        raise GridError(
            f"{cell.dataset} has {count} images, the grid asks for {cell.examples}: set examples = {count}"
        )


def check_defenses(assets: Assets, cells: Iterable[Cell]) -> None:
    """Raise ``OptionError`` if an attacked defence is not what it says of itself, on the first image."""
    attacked = [cell for cell in cells if cell.attack != "none"]
    for classifier, defense, dataset, size in dict.fromkeys(
        (cell.classifier, cell.defense, cell.dataset, cell.size) for cell in attacked
    ):
        image, _ = assets.dataset(dataset)[0]
        images = enter(image, size)[None].to(assets.device)
        check_promises(assets.hardened(classifier, defense).defense, images)


def refuse_others(assets: Assets, folder: Path, cells: Iterable[Cell]) -> None:
    """Raise ``ResultError`` if finished chunks were made with other images or weights than there are now."""
    if not any(folder.glob("*/[0-9]*.json")):
        return
    now = {cell: assets.made_by(cell) for cell in cells}
    for result in load(folder):
        fact = refused_fact(result, now)
        if fact:
            attack = "clean images" if result.cell.attack == "none" else result.cell.attack
            what = f"results (defense {result.cell.defense}, {attack})"
            why = f"that were made with another {fact} than now"
            raise ResultError(f"{folder} holds {what} {why}: choose a fresh folder")


def largest_budgets(cells: Iterable[Cell]) -> set[Cell]:
    """The cells worth a picture: attacks on a defence, transferred and adaptive, each at its largest eps."""
    best: dict[Cell, Cell] = {}
    for cell in cells:
        if cell.access in PICTURED and cell.defense != "none":
            place = replace(cell, eps=0.0)
            best[place] = max(best.get(place, cell), cell, key=lambda other: other.eps)
    return set(best.values())
