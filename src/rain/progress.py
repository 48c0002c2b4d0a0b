"""The progress bar of long work, with the time left. Never imports torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

Tick = Callable[[float], None]
"""Told about work done, in the units of the estimate."""


@contextmanager
def bar(work: Sequence[tuple[str, float]], shown: bool) -> Iterator[Iterator[Tick]]:
    """Show one bar over several pieces of work.

    Args:
        work: what each piece is and how much it is estimated to be, in any unit.
        shown: False shows nothing.

    Yields: an iterator over the pieces: each gives the function to tell about work done in it. Coming back for the next one ends a piece, whatever
        was told about it.
    """
    if not shown or not work:
        yield iter([lambda units: None] * len(work))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("spent"),
        TimeElapsedColumn(),
        TextColumn("left, at most"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=300) as progress:
        task = progress.add_task("", total=sum(estimate for _, estimate in work))

        def pieces() -> Iterator[Tick]:
            done = 0.0
            for number, (name, estimate) in enumerate(work, 1):
                progress.update(task, description=f"{number} of {len(work)}: {name}", completed=done)
                end = done + estimate
                yield lambda units, end=end: progress.update(task, completed=min(progress.tasks[0].completed + units, end))  # type: ignore[misc]
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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("steps, spent"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda step, losses: progress.update(
            task, completed=step, description=", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        )
