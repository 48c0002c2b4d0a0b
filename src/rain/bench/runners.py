"""Run a grid: see that it can be done, then measure what has no result file yet."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from rain.bench.cells import Cell, Outcome, Result, load, path_of, save, write_file
from rain.bench.grid import Grid
from rain.bench.measure import Bench
from rain.bench.plan import Plan, prepare
from rain.bench.workload import pieces
from rain.errors import AttackError, ClassifierError, OptionError, RainError
from rain.own_code import ENDINGS, describe
from rain.runtime.progress import Tick, bar

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
    skip_damaged: bool = False,
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
        skip_damaged: leave out images whose files are damaged; the results remember which. Otherwise the
            first of them ends the run.
        progress: show a progress bar with the time left.

    Returns: the grid's results.

    Raises:
        GridError, UnknownNameError, OptionError, DatasetError, WeightsError: the grid asks for what is not
            there; said before anything is computed.
        AttackError: an attack broke its promise, or found only at work that it cannot do what is asked; or a
            classifier answered NaN; or one of them, or a defence, raised whatever it likes, or ended Python.
            The cell is left where it was, and all others are done first.
        ImageError: an image is damaged.
        ResultError: a result file cannot be written or read, or was made with other images or weights than
            there are now.
    """
    plan = prepare(
        grid,
        folder,
        device=device,
        precision=precision,
        attack_batch=attack_batch,
        eot_batch=eot_batch,
        skip_damaged=skip_damaged,
    )
    return measure(plan, progress)


def measure(plan: Plan, progress: bool = False) -> list[Result]:
    """Do a run that was prepared. Args, Returns and Raises: as ``run``."""
    broken = measure_pending(plan, progress)
    if broken:
        what = f"{len(broken)} of {len(plan.cells)} cells are not finished"
        raise AttackError(f"{what} ({'; '.join(reasons(broken))})")
    return [result for result in load(plan.folder) if result.cell in plan.cells]


def measure_pending(plan: Plan, progress: bool) -> dict[Cell, RainError]:
    """Measure the chunks that have no file yet, and write one for each.

    Returns: the cells whose attack failed, and how; they are left where they were.
    """
    bench, shown = Bench(plan.assets), largest_budgets(plan.cells)
    broken: dict[Cell, RainError] = {}
    with bar(pieces(plan.assets, plan.work), progress) as ticks:
        for (cell, chunk), tick in zip(plan.work, ticks, strict=True):
            if cell in broken:
                continue
            kept = plan.pictures if chunk == 0 and cell in shown else 0
            try:
                outcomes, gallery = _measured(bench, cell, chunk, kept, tick)
            except (AttackError, OptionError, ClassifierError) as error:
                # What fails for one reason in many cells is said once now, and in the end with their number.
                if str(error) not in map(str, broken.values()):
                    what = f"{cell.attack} ({cell.access}, on {cell.defense}) is left out, the rest goes on"
                    warnings.warn(f"{what}: {error}", stacklevel=4)
                broken[cell] = error
                continue
            if gallery:
                write_file(path_of(plan.folder, cell, chunk).with_name("gallery.npz"), gallery)
            save(plan.folder, cell, chunk, outcomes, plan.assets.made_by(cell))
    return broken


def _measured(bench: Bench, cell: Cell, chunk: int, pictures: int, tick: Tick) -> tuple[list[Outcome], bytes]:
    """Measure a chunk; ``Bench.measure`` says how.

    Raises:
        AttackError: also where a classifier, a defence or an attack raises whatever it likes, or ends Python.
    """
    try:
        return bench.measure(cell, chunk, pictures=pictures, tick=tick)
    except RainError:
        raise
    except ENDINGS as error:
        raise AttackError(describe(error)) from error


def reasons(broken: Mapping[Cell, RainError]) -> list[str]:
    """Say why cells failed: each reason once, with the cells that it holds for."""
    by_reason: dict[str, list[Cell]] = {}
    for cell, error in broken.items():
        by_reason.setdefault(str(error), []).append(cell)
    return [f"{_cells_text(cells)}: {reason}" for reason, cells in by_reason.items()]


def _cells_text(cells: list[Cell]) -> str:
    """Name cells by what their attacks are on: ``2 cells, on rain, jpeg, static``."""
    defenses = ", ".join(dict.fromkeys(cell.defense for cell in cells))
    accesses = ", ".join(dict.fromkeys(cell.access for cell in cells))
    count = f"{len(cells)} cells, " if len(cells) > 1 else ""
    return f"{count}on {defenses}, {accesses}"


def largest_budgets(cells: Iterable[Cell]) -> set[Cell]:
    """The cells worth a picture: attacks on a defence, transferred and adaptive, each at its largest eps."""
    best: dict[Cell, Cell] = {}
    for cell in cells:
        if cell.access in PICTURED and cell.defense != "none":
            place = replace(cell, eps=0.0)
            best[place] = max(best.get(place, cell), cell, key=lambda other: other.eps)
    return set(best.values())
