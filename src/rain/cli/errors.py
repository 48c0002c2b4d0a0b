"""What a user reads when something goes wrong: one line, and an exit code."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from rain.errors import RainError, visible
from rain.own_code import ENDINGS, describe, place_of


@contextmanager
def clean_errors(
    out: Path | None = None,
    kept: str = "finished chunks",
    advice: str = "the same command goes on from there",
) -> Iterator[None]:
    """Print errors and warnings in one line each, and exit with 1 after an error, with 130 after Ctrl-C.

    An error is what the package raises on purpose, and whatever a user's own code raises.

    Args:
        out: folder where finished work is kept; None where nothing is.
        kept: what Ctrl-C leaves there.
        advice: how to go on with it.
    """
    pythons_own = warnings.formatwarning
    warnings.formatwarning = _in_one_line
    try:
        yield
    except RainError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    except ENDINGS as error:
        # A fault of ours keeps its traceback, which tells where to mend it; rich ends a closed pipe with 1.
        is_told = isinstance(error, Exception) or bool(error.code)
        if is_told and not place_of(error):
            raise
        print_error(f"own code raised {describe(error)}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        where = f"; {kept} are kept in {out}, {advice}" if out else ""
        print_aside(f"\ninterrupted{where}")
        raise typer.Exit(130) from None
    finally:
        warnings.formatwarning = pythons_own


def prepare_output() -> None:
    """Let a letter that a stream cannot encode be spelt out, in the place of a traceback.

    Names of files may be of any alphabet, or no text at all; a terminal, a pipe or a log may have another.
    Without standard error, nothing of what it would hold may reach the output.

    Raises:
        SystemExit: there is no standard output.
    """
    # The type checker does not know that Python sets them to None where they are closed.
    streams: list[Any] = [sys.stdout, sys.stderr]
    if streams[1] is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if streams[0] is None:
        print_error("standard output is closed; send it to a file, or to /dev/null")
        raise SystemExit(1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def checked_output() -> Iterator[None]:
    """See at the end that all of the output was written; else say why not, and exit with 1.

    Who closes a pipe, as head does, has read enough, and is told nothing.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            _end_if_broken("\n")  # what could not be written may be forgotten
        raise
    finally:
        _end_if_broken("")


def _end_if_broken(text: str) -> None:
    """Write to the output what is left of it, and a text; if that cannot be, say why and exit with 1."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Or Python would try again when it ends, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print_error(f"standard output cannot be written: {error.strerror or error}")
        raise SystemExit(1) from None


def print_error(message: str) -> None:
    """Print what went wrong to standard error."""
    print_aside(f"error: {message}")


def print_aside(message: str) -> None:
    """Print to standard error; where that cannot be written, the work goes on.

    A message may hold names that somebody sent. They are spelt out, so that no terminal obeys them.
    """
    with suppress(OSError):
        print(visible(message), file=sys.stderr, flush=True)


def _in_one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for what a user is told; others' deprecations and the like say where they come from."""
    if category is UserWarning:
        return f"warning: {visible(str(message))}\n"
    return f"{category.__name__}: {message} ({filename}, line {lineno})\n"
