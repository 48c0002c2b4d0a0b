"""Options that several commands take."""

from collections.abc import Sequence
from typing import Annotated

import typer

from rain.errors import OptionError

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one.")]

MOST_SIDE = 8000
"""Of the squares as which images enter, in pixels."""

MOST_DRAWS = 10_000
"""Of one image."""

MOST_AT_ONCE = 1_000_000
"""Of whatever else a number is given."""


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether a user typed an option, whatever its value is."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_typed(context: typer.Context, names: Sequence[str], where: str) -> None:
    """Raise ``OptionError`` for options that a user typed, and that would be ignored.

    Args:
        names: of parameters.
        where: they mean nothing, in words.
    """
    typed = [f"--{name.replace('_', '-')}" for name in names if is_typed(context, name)]
    if typed:
        raise OptionError(f"{', '.join(typed)} would be ignored by {where}: leave out what is not meant")
