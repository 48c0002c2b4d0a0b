"""Options that several commands take."""

from typing import Annotated

import typer

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one.")]

MOST_SIDE = 8000
"""Of the squares as which images enter, in pixels."""

MOST_DRAWS = 10_000
"""Of one image."""

MOST_AT_ONCE = 1_000_000
"""Of whatever else a number is given."""
