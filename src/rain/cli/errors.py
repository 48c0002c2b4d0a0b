"""What a user reads when something goes wrong: one line, and an exit code."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from rain.errors import RainError
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
        # A fault of ours keeps its traceback, which tells where to mend it.
        if isinstance(error, Exception) and not place_of(error):
            raise
        print_error(f"own code raised {describe(error)}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        where = f"; {kept} are kept in {out}, {advice}" if out else ""
        print(f"\ninterrupted{where}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        warnings.formatwarning = pythons_own


def escape_output() -> None:
    """Let a letter that a stream cannot encode be spelt out, in the place of a traceback.

    Names of files may be of any alphabet, or no text at all; a terminal, a pipe or a log may have another.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_error(message: str) -> None:
    """Print what went wrong to standard error."""
    print(f"error: {message}", file=sys.stderr)


def _in_one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for what a user is told; others' deprecations and the like say where they come from."""
    if category is UserWarning:
        return f"warning: {message}\n"
    return f"{category.__name__}: {message} ({filename}, line {lineno})\n"
