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


class Forecast:
    """Says how long pieces that are worked on one after the other will still take.

    Args:
        pieces: in the order of the work.
        clock: seconds, from anywhere.
    """

    def __init__(self, pieces: Iterable[Piece], clock: Callable[[], float] = time.monotonic):
        self.pieces = tuple(pieces)
        self._clock = clock
        self._kinds: dict[str, Record] = {}
        self._models: dict[str, Record] = {}
        self._all = Record()
        self._done = 0
        self._current: Piece | None = None
        self._units = 0.0
        self._start = clock()

    def begin(self) -> Piece:
        """Begin the next piece; the one before it is done."""
        self.end()
        self._current = self.pieces[self._done]
        return self._current

    def advance(self, units: float) -> float:
        """Take note of work done in the piece that was begun; no more than its estimate counts.

        Returns: how much of the piece is done.
        """
        if self._current:
            self._units = min(self._units + units, self._current.estimate)
        return self._units

    def end(self) -> None:
        """Take note that the piece that was begun is done, whatever was told about it."""
        now = self._clock()
        if self._current:
            piece = self._current
            records = [self._kinds.setdefault(kind, Record()) for kind in piece.kinds]
            for record in (*records, self._models.setdefault(piece.model, Record()), self._all):
                record.estimate += piece.estimate
                record.units += self._units
                record.seconds += now - self._start
            self._done += 1
        self._current, self._units, self._start = None, 0.0, now

    def seconds_left(self) -> float | None:
        """Estimate how long the rest will take; None as long as nothing is done."""
        if not self._pace(""):
            return None
        if not self._current:
            return sum(map(self._seconds, self.pieces[self._done :]))
        return self._left_of(self._current) + sum(map(self._seconds, self.pieces[self._done + 1 :]))

    def is_guess(self) -> bool:
        """Whether most of the rest is of kinds of which nothing is done yet."""
        rest = self.pieces[self._done :]
        seconds = [self._seconds(piece) for piece in rest]
        unknown = [self._record(piece) is None and piece.share < 1 for piece in rest]
        guessed = sum(length for length, is_unknown in zip(seconds, unknown, strict=True) if is_unknown)
        return 2 * guessed > sum(seconds)

    def _left_of(self, piece: Piece) -> float:
        """How long the piece that is worked on will still take."""
        whole = self._seconds(piece)
        if not whole:
            return 0.0
        undone = 1 - self._units / piece.estimate
        return max(whole - self._pace(piece.model) * self._units, LEAST * whole * undone)

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
        spent = self._clock() - self._start if self._units else 0.0
        own = self._current is not None and self._current.model == model
        for record, counts in ((self._models.get(model, Record()), own), (self._all, True)):
            units = record.units + (self._units if counts else 0.0)
            seconds = record.seconds + (spent if counts else 0.0)
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
