"""The progress bar of long work, with the time left. Never imports torch."""

from collections.abc import Callable, Iterator, Sequence
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
