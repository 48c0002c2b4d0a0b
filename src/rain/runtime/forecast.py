"""How long work will still take, learned from the part that is done. Never imports torch.

What a piece of work is estimated to be is an upper bound: images leave an attack as soon as they are fooled.
What share of its estimate a piece really needs, and how long a unit takes, shows once others like it are
done.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite

LEAST = 0.1
"""A piece that is beyond what was expected of it is taken to need this share of the rest of its estimate."""


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Args:
        name: what people call it.
        estimate: how much it is at most, in any unit.
        kinds: what it is like, the nearest first: pieces of a kind need similar shares of their estimates.
        model: what is computed; the units of one model take the same time.
        share: of the estimate that it is taken to need, as long as nothing of any of its kinds is done.
    """

    name: str
    estimate: float
    kinds: tuple[str, ...] = ()
    model: str = ""
    share: float = 1.0


@dataclass
class Record:
    """What pieces that are done came to, in all."""

    estimate: float = 0.0
    units: float = 0.0
    seconds: float = 0.0


@dataclass
class Open:
    """A piece that is worked on.

    Args:
        start: when it was begun, by the forecast's clock.
        units: of it that are done.
    """

    start: float
    units: float = 0.0


class Forecast:
    """Says how long pieces of work will still take.

    Args:
        pieces: of the work, in the order in which they are begun where nobody says which.
        clock: seconds, from anywhere.
        workers: how many pieces are worked on at a time.
    """

    def __init__(
        self, pieces: Iterable[Piece], clock: Callable[[], float] = time.monotonic, workers: int = 1
    ):
        self.pieces = tuple(pieces)
        self._clock, self._workers = clock, workers
        self._kinds: dict[str, Record] = {}
        self._models: dict[str, Record] = {}
        self._all = Record()
        self._left = dict.fromkeys(range(len(self.pieces)))
        self._open: dict[int, Open] = {}
        self._idle_since = clock()

    def begin(self, number: int | None = None) -> Piece:
        """Begin a piece.

        Args:
            number: of it; by default the next one, and all before it are done.
        """
        if number is None:
            self.end()
            number = next(iter(self._left))
        # What one worker does between two pieces belongs to the second: reading its images, and the like.
        start = self._idle_since if self._workers == 1 else self._clock()
        self._open[number] = Open(start)
        return self.pieces[number]

    def advance(self, units: float, number: int | None = None) -> float:
        """Take note of work done in a piece that was begun; no more than its estimate counts.

        Returns: how much of the piece is done.
        """
        if number is None:
            number = next(iter(self._open), None)
        if number is None or number not in self._open:
            return 0.0
        begun = self._open[number]
        begun.units = min(begun.units + units, self.pieces[number].estimate)
        return begun.units

    def end(self, number: int | None = None) -> None:
        """Take note that a piece that was begun is done, whatever was told about it; by default all."""
        now = self._clock()
        for one in list(self._open) if number is None else [number]:
            begun, piece = self._open.pop(one), self.pieces[one]
            records = [self._kinds.setdefault(kind, Record()) for kind in piece.kinds]
            for record in (*records, self._models.setdefault(piece.model, Record()), self._all):
                record.estimate += piece.estimate
                record.units += begun.units
                record.seconds += now - begun.start
            self._left.pop(one, None)
        self._idle_since = now

    def skip(self, number: int) -> None:
        """Take note that somebody else did a piece, or nobody will."""
        self._open.pop(number, None)
        self._left.pop(number, None)

    def give_back(self, number: int) -> None:
        """Take note that a piece was begun, and will be begun again: who worked on it is dead."""
        self._open.pop(number, None)

    def is_at_work(self) -> bool:
        """Whether a piece was begun that is not done."""
        return bool(self._open)

    def seconds_left(self) -> float | None:
        """Estimate how long the rest will take; None as long as nothing is done."""
        if not self._pace(""):
            return None
        seconds = [self._left_of(number) for number in self._left]
        return sum(seconds) / max(1, min(self._workers, len(seconds)))

    def is_guess(self) -> bool:
        """Whether most of the rest is of kinds of which nothing is done yet."""
        rest = [self.pieces[number] for number in self._left]
        seconds = [self._seconds(piece) for piece in rest]
        unknown = [self._record(piece) is None and piece.share < 1 for piece in rest]
        guessed = sum(length for length, is_unknown in zip(seconds, unknown, strict=True) if is_unknown)
        return 2 * guessed > sum(seconds)

    def _left_of(self, number: int) -> float:
        """How long a piece will still take."""
        piece, begun = self.pieces[number], self._open.get(number)
        whole = self._seconds(piece)
        if not begun or not whole:
            return whole
        undone = 1 - begun.units / piece.estimate
        return max(whole - self._pace(piece.model) * begun.units, LEAST * whole * undone)

    def _seconds(self, piece: Piece) -> float:
        """How long a piece is expected to take, from its beginning to its end."""
        nearest = self._kinds.get(piece.kinds[0]) if piece.kinds else None
        if nearest and nearest.estimate:
            return nearest.seconds / nearest.estimate * piece.estimate
        return self._share(piece) * piece.estimate * self._pace(piece.model)

    def _share(self, piece: Piece) -> float:
        """The share of its estimate that a piece is expected to need."""
        record = self._record(piece)
        return record.units / record.estimate if record else piece.share

    def _record(self, piece: Piece) -> Record | None:
        """What is known of the pieces that are most like this one."""
        records = [self._kinds[kind] for kind in piece.kinds if kind in self._kinds]
        return next((record for record in records if record.estimate), None)

    def _pace(self, model: str) -> float:
        """The seconds that a unit takes: of a model, or of all where nothing of it is done; 0 for unknown."""
        own = [begun for number, begun in self._open.items() if self.pieces[number].model == model]
        for record, counted in ((self._models.get(model, Record()), own), (self._all, self._open.values())):
            running = [begun for begun in counted if begun.units]
            units = record.units + sum(begun.units for begun in running)
            seconds = record.seconds + sum(self._clock() - begun.start for begun in running)
            if units and seconds:
                return seconds / units
        return 0.0


def duration_text(seconds: float | None, is_guess: bool = False) -> str:
    """Write a time left for people: ``about 40 s``, ``about 2 h 10 min``, ``perhaps 6 min`` for a guess."""
    if seconds is None or not isfinite(seconds):
        return "unknown"
    about = "perhaps" if is_guess else "about"
    if seconds < 60:
        return f"{about} {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{about} {minutes} min"
    # Beyond some hours nobody needs the minutes.
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return f"{about} {hours} h {rest} min" if rest and hours < 6 else f"{about} {hours} h"
