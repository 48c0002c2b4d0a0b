"""Results of a run as tables: plain rows, or a DataFrame of pandas. Never imports torch.

Example::

    frame = rain.results.frame("runs/mine")
    frame.pivot_table("robust", "defense", "access")
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rain.bench.records import records
from rain.bench.taking_over import load_each_once
from rain.errors import RainError
from rain.files import to_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame", "rows"]


def rows(folder: Path | str, rows: str = "cells") -> Iterator[dict[str, Any]]:
    """Go through the results in a folder as flat rows; every row has the same names.

    They are those of ``rain report DIR --csv``: a folder that grew has each attack once.

    Args:
        folder: of the results, as ``rain run --out`` made it.
        rows: "cells" for one row a cell, "draws" for one row an image and draw.

    Raises:
        OptionError: there is no such kind of rows.
        ResultError: no results, or a file that is not one of ours.
    """
    return records(load_each_once(to_path(folder)), rows)


def frame(folder: Path | str, rows: str = "cells") -> "pd.DataFrame":
    """Put the results in a folder into a DataFrame of pandas.

    Args:
        folder, rows: as of ``rain.results.rows``.

    Raises:
        RainError: pandas is not installed, or what ``rain.results.rows`` raises.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        what = f"a DataFrame needs pandas ({error}): pip install 'rain-defense[pandas]'"
        raise RainError(f"{what}; rain.results.rows gives plain rows without it") from None
    return pandas.DataFrame.from_records(list(records(load_each_once(to_path(folder)), rows)))
