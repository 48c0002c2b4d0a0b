"""Claims of work by several runs on one folder: leases that expire. Never imports torch.

A lease is a file, ``DIR/.leases/<name>.<generation>.lease``. Who makes it holds it: the system lets one
process alone make a file of a name. While he lives he writes another number into it now and then. Where that
number stays the same for ``PATIENCE`` seconds the lease is over, and whoever makes the file of the next
generation holds the work: there is one winner again, however many saw that it was over. Those seconds are of
the watcher's own clock that cannot be set; the time of day, and the times of files, play no part.

Two who hold the same work after all (a holder was asleep, and woke) do harm to nothing but time: a result is
written under another name and put in its place whole.
"""

import os
import platform
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Self

from rain.bench.cells import check_inside
from rain.errors import ResultError
from rain.files import encode, read_foreign

FOLDER = ".leases"
"""Within the folder of the results; gone when nobody holds anything."""

BEAT = 5.0
"""Seconds between two signs of life."""

PATIENCE = 60.0
"""Seconds without a sign of life after which a lease is over."""

LONGEST_LOOK = 2.0
"""Of the seconds since a lease was last looked at, so many count: a watcher may have been asleep, too."""

LEASE_BYTES = 1000
"""Of a lease, at most."""

NAME = re.compile(r"(?P<name>[0-9a-z]+-[0-9]+)\.(?P<generation>[0-9]{1,4})\.lease", re.ASCII)


@dataclass
class Hold:
    """A lease that this process holds."""

    path: Path
    descriptor: int
    generation: int
    beats: int = 0


@dataclass
class Watch:
    """What a watcher knows of a lease of somebody else: what was last in it, and for how long."""

    content: bytes
    looked_at: float
    silent: float = 0.0


