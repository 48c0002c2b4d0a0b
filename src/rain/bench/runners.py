"""Run a grid: see that it can be done, then measure what has no result file yet."""

from collections.abc import Mapping
from pathlib import Path

import torch

from rain.bench import planned
from rain.bench.cells import Cell, Result, chunk_files, load
from rain.bench.grid import Grid
from rain.bench.leases import Leases
from rain.bench.plan import Plan, prepare
from rain.bench.shards import Shard, restrict
from rain.bench.sharing import bundles
from rain.bench.tasks import work_on_ray
from rain.bench.workers import work_together
from rain.bench.working import Failures, work_on
from rain.bench.workload import pieces
from rain.errors import AttackError, RainError
from rain.runtime.progress import board


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
    workers: int = 1,
    shard: str | None = None,
    keep_images: str = "",
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
        workers: processes on this machine among which the chunks are shared out, and the threads with them.
            A script that asks for several keeps what it does under ``if __name__ == "__main__":``.
        shard: "3/8" does a part of the grid, the third of eight. Each machine gives a shard the same chunks.
        keep_images: "png" or "float" keeps all attacked images beside the results (``rain.bench.kept``).

    Returns: the grid's results; of a shard those that are in the folder.

    Raises:
        GridError, UnknownNameError, OptionError, DatasetError, WeightsError: the grid asks for what is not
            there; said before anything is computed.
        AttackError: an attack broke its promise, or found only at work that it cannot do what is asked; or a
            classifier answered NaN; or one of them, or a defence, raised whatever it likes, or ended Python.
            The cell is left where it was, and all others are done first.
        ImageError: an image is damaged.
        ResultError: a result file cannot be written or read, or was made with other images or weights than
            there are now.
        WorkerError: a worker could not work, or all of them died.
    """
    part = Shard.read(shard) if shard else None
    plan = prepare(
        grid,
        folder,
        device=device,
        precision=precision,
        attack_batch=attack_batch,
        eot_batch=eot_batch,
        skip_damaged=skip_damaged,
        keep_images=keep_images,
    )
    return measure(restrict(plan, part) if part else plan, progress, workers)


def measure(
    plan: Plan, progress: bool = False, workers: int = 1, *, ray: str | None = None, jobs: int | None = None
) -> list[Result]:
    """Do a run that was prepared. Args, Returns and Raises: as ``run``.

    Args:
        ray: address of a Ray cluster that does it (``rain.bench.tasks``).
        jobs: tasks there at a time; by default as many as there is room for.
    """
    broken = measure_pending(plan, progress, workers, ray=ray, jobs=jobs)
    if broken:
        what = f"{len(broken)} of {len(plan.cells)} cells are not finished"
        raise AttackError(f"{what} ({'; '.join(reasons(broken))})")
    if not chunk_files(plan.folder):
        return []  # a shard that has nothing to do
    return [result for result in load(plan.folder) if result.cell in plan.cells]


def measure_pending(
    plan: Plan, progress: bool, workers: int = 1, *, ray: str | None = None, jobs: int | None = None
) -> dict[Cell, RainError]:
    """Measure the chunks that have no file yet, and write one for each.

    Other runs may be at work on the same folder: each chunk is done by one of them.

    Returns: the cells whose attack failed, and how; they are left where they were.
    """
    # A shard that has nothing to do leaves a folder, too, which is to be told from one that is none of ours.
    if plan.work or not chunk_files(plan.folder):
        planned.note(plan.folder, plan.cells)
    names, failures = bundles(plan.assets, plan.work), Failures()
    workers = min(workers, len(set(names)))
    with board(pieces(plan.assets, plan.work), progress, workers) as shown:
        if ray and plan.work:
            work_on_ray(plan, names, ray, jobs, shown, failures)
        elif workers > 1:
            work_together(plan, names, workers, shown, failures)
        else:
            with Leases(plan.folder) as leases:
                work_on(plan, names, leases, shown, failures)
    return failures.errors


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
