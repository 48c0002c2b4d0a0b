"""The progress bar of long work, with the time left. Never imports torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

LOG_SECONDS = 60.0
"""How often the bar is printed where there is no terminal to move it on."""

Tick = Callable[[float], None]
"""Told about work done, in the units of the estimate."""

StepTick = Callable[[int, Mapping[str, float]], None]
"""Told how many steps are done, and the losses of the last one."""


@contextmanager
def bar(work: Sequence[tuple[str, float]], visible: bool) -> Iterator[Iterator[Tick]]:
    """Show one bar over several pieces of work.

    Args:
        work: what each piece is and how much it is estimated to be, in any unit.
        visible: False shows nothing.

    Yields: an iterator over the pieces: each gives the function to tell about work done in it. Coming back
        for the next one ends a piece, whatever was told about it.
    """
    if not visible or not work:
        yield iter([_ignore_units] * len(work))
        return
    from rich.progress import TaskProgressColumn

    with _live(TaskProgressColumn(), "spent", "left, at most", estimate_seconds=300) as progress:
        task = progress.add_task("", total=sum(estimate for _, estimate in work))
        yield _piece_ticks(progress, task, work)


@contextmanager
def steps_bar(total: int, done: int, visible: bool) -> Iterator[StepTick]:
    """Show the steps of a training run, with its losses and the time left.

    Args:
        total: steps of the run.
        done: steps that were done before.
        visible: False shows nothing.
    """
    if not visible:
        yield _ignore_step
        return
    from rich.progress import MofNCompleteColumn

    with _live(MofNCompleteColumn(), "steps, spent", "left", estimate_seconds=120) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield partial(_show_step, progress, task)


def _ignore_units(units: float) -> None:
    pass


def _ignore_step(step: int, losses: Mapping[str, float]) -> None:
    pass


def _piece_ticks(progress: "Progress", task: "TaskID", work: Sequence[tuple[str, float]]) -> Iterator[Tick]:
    start = 0.0
    for number, (name, estimate) in enumerate(work, 1):
        progress.update(task, description=f"{number} of {len(work)}: {name}", completed=start)
        end = start + estimate
        yield partial(_advance, progress, task, end)
        start = end
    progress.update(task, completed=start, description="done")


def _advance(progress: "Progress", task: "TaskID", end: float, units: float) -> None:
    """Move a bar on, not past the end of the piece of work that it is in."""
    completed = progress.tasks[0].completed + units
    progress.update(task, completed=min(completed, end))


def _show_step(progress: "Progress", task: "TaskID", step: int, losses: Mapping[str, float]) -> None:
    text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
    progress.update(task, completed=step, description=text)


@contextmanager
def _live(counter: "ProgressColumn", spent: str, left: str, estimate_seconds: float) -> Iterator["Progress"]:
    """Show progress on standard error: a bar that moves; in a log file a line now and then.

    Args:
        counter: what tells how much is done.
        spent, left: what stands before the two times.
        estimate_seconds: the time left is estimated from the work of so many seconds.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    elapsed = (TextColumn(spent), TimeElapsedColumn())
    remaining = (TextColumn(left), TimeRemainingColumn())
    columns = (BarColumn(bar_width=20), counter, *elapsed, *remaining, TextColumn("{task.description}"))
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(*columns, console=console, speed_estimate_period=estimate_seconds) as progress:
            yield progress
        return
    console = Console(stderr=True, width=200)
    progress = Progress(*columns, console=console, disable=True, speed_estimate_period=estimate_seconds)
    with _printed_now_and_then(lambda: console.print(progress.make_tasks_table(progress.tasks))):
        yield progress


@contextmanager
def _printed_now_and_then(print_line: Callable[[], None]) -> Iterator[None]:
    """Print a line every ``LOG_SECONDS`` until the work inside is over."""
    over = Event()

    def log() -> None:
        while not over.wait(LOG_SECONDS):
            print_line()

    thread = Thread(target=log, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
