"""The progress bar of long work, with the time left. Never imports torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_SECONDS = 60.0
"""How often the bar is printed where there is no terminal to move it on."""

Tick = Callable[[float], None]
"""Told about work done, in the units of the estimate."""


@contextmanager
def bar(work: Sequence[tuple[str, float]], shown: bool) -> Iterator[Iterator[Tick]]:
    """Show one bar over several pieces of work.

    Args:
        work: what each piece is and how much it is estimated to be, in any unit.
        shown: False shows nothing.

    Yields: an iterator over the pieces: each gives the function to tell about work done in it. Coming back
        for the next one ends a piece, whatever was told about it.
    """
    if not shown or not work:
        yield iter([lambda units: None] * len(work))
        return
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("spent"),
        TimeElapsedColumn(),
        TextColumn("left, at most"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.description}"),
    )
    with _live(*columns, speed_estimate_period=300) as progress:
        task = progress.add_task("", total=sum(estimate for _, estimate in work))

        def pieces() -> Iterator[Tick]:
            done = 0.0
            for number, (name, estimate) in enumerate(work, 1):
                progress.update(task, description=f"{number} of {len(work)}: {name}", completed=done)
                end = done + estimate
                yield lambda units, end=end: progress.update(
                    task, completed=min(progress.tasks[0].completed + units, end)
                )  # type: ignore[misc]
                done = end
            progress.update(task, completed=done, description="done")

        yield pieces()


Tell = Callable[[int, Mapping[str, float]], None]
"""Told how many steps are done, and the losses of the last one."""


@contextmanager
def steps_bar(total: int, done: int, shown: bool) -> Iterator[Tell]:
    """Show the steps of a training run, with its losses and the time left.

    Args:
        total: steps of the run.
        done: steps that were done before.
        shown: False shows nothing.
    """
    if not shown:
        yield lambda step, losses: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("steps, spent"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with _live(*columns, speed_estimate_period=120) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda step, losses: progress.update(
            task,
            completed=step,
            description=", ".join(f"{name} {value:.3f}" for name, value in losses.items()),
        )


@contextmanager
def _live(*columns: object, **options: float) -> Iterator["Progress"]:
    """Show progress on standard error: a bar that moves; in a log file a line now and then."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(*columns, console=console, **options) as progress:  # type: ignore[arg-type]
            yield progress
        return
    console = Console(stderr=True, width=200)
    progress = Progress(*columns, console=console, disable=True, **options)  # type: ignore[arg-type]
    over = Event()

    def log() -> None:
        while not over.wait(LOG_SECONDS):
            console.print(progress.make_tasks_table(progress.tasks))

    thread = Thread(target=log, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        over.set()
        thread.join()