class Leases:
    """The leases of one process in a folder of results. As a context manager it lets all go at its end.

    Args:
        folder: of the results.
        clock: seconds, from anywhere, that only go forward.
        beat: seconds between two signs of life.
        patience: seconds without one after which a lease of others is over.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        beat: float = BEAT,
        patience: float = PATIENCE,
    ):
        self.folder = folder / FOLDER
        self._results = folder
        self._clock, self._beat, self._patience = clock, beat, patience
        self._holds: dict[str, Hold] = {}
        self._watched: dict[Path, Watch] = {}
        self._lock, self._over = Lock(), Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def claim(self, name: str) -> bool:
        """Try to get a piece of work.

        Args:
            name: of the work, as ``lease_name`` writes it.

        Returns: whether it is this process's now. False where somebody holds it who lives, or who may.

        Raises:
            ResultError: no lease can be written there: the disk is full, or the folder is read-only.
        """
        if self.holds(name):
            return True
        generation = self._generations().get(name, -1)
        if generation >= 0 and not self._is_over(self._path(name, generation)):
            return False
        hold = self._make(name, generation + 1)
        if hold is None:
            return False
        with self._lock:
            self._holds[name] = hold
        if self._thread is None:
            self._thread = Thread(target=self._live, daemon=True)
            self._thread.start()
        return True

    def holds(self, name: str) -> bool:
        """Whether a piece of work is this process's."""
        return name in self._holds

    def release(self, name: str) -> None:
        """Let a piece of work go, and the leases on it that were over. Any thread may, and twice."""
        with self._lock:
            hold = self._holds.pop(name, None)
            if hold is None:
                return
            os.close(hold.descriptor)
        # The oldest first: whoever looks in between sees that there is a holder.
        for generation in range(hold.generation + 1):
            with suppress(OSError):
                self._path(name, generation).unlink()

    def others(self) -> set[str]:
        """Name the work that somebody else holds, or held when he died."""
        mine = set(self._holds)  # before the look: another thread may let some go meanwhile
        return self._generations().keys() - mine

    def close(self) -> None:
        """Let all go."""
        self._over.set()
        for name in list(self._holds):
            self.release(name)
        if self._thread:
            self._thread.join()
        with suppress(OSError):  # others have theirs in it
            self.folder.rmdir()

    def _path(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation}.lease"

    def _generations(self) -> dict[str, int]:
        """The last generation of each lease that is there."""
        latest: dict[str, int] = {}
        try:
            names = os.listdir(self.folder)
        except OSError:
            return {}
        for file in names:
            match = NAME.fullmatch(file)
            if match:
                name, generation = match["name"], int(match["generation"])
                latest[name] = max(generation, latest.get(name, -1))
        return latest

    def _make(self, name: str, generation: int) -> Hold | None:
        """Make a lease; None where somebody else was faster."""
        path = self._path(name, generation)
        try:
            if self.folder.is_symlink():
                check_inside(self.folder, self._results)
            descriptor = self._open_new(path)
        except FileExistsError:
            return None
        except OSError as error:
            raise _unwritable(path, error) from error
        hold = Hold(path, descriptor, generation)
        try:
            _write(hold)
        except OSError as error:
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            raise _unwritable(path, error) from error
        return hold

    def _open_new(self, path: Path) -> int:
        """Make a file, here or not at all: a link of that name is not followed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            # The first one; or somebody who was ready has just taken the folder away.
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)

    def _is_over(self, path: Path) -> bool:
        """Whether the holder of a lease is dead, as far as one can tell by now."""
        try:
            content = read_foreign(path, LEASE_BYTES)
        except FileNotFoundError:
            return False  # it was let go just now: the next look will tell
        except OSError:
            content = b""
        if _is_of_dead(content):
            return True
        now = self._clock()
        watch = self._watched.get(path)
        if watch is None or watch.content != content:
            self._watched[path] = Watch(content, now)
            return False
        watch.silent += min(now - watch.looked_at, LONGEST_LOOK)
        watch.looked_at = now
        return watch.silent >= self._patience

    def _live(self) -> None:
        """Give signs of life until all is over."""
        while not self._over.wait(self._beat):
            with self._lock:
                for hold in self._holds.values():
                    hold.beats += 1
                    with suppress(OSError):  # a disk that is full, or away for a while
                        _write(hold)


def lease_name(key: str, chunk: int) -> str:
    """Name a piece of work.

    Args:
        key: of the cell whose attacker makes the images (``rain.bench.access.crafted_by``).
        chunk: its number.
    """
    return f"{key}-{chunk:05d}"


def machine() -> str:
    """Name the machine, since it was started, and what numbers its processes: two containers differ."""
    parts = [platform.node()]
    for read in (_boot, _process_numbers):
        with suppress(OSError):
            parts.append(read())
    return "/".join("".join(part.split()) for part in parts)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")


def _process_numbers() -> str:
    return os.readlink("/proc/self/ns/pid")


MACHINE = machine()

TOKEN = secrets.token_hex(8)
"""Of this process: another one may have its number, on another machine or later."""


def _write(hold: Hold) -> None:
    """Write a sign of life. It is as long as the one before: on a full disk there is room for it."""
    os.lseek(hold.descriptor, 0, os.SEEK_SET)
    os.write(hold.descriptor, encode(f"{hold.beats:012d} {os.getpid()} {TOKEN} {MACHINE}\n"))
    if hold.beats:  # what others see of a file on a server; that there is a lease they see at once
        os.fsync(hold.descriptor)


def _is_of_dead(content: bytes) -> bool:
    """Whether a lease is of a process of this machine that is no more. What is no lease tells nothing."""
    fields = content.decode("utf-8", "replace").split()
    if len(fields) != 4 or fields[3] != MACHINE or os.name != "posix":
        return False
    if not re.fullmatch(r"[1-9][0-9]{0,8}", fields[1], re.ASCII):
        return False
    try:
        os.kill(int(fields[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's, and there
        return False
    return int(fields[1]) == os.getpid() and fields[2] != TOKEN


def _unwritable(path: Path, error: OSError) -> ResultError:
    kept = "What is finished is kept; run the same command again"
    return ResultError(f"{path}: cannot be written: {error.strerror or error}. {kept}")
