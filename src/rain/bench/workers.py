"""Several processes on this machine that do one run: the same files as one process leaves, each made once.

Each claims chunks by leases (``rain.bench.leases``), as runs that know nothing of each other do. To the
process that started it a worker talks through a pipe of its own: what it is at, its warnings, the cells that
fail.
"""

import multiprocessing
import os
import pickle
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any

import torch
from torch import nn

from rain.bench.assets import Assets
from rain.bench.cells import Cell, pending
from rain.bench.leases import Leases
from rain.bench.plan import Plan
from rain.bench.working import Failures, work_on
from rain.errors import RainError, WorkerError
from rain.own_code import ENDINGS, describe
from rain.runtime.memory import Batches, keep_freed_memory
from rain.runtime.progress import Board, Tick

TELL = 0.2
"""Seconds between two messages about work that is done within a piece."""

FAREWELL = 10.0
"""Seconds that a worker has to write what it is writing, where the run is ended."""


@dataclass(frozen=True)
class Order:
    """What a worker is to do: a plan without what is built, which it builds itself.

    Args:
        folder, cells, work, pictures, keeps: of the plan.
        bundles: for each chunk of the work the name of its bundle.
        device, precision, batches, skip_damaged: of the plan's assets.
        threads: of a CPU, for this worker.
    """

    folder: Path
    cells: tuple[Cell, ...]
    work: tuple[tuple[Cell, int], ...]
    pictures: int
    keeps: str
    bundles: tuple[str, ...]
    device: str
    precision: str
    batches: Batches
    skip_damaged: bool
    threads: int


@dataclass
class Worker:
    """A worker, as the process sees it that started it.

    Args:
        number: from 1, as messages call it.
        process: that it is.
        channel: what it tells comes here.
        at: the piece that it works on; None for none.
        tick: told about work done in that piece.
    """

    number: int
    process: SpawnProcess
    channel: Connection
    at: int | None = None
    tick: Tick | None = None


def work_together(plan: Plan, bundles: Sequence[str], workers: int, shown: Board, failures: Failures) -> None:
    """Do the work of a plan with several processes.

    Args:
        plan: of the run.
        bundles: for each chunk of its work the name of its bundle.
        workers: how many processes.
        shown: told what they do.
        failures: the cells that failed are put there.

    Raises:
        RainError: what a worker raised; the others are ended then, and what is finished is kept.
        WorkerError: a worker raised something else, or all of them died before the work was done.
    """
    crew = _Crew(shown, failures)
    with _without_interrupts():
        for number in range(workers):
            crew.start(number + 1, order_of(plan, bundles, workers, number))
    try:
        crew.follow()
    finally:
        crew.end()
    left = set(pending(plan.folder, {cell for cell, _ in plan.work})).intersection(plan.work)
    lost = sum(not failures.has(cell) for cell, _ in left)
    if lost:
        what = f"all {workers} workers ended, and {lost} chunks are not done ({crew.why()})"
        raise WorkerError(f"{what}: run the same command again, with fewer workers if memory is short")


