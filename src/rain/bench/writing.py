"""Write what is finished while the next is computed: one thread, in order. Never imports torch.

A disk takes about a millisecond to say that a file is on it, a server's ten. Where a chunk is one cheap image
that is a good part of what it costs.
"""

from collections.abc import Callable
from queue import Queue
from threading import Thread
from typing import Self

WAITING = 8
"""Pieces that wait, at most. So many finished chunks, and one more, a kill (-9) may lose."""


class Writer:
    """Does small pieces of work in a thread of its own, one after the other.

    As a context manager it does all of them before it ends, also where an error or Ctrl-C ends the block.

    Args:
        waiting: pieces that wait, at most; ``put`` waits for room.
    """

    def __init__(self, waiting: int = WAITING):
        self._pieces: Queue[Callable[[], object] | None] = Queue(waiting)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        if kind is None:
            self._raise()

    def put(self, piece: Callable[[], object]) -> None:
        """Have a piece of work done soon.

        Raises:
            BaseException: what an earlier piece raised; no later one was done.
        """
        self._raise()
        self._pieces.put(piece)

    def close(self) -> None:
        """Wait until all is done."""
        self._pieces.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is not None:
                continue  # what waits behind an error is left undone, and nobody waits for room
            try:
                piece()
            except BaseException as error:
                self._error = error
