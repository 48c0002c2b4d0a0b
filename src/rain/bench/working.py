"""Work on chunks: claim one, measure it, write its file."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rain.bench.cells import Cell, Outcome, path_of, save, write_file
from rain.bench.kept import Keeper
from rain.bench.leases import Leases
from rain.bench.measure import Bench
from rain.bench.plan import Plan, largest_budgets
from rain.bench.schema import GALLERY
from rain.bench.sharing import Share
from rain.bench.writing import Writer
from rain.errors import AttackError, ClassifierError, OptionError, RainError
from rain.own_code import ENDINGS, describe
from rain.runtime.progress import Board, Tick


class Failures:
    """The cells whose attack failed, and how."""

    def __init__(self) -> None:
        self.errors: dict[Cell, RainError] = {}

    def has(self, cell: Cell) -> bool:
        """Whether a cell failed, here or elsewhere in the run."""
        return cell in self.errors

    def add(self, cell: Cell, error: RainError) -> None:
        """Take note of a cell that failed."""
        self.errors[cell] = error


def work_on(plan: Plan, bundles: Sequence[str], leases: Leases, shown: Board, failures: Failures) -> None:
    """Measure what of a plan nobody else measures, and write a file for each chunk.

    A cell that fails is left where it was, and the others are done. Files are written while the next chunk is
    computed (``rain.bench.writing``); others get a chunk only once its file is there, or will not be.

    Args:
        plan: of the run.
        bundles: for each chunk of its work, the name of its bundle (``rain.bench.sharing.bundles``).
        leases: in the folder of the results.
        shown: told what is done.
        failures: the cells that failed are put there.

    Raises:
        ResultError: a file cannot be written. A chunk that was finished before may be what it is about.
        ImageError, DatasetError: as ``rain.bench.measure.Bench.measure`` does.
    """
    with Writer() as writer:

        def release(name: str) -> None:
            writer.put(partial(leases.release, name))  # behind the files that are of it

        share = Share(plan.folder, plan.work, bundles, leases, shown, release=release)
        _measure_all(plan, share, shown, failures, writer)


def _measure_all(plan: Plan, share: Iterable[int], shown: Board, failures: Failures, writer: Writer) -> None:
    """Measure the chunks that are this process's."""
    keeper = Keeper(plan.folder, plan.keeps, plan.assets) if plan.keeps else None
    bench, pictured = Bench(plan.assets, keeper), largest_budgets(plan.cells)
    for number in share:
        cell, chunk = plan.work[number]
        if failures.has(cell):
            shown.skip(number)
            continue
        pictures = plan.pictures if chunk == 0 and cell in pictured else 0
        try:
            measured = _measured(bench, cell, chunk, pictures, shown.begin(number))
        except (AttackError, OptionError, ClassifierError) as error:
            # What fails for one reason in many cells is said once now, and in the end with their number.
            if str(error) not in map(str, failures.errors.values()):
                what = f"{cell.attack} ({cell.access}, on {cell.defense}) is left out, the rest goes on"
                warnings.warn(f"{what}: {error}", stacklevel=6)
            failures.add(cell, error)
            shown.skip(number)
            continue
        writer.put(partial(_write, plan.folder, cell, chunk, *measured, plan.assets.made_by(cell)))
        shown.end(number)


def _write(
    folder: Path,
    cell: Cell,
    chunk: int,
    outcomes: Sequence[Outcome],
    gallery: bytes,
    made_by: Mapping[str, str],
) -> None:
    """Write a finished chunk, and before it its pictures."""
    if gallery:
        write_file(path_of(folder, cell, chunk).with_name(GALLERY), gallery)
    save(folder, cell, chunk, outcomes, made_by)


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
