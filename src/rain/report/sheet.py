"""Results as a file for spreadsheets: comma-separated values. Never imports torch."""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Signs with which spreadsheets begin what they compute; the last four are the wide ones."""


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV with a line of names above; empty for no rows.

    Args:
        rows: all with the same names, as ``rain.bench.records.records`` makes them.

    Convention:
        Numbers are written in full, nothing is an empty cell, and flags are ``true`` and ``false``. A text
        that a spreadsheet would compute gets a ``'`` before it: names come from whoever sent the results.
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([_cell(value) for value in row.values()])
    return file.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell of the sheet."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # The writer does not quote a lone carriage return, with which a spreadsheet begins a row.
        return _inert(value.replace("\0", "\ufffd").replace("\r", "\n"))
    return value


def _inert(text: str) -> str:
    """Keep a spreadsheet from computing a text. It skips blanks before a sign, and some take tabs for one."""
    begins_so = text.lstrip().startswith(FORMULA) or text[:1] in ("\t", "\n")
    return f"'{text}" if begins_so else text
