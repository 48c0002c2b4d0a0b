"""Your own code: found by its place, ``package.module:name``, and named where it fails.

Never imports torch.
"""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from rain.errors import OptionError, UnknownNameError, did_you_mean

ENDINGS = (Exception, SystemExit)
"""What other people's code may raise that shall not end ours; Ctrl-C shall."""

LONGEST = 400
"""Letters of others' messages that ours hold at most: some are pages long."""

INSTALLED = tuple(
    os.path.realpath(sysconfig.get_path(place)) + os.sep for place in ("stdlib", "purelib", "platlib")
)
"""Folders of what was installed, and is nobody's own code."""


def import_definition(kind: str, target: str) -> Callable[..., Any]:
    """Import a function or class of a module.

    Args:
        kind: what it shall be, as errors call it: "classifier", "defense".
        target: ``package.module:name``. The working directory is searched first, as for ``python -m``, and
            stays importable.

    Raises:
        UnknownNameError: no such module, or nothing of this name in it that can be called.
        OptionError: the module raises when it is imported, or ends Python.
    """
    path, _, name = target.partition(":")
    home = _import(kind, path, target)
    definition = getattr(home, name, None)
    if not callable(definition):
        nearest = did_you_mean(name, _callables_of(home))
        raise UnknownNameError(f"{kind} {target!r}: no function {name!r} in {path}; {nearest}")
    return definition


def module_of(target: str) -> str:
    """The module that ``package.module:name`` names."""
    return target.partition(":")[0]


def is_place(head: str) -> bool:
    """Whether a name is written as ``package.module:name``, and no path or table."""
    path, separator, name = head.partition(":")
    return bool(separator) and name.isidentifier() and all(part.isidentifier() for part in path.split("."))


def is_module(name: str) -> bool:
    """Whether there is a module of this name, in the working directory or installed; it is not imported."""
    _see_working_directory()
    return find_spec(name) is not None


def _callables_of(home: ModuleType) -> list[str]:
    """What can be called and was defined in the module itself."""
    callables = {name: value for name, value in vars(home).items() if callable(value)}
    return [name for name, value in callables.items() if getattr(value, "__module__", None) == home.__name__]


def _import(kind: str, path: str, target: str) -> ModuleType:
    _see_working_directory()
    try:
        return importlib.import_module(path)
    except ENDINGS as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (path == missing or path.startswith(f"{missing}.")):
            what = f"no module {missing!r}, neither in {os.getcwd()} nor installed"
            raise UnknownNameError(f"{kind} {target!r}: {what}") from None
        what = f"importing {path} raised {describe(error)}"
        raise OptionError(f"{kind} {target!r}: {what}") from error


def _see_working_directory() -> None:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def describe(error: BaseException) -> str:
    """Say in one line what others' code raised, and where: ``KeyError: 'weights' (mine.py, line 9)``."""
    own_words = str(error).partition("\nException raised from")[0]  # torch adds the trace of its C++ code
    text = " ".join(own_words.split())
    if len(text) > LONGEST:
        text = text[:LONGEST] + " ..."
    what = f"{type(error).__name__}: {text}"
    if isinstance(error, SystemExit):
        what = f"SystemExit: it ends Python, by sys.exit({error.code!r})"
    place = place_of(error)
    return f"{what} ({place})" if place else what


def place_of(error: BaseException) -> str:
    """The innermost line of somebody's own code that an error came from; "" if it came through none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_own(frame.filename):
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return ""


def _is_own(file: str) -> bool:
    """Whether a file is neither ours nor installed."""
    path = os.path.realpath(file)
    ours = os.path.realpath(Path(__file__).parent) + os.sep
    return os.path.isfile(path) and not path.startswith((ours, *INSTALLED))
