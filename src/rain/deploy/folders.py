"""The folder of an exported model: written beside, put in its place at the end, and cleared of what was left.

A process that is killed clears nothing away. What it leaves in the folder is known by its name.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from rain.deploy.manifest import NAME, PARTS, Manifest
from rain.errors import ExportError
from rain.files import is_file

FILES = frozenset(f"{part}{suffix}" for part in PARTS for suffix in (".onnx", ".xml", ".bin", ".pt2"))
"""Every file that an exported model may have besides its manifest."""

PREFIX = ".export-"
"""Of the name of a folder to write into; ``mkdtemp`` adds eight characters."""


@contextmanager
def make_temporary(folder: Path) -> Iterator[Path]:
    """Make the folder, and one within it to write into, which is gone in the end.

    Raises:
        ExportError: it cannot be made or written, holds other files, or another process exports into it.
    """
    if is_file(folder):
        raise ExportError(f"{folder}: a file, and the exported model is a folder: give another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        temporary = Path(mkdtemp(prefix=PREFIX, dir=folder))
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written: {error.strerror or error}") from error
    lock = _lock(temporary)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def move(temporary: Path, folder: Path, manifest: Manifest) -> None:
    """Put the files in their place. The manifest goes first and comes last: without it there is no model.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / NAME).unlink(missing_ok=True)
    names = [name for graph in manifest.graphs.values() for name in graph.files]
    for old in folder.iterdir():
        if old.name in FILES and old.name not in names:
            old.unlink()
    for name in [*names, NAME]:
        os.replace(temporary / name, folder / name)


def _clear(folder: Path) -> None:
    """Remove what a killed export left.

    Graphs without a manifest are such leftovers only beside a folder to write into: ``move`` was at work.

    Raises:
        ExportError: the folder holds other files, or another process exports into it.
        OSError: a file cannot be removed.
    """
    names = {path.name for path in folder.iterdir()}
    leftovers = {name for name in names if _is_temporary(folder / name)}
    graphs = names & FILES if leftovers and NAME not in names else set()
    others = sorted(names - leftovers - graphs)
    if others and NAME not in names:
        what = f"holds other files ({', '.join(others[:3])})"
        raise ExportError(f"{folder}: {what}; give a folder that is new, empty or of an exported model")
    for name in leftovers:
        lock = _lock(folder / name)
        if lock is not None:
            os.close(lock)
        shutil.rmtree(folder / name)
    for name in graphs:
        (folder / name).unlink()


def _is_temporary(path: Path) -> bool:
    is_named_so = re.fullmatch(re.escape(PREFIX) + r"\w{8}", path.name) is not None
    return is_named_so and path.is_dir() and not path.is_symlink()


def _lock(temporary: Path) -> int | None:
    """Hold a folder to write into, so that no other process takes it for a leftover.

    A killed process lets go by itself.

    Returns: the number of an open file, which holds it; None where there are no such locks.

    Raises:
        ExportError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    number = None
    with suppress(OSError):  # some file systems of networks have none
        number = os.open(temporary, os.O_RDONLY)
    if number is None:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        what = "another process exports into it"
        raise ExportError(f"{temporary.parent}: {what}: wait for it, or give another folder") from None
    except OSError:
        os.close(number)
        return None
    return number