def order_of(plan: Plan, bundles: Sequence[str], workers: int, number: int) -> Order:
    """What one of several workers is to do: all of the plan, on its share of the threads, or on its GPU."""
    assets = plan.assets
    device, count = str(assets.device), torch.cuda.device_count()
    if device == "cuda" and count > 1:
        device = f"cuda:{number % count}"
    return Order(
        folder=plan.folder,
        cells=plan.cells,
        work=plan.work,
        pictures=plan.pictures,
        keeps=plan.keeps,
        bundles=tuple(bundles),
        device=device,
        precision=assets.precision,
        batches=assets.batches,
        skip_damaged=assets.skip_damaged,
        threads=max(1, torch.get_num_threads() // workers),
    )


class _Crew:
    """The workers of a run.

    Args:
        shown: told what they do.
        failures: the cells that failed are put there.
    """

    def __init__(self, shown: Board, failures: Failures):
        self._shown, self._failures = shown, failures
        self._workers: list[Worker] = []
        self._told: set[str] = set()
        self._finished: set[int] = set()
        self._deaths: list[str] = []

    def start(self, number: int, order: Order) -> None:
        """Start a worker."""
        context = multiprocessing.get_context("spawn")
        channel, theirs = context.Pipe()
        process = context.Process(target=_work, args=(order, theirs), name=f"worker {number}", daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the channel
        self._workers.append(Worker(number, process, channel))

    def follow(self) -> None:
        """Listen to the workers until the last one has ended."""
        by_channel: dict[Any, Worker] = {worker.channel: worker for worker in self._workers}
        while by_channel:
            for channel in wait(list(by_channel)):
                worker = by_channel[channel]
                try:
                    message = worker.channel.recv()
                except (EOFError, OSError, pickle.UnpicklingError):  # it may have died in the middle of one
                    del by_channel[channel]
                    self._bury(worker)
                else:
                    self._hear(worker, *message)

    def end(self) -> None:
        """End the workers that still work; each first writes what it is writing."""
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        limit = time.monotonic() + FAREWELL
        for worker in self._workers:
            worker.process.join(max(0.0, limit - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.channel.close()

    def why(self) -> str:
        """Say how the workers that died did."""
        return "; ".join(self._deaths) or "each had ended in peace"

    def _hear(self, worker: Worker, kind: str, *values: Any) -> None:
        """Take note of what a worker tells."""
        if kind == "begin":
            if values[0] in self._finished:
                # Another one had measured it, and was killed before it was written.
                self._finished.remove(values[0])
                self._shown.give_back(values[0])
            worker.at = values[0]
            worker.tick = self._shown.begin(values[0])
        elif kind == "units" and worker.tick:
            worker.tick(values[0])
        elif kind in ("end", "skip"):
            worker.at, worker.tick = None, None
            self._end_once(values[0], self._shown.end if kind == "end" else self._shown.skip)
        elif kind == "warning":
            self._warn(*values)
        elif kind == "failure":
            self._share_failure(worker, *values)
        elif kind == "error":
            raise values[0]

    def _end_once(self, number: int, end: Any) -> None:
        """Show that a piece is done; the others tell the same, as soon as they see its file."""
        if number not in self._finished:
            self._finished.add(number)
            end(number)

    def _warn(self, message: str, category: type[Warning]) -> None:
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, category, stacklevel=7)

    def _share_failure(self, worker: Worker, cell: Cell, error: RainError) -> None:
        """Tell the other workers of a cell that failed, so that they leave it alone."""
        self._failures.add(cell, error)
        for other in self._workers:
            if other is not worker:
                with suppress(OSError):
                    other.channel.send((cell, error))

    def _bury(self, worker: Worker) -> None:
        """Take note that a worker has ended; if it died, say so."""
        worker.process.join()
        code = worker.process.exitcode
        if not code:
            return
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        death = f"worker {worker.number} {how}"
        self._deaths.append(death)
        self._warn(f"{death}; the others take over what it was at", UserWarning)
        if worker.at is not None and worker.at not in self._finished:
            self._shown.give_back(worker.at)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that are started in it ignore Ctrl-C: a terminal sends it to all, and one answers."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Voice(Board):
    """What a worker tells of its progress."""

    def __init__(self, channel: Connection):
        self._channel = channel
        self._units, self._told_at = 0.0, 0.0

    def tell(self, *message: Any) -> None:
        """Send a message. Who started this process may have died: then it is ended, too (``_watch``)."""
        with suppress(OSError):
            self._channel.send(message)

    def begin(self, number: int) -> Tick:
        """Say that a piece is begun."""
        self._units = 0.0
        self.tell("begin", number)
        return self._tick

    def end(self, number: int) -> None:
        """Say that a piece is done."""
        self.tell("end", number)

    def skip(self, number: int) -> None:
        """Say that somebody else did a piece, or that nobody will."""
        self.tell("skip", number)

    def _tick(self, units: float) -> None:
        self._units += units
        now = time.monotonic()
        if now - self._told_at >= TELL:
            self.tell("units", self._units)
            self._units, self._told_at = 0.0, now


class _SharedFailures(Failures):
    """The cells that failed in any of the workers."""

    def __init__(self, channel: Connection, voice: _Voice):
        super().__init__()
        self._channel, self._voice = channel, voice

    def has(self, cell: Cell) -> bool:
        """Whether a cell failed, here or in another worker."""
        with suppress(OSError, EOFError):
            while self._channel.poll():
                other, error = self._channel.recv()
                self.errors[other] = error
        return super().has(cell)

    def add(self, cell: Cell, error: RainError) -> None:
        """Take note of a cell that failed, and tell the others."""
        super().add(cell, error)
        self._voice.tell("failure", cell, portable(error))


def _work(order: Order, channel: Connection) -> None:
    """Be a worker."""
    # To be ended is like Ctrl-C: nothing is left half-written, and the leases are let go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_watch, daemon=True).start()
    torch.set_num_threads(order.threads)
    keep_freed_memory()
    try:
        serve(order, channel)
    except KeyboardInterrupt:
        pass  # it was ended while it told of an error
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is at its end already


def serve(order: Order, channel: Connection) -> None:
    """Do what is ordered, and tell of it; an error is told, too."""
    voice = _Voice(channel)
    try:
        plan = rebuild(order)
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # who started this process knows which are to be seen
            warnings.showwarning = lambda message, category, *rest: voice.tell(
                "warning", str(message), category
            )
            with Leases(order.folder) as leases:
                work_on(plan, order.bundles, leases, voice, _SharedFailures(channel, voice))
    except KeyboardInterrupt:
        pass
    except RainError as error:
        voice.tell("error", portable(error))
    except ENDINGS as error:
        voice.tell("error", WorkerError(f"a worker could not go on: {describe(error)}"))


def rebuild(order: Order, classifiers: Mapping[str, nn.Module] | None = None) -> Plan:
    """Build what a plan names. What there is to be warned of was said where the run was prepared.

    Args:
        order: what is to be done.
        classifiers: those that are built already, by their specs.
    """
    assets = Assets(torch.device(order.device), order.precision, order.batches, order.skip_damaged)
    assets.take(classifiers or {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cell, _ in order.work:
            assets.hardened(cell.classifier, cell.defense)
    return Plan(assets, order.folder, order.cells, order.work, order.pictures, order.keeps)


def _watch() -> None:
    """End this process when the one ends that started it."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def portable(error: RainError) -> RainError:
    """An error that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))
    except ENDINGS:
        return WorkerError(str(error))
    return error
