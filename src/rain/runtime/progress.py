"""The progress bar of long work, with the time left. Never imports torch."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from rain.runtime.forecast import Forecast, Piece, duration_text

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

LOG_SECONDS = 60.0
"""How often the bar is printed where there is no terminal to move it on."""

ESTIMATE_SECONDS = 120.0
"""The time left of a training run is estimated from the steps of so many seconds."""

Tick = Callable[[float], None]
"""Told about work done, in the units of the estimate."""

StepTick = Callable[[int, Mapping[str, float]], None]
"""Told how many steps are done, and the losses of the last one."""


class Board:
    """What is told about pieces of work that are done in any order, by any number of workers.

    It shows nothing.

    A piece is known by its number in the work.
    """

    def begin(self, number: int) -> Tick:
        """Say that a piece is begun; the answer is to be told about work done in it."""
        return _ignore_units

    def end(self, number: int) -> None:
        """Say that a piece is done, whatever was told about it."""

    def skip(self, number: int) -> None:
        """Say that somebody else did a piece, or that nobody will."""

    def give_back(self, number: int) -> None:
        """Say that a piece was begun, and will be begun again."""

    def wait(self, count: int) -> None:
        """Say that there is nothing to do but to wait until others have done so many pieces."""


class BarBoard(Board):
    """One bar over all pieces, with the time left."""

    def __init__(self, progress: "Progress", forecast: Forecast):
        self._progress, self._forecast = progress, forecast
        self._units = dict.fromkeys(range(len(forecast.pieces)), 0.0)
        self._begun, self._done = 0, 0.0
        self._task = progress.add_task("", total=sum(piece.estimate for piece in forecast.pieces))

    def begin(self, number: int) -> Tick:
        """Say that a piece is begun."""
        piece = self._forecast.begin(number)
        self._begun += 1
        self._show(f"{self._begun} of {len(self._forecast.pieces)}: {piece.name}")
        return partial(self._advance, number)

    def end(self, number: int) -> None:
        """Say that a piece is done."""
        self._forecast.end(number)
        self._finish(number)

    def skip(self, number: int) -> None:
        """Say that somebody else did a piece."""
        self._begun += 1
        self._forecast.skip(number)
        self._finish(number)

    def give_back(self, number: int) -> None:
        """Say that a piece will be begun again."""
        self._begun -= 1
        self._forecast.give_back(number)
        self._set(number, 0.0)

    def wait(self, count: int) -> None:
        """Say that others do the rest."""
        self._show(f"another run does the last {count}")

    def _advance(self, number: int, units: float) -> None:
        self._set(number, self._forecast.advance(units, number))
        self._show()

    def _finish(self, number: int) -> None:
        self._set(number, self._forecast.pieces[number].estimate)
        is_over = self._begun >= len(self._units) and not self._forecast.is_at_work()
        self._show("done" if is_over else None)

    def _set(self, number: int, units: float) -> None:
        self._done += units - self._units[number]
        self._units[number] = units

    def _show(self, description: str | None = None) -> None:
        self._progress.update(self._task, completed=self._done, description=description)


@contextmanager
def board(work: Sequence[Piece], visible: bool, workers: int = 1) -> Iterator[Board]:
    """Show one bar over pieces of work that are done in any order.

    Args:
        work: the pieces.
        visible: False shows nothing.
        workers: how many of them are worked on at a time.
    """
    if not visible or not work:
        yield Board()
        return
    from rich.progress import TaskProgressColumn

    forecast = Forecast(work, workers=workers)
    with _live(TaskProgressColumn(), "done, spent", _forecast_columns(forecast)) as progress:
        yield BarBoard(progress, forecast)


@contextmanager
def bar(work: Sequence[Piece], visible: bool) -> Iterator[Iterator[Tick]]:
    """Show one bar over several pieces of work, with the time left as ``rain.runtime.forecast`` estimates it.

    Args:
        work: the pieces, in their order.
        visible: False shows nothing.

    Yields: an iterator over the pieces: each gives the function to tell about work done in it. Coming back
        for the next one ends a piece, whatever was told about it.
    """
    with board(work, visible) as shown:
        yield _in_order(shown, len(work))


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
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    left = (TextColumn("left"), TimeRemainingColumn())
    with _live(MofNCompleteColumn(), "steps, spent", left) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield partial(_show_step, progress, task)


def _ignore_units(units: float) -> None:
    pass


def _ignore_step(step: int, losses: Mapping[str, float]) -> None:
    pass


def _in_order(shown: Board, count: int) -> Iterator[Tick]:
    for number in range(count):
        yield shown.begin(number)
        shown.end(number)


def _forecast_columns(forecast: Forecast) -> tuple["ProgressColumn", ...]:
    """A column with the time left, which is computed anew whenever it is shown."""
    from rich.progress import ProgressColumn
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        def render(self, task: "Task") -> Text:
            if task.finished:
                return Text("")
            return Text(f"left: {duration_text(forecast.seconds_left(), forecast.is_guess())}")

    return (TimeLeft(),)


def _show_step(progress: "Progress", task: "TaskID", step: int, losses: Mapping[str, float]) -> None:
    text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
    progress.update(task, completed=step, description=text)


@contextmanager
def _live(counter: "ProgressColumn", spent: str, left: Sequence["ProgressColumn"]) -> Iterator["Progress"]:
    """Show progress on standard error: a bar that moves; in a log file a line now and then.

    Args:
        counter: what tells how much is done.
        spent: what stands before the time that is gone.
        left: the time left, and what stands before it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    elapsed = (TextColumn(spent), TimeElapsedColumn())
    columns = (BarColumn(bar_width=20), counter, *elapsed, *left, TextColumn("{task.description}"))
    console = Console(stderr=True)
    if console.is_terminal:
        # rich prints the output above the bar, on standard error: wrong where the output goes to a file.
        above = sys.stdout.isatty()
        period = ESTIMATE_SECONDS
        with Progress(
            *columns, console=console, speed_estimate_period=period, redirect_stdout=above
        ) as progress:
            yield progress
        return
    console = Console(stderr=True, width=200)
    progress = Progress(*columns, console=console, disable=True, speed_estimate_period=ESTIMATE_SECONDS)
    with _printed_now_and_then(lambda: console.print(progress.make_tasks_table(progress.tasks))):
        yield progress


@contextmanager
def _printed_now_and_then(print_line: Callable[[], None]) -> Iterator[None]:
    """Print a line every ``LOG_SECONDS`` until the work inside is over."""
    over = Event()

    def log() -> None:
        while not over.wait(LOG_SECONDS):
            with suppress(OSError):  # a full disk behind standard error
                print_line()

    thread = Thread(target=log, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
