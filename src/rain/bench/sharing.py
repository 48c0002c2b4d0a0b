"""What of a run's work this process does, where others work on the same folder.

What is claimed is a *bundle*: the chunks that share their attacked images (``rain.bench.access.crafted_by``),
so that nothing is computed twice. Each goes first to where nobody else is: a worker who has all of a chunk
number makes its images and its clean answers for himself alone. Then he helps the others, and last he waits
for them, since one of them may die.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from rain.bench.access import crafted_by
from rain.bench.assets import Assets
from rain.bench.cells import Cell, Chunked, path_of
from rain.bench.leases import Leases, lease_name
from rain.bench.workload import cost
from rain.runtime.forecast import Piece
from rain.runtime.progress import Board, Tick, board

LOOK = 0.5
"""Seconds between two looks at what others hold, where there is nothing else to do."""

GLANCE = 0.1
"""Seconds between two looks of one who has seen nobody else: a look costs a tenth of a cheap image."""

CHEAP = 16
"""Image passes that are claimed at a time, where single chunks are cheaper."""

PLENTY = 64
"""Bundles of a cell, at least, where its chunks are claimed several at a time: there are enough for all."""

Work = Sequence[tuple[Cell, int]]

Column = TypeVar("Column", bound=Chunked)
"""A cell of one kind: of results, of proofs or of certificates."""

PathOf = Callable[[Path, Any, int], Path]
"""Where a finished chunk lies: from the folder of the results, its cell and its number."""


class Share:
    """The chunks that this process does, one after the other; iterating claims them.

    Coming back for the next one says that the last one is done, or will not be done here.

    Args:
        folder: of the results.
        work: the chunks that had no file, in the order of the work.
        bundles: for each, the name of its bundle.
        leases: by which bundles are claimed.
        shown: told of chunks that others did, and of waiting.
        sleep: waits so many seconds.
        place: where a finished chunk lies.
        release: lets a bundle go whose last chunk is done; None does it at once.
        clock: seconds, from anywhere, that only go forward.
    """

    def __init__(
        self,
        folder: Path,
        work: Sequence[tuple[Chunked, int]],
        bundles: Sequence[str],
        leases: Leases,
        shown: Board,
        sleep: Callable[[float], object] = time.sleep,
        place: PathOf = path_of,
        release: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._folder, self._work, self._leases = folder, work, leases
        self._shown, self._sleep, self._place = shown, sleep, place
        self._release, self._clock = release or leases.release, clock
        self._names = tuple(bundles)
        self._bundles: dict[Any, list[int]] = {}
        self._rows: dict[Any, list[int]] = {}
        self._of_chunk: dict[int, set[str]] = {}
        # Nobody else was seen so far. What one did who was not seen is found once its bundle is claimed.
        self._is_alone, self._looked_at = True, -inf
        for number, (name, (_, chunk)) in enumerate(zip(bundles, work, strict=True)):
            self._bundles.setdefault(name, []).append(number)
            self._rows.setdefault(chunk, []).append(number)
            self._of_chunk.setdefault(chunk, set()).add(name)

    def __iter__(self) -> Iterator[int]:
        """Yield the places in the work of the chunks that are this process's."""
        while self._rows:
            before = self._count()
            for helps in (False, True):
                for chunk in list(self._rows):
                    yield from self._row(chunk, helps)
            if self._rows and self._count() == before:
                self._shown.wait(before)
                self._sleep(LOOK)

    def _row(self, chunk: int, helps: bool) -> Iterator[int]:
        """Do what is left of a chunk number.

        Args:
            helps: whether also where others are at work on it; otherwise it is left to them.
        """
        others = self._others()
        if not self._is_alone:
            # Others may have done it since the round began.
            self._leave_out(list(self._rows.get(chunk, ())))
        numbers = list(self._rows.get(chunk, ()))
        if not helps and not self._of_chunk[chunk].isdisjoint(others):
            return
        is_crowded = False
        for number in numbers:
            name = self._names[number]
            if number not in self._rows.get(chunk, ()) or (is_crowded and not self._leases.holds(name)):
                continue
            if not self._claim(name):
                # Somebody else has come: what is begun here is done, and the rest left to him.
                is_crowded, self._is_alone = not helps, False
            elif number in self._rows.get(chunk, ()):
                yield number
                self._finish(number)

    def _others(self) -> set[str]:
        """The work of others. Who came a moment ago may be missing: then his work cannot be claimed."""
        if self._is_alone and self._clock() < self._looked_at + GLANCE:
            return set()
        self._looked_at, others = self._clock(), self._leases.others()
        self._is_alone = self._is_alone and not others
        return others

    def _claim(self, name: str) -> bool:
        """Get a bundle, if nobody has it, and see what others did of it before."""
        if self._leases.holds(name):
            return True
        if not self._leases.claim(name):
            return False
        # Who holds a bundle writes its files first, and then lets it go: what is not there now is nobody's.
        self._leave_out(list(self._bundles[name]))
        return True

    def _leave_out(self, numbers: list[int]) -> None:
        """Strike off what others did."""
        for number in numbers:
            if self._place(self._folder, *self._work[number]).is_file():
                self._shown.skip(number)
                self._finish(number)

    def _finish(self, number: int) -> None:
        name, chunk = self._names[number], self._work[number][1]
        for store, key in ((self._bundles, name), (self._rows, chunk)):
            store[key].remove(number)
            if not store[key]:
                del store[key]
        if name not in self._bundles and self._leases.holds(name):
            self._release(name)

    def _count(self) -> int:
        return sum(map(len, self._rows.values()))


def bundles(assets: Assets, work: Work) -> list[str]:
    """Name for each chunk the bundle that it is in: equal where chunks share their attacked images.

    Where chunks are cheap, and many, some neighbours are one bundle: to claim one costs about what an image
    does. How many depends on the cell only, so that all who work on a folder give the same names.
    """
    about: dict[Cell, tuple[str, int]] = {}
    for cell in dict.fromkeys(cell for cell, _ in work):
        random = assets.hardened(cell.classifier, cell.defense).defense.random
        source = crafted_by(cell, random=random)
        about[cell] = source.key, _together(source)
    names = []
    for cell, chunk in work:
        key, together = about[cell]
        names.append(lease_name(key, chunk // together))
    return names


def _together(source: Cell) -> int:
    """How many neighbouring chunks of a cell are claimed together."""
    affordable = int(CHEAP // max(1.0, cost(source, 0)))
    return max(1, min(affordable, source.chunks // PLENTY))


@contextmanager
def shared_out(
    folder: Path, work: Sequence[tuple[Column, int]], place: PathOf, pieces: Sequence[Piece], visible: bool
) -> Iterator[Iterator[tuple[Column, int, Tick]]]:
    """Share chunks that have nothing in common out among the processes on one folder.

    Args:
        folder: of the results.
        work: the chunks that had no file.
        place: where a finished chunk lies.
        pieces: of the work, for the progress bar.
        visible: False shows none.

    Yields: an iterator over the chunks that are this process's: the cell, the chunk, and what to tell about
        work done in it. Coming back for the next one says that its file is written. At its end all chunks
        have their files, whoever wrote them.
    """
    names = [lease_name(cell.key, chunk) for cell, chunk in work]
    with board(pieces, visible) as shown, Leases(folder) as leases:
        yield _claimed(work, Share(folder, work, names, leases, shown, place=place), shown)


def _claimed(
    work: Sequence[tuple[Column, int]], share: Share, shown: Board
) -> Iterator[tuple[Column, int, Tick]]:
    for number in share:
        cell, chunk = work[number]
        yield cell, chunk, shown.begin(number)
        shown.end(number)
