"""``rain report``: print what results say, and write it to files."""

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors

if TYPE_CHECKING:
    from rich.console import Console

    from rain.report.verdict import Headline

JSON_HELP = "Write the rows of the table here; - for standard output, and nothing else there."
COLUMNS = 150
"""Width of the table where there is no terminal."""


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.", metavar="DIR")],
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page here.")] = None,
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
) -> None:
    """Print what results say: the verdict, losses first, the table, and what the checklist misses."""
    with clean_errors():
        from rain.bench.cells import load, write_file
        from rain.bench.metrics import rows
        from rain.report.exports import to_json, write_html

        table = rows(load(folder))
        if json and str(json) == "-":
            print(to_json(table), end="")
        else:
            print_report(folder)
        if json and str(json) != "-":
            write_file(json, to_json(table).encode())
            print(f"rows: {json}", file=sys.stderr)
        if html:
            write_html(folder, html)
            print(f"report: {html.resolve().as_uri()}", file=sys.stderr)


def print_report(folder: Path) -> None:
    """Print the sentences, the table and the checklist of the results in a folder."""
    from rich.console import Console

    from rain.bench.cells import load
    from rain.bench.checks import check
    from rain.bench.metrics import rows
    from rain.report.table import table
    from rain.report.verdict import summary

    results = load(folder)
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    console.print()
    _print_sentences(console, summary(results))
    console.print()
    console.print(table(rows(results)))
    for finding in check(results):
        defense = f"{finding.defense}: " if finding.defense else ""
        _print_plainly(console, f"{finding.level}: {defense}{finding.text}")


def _print_sentences(console: "Console", headlines: "list[Headline]") -> None:
    """Print each defence's sentence at its largest budget (the page has them all), below their places.

    The place is left out where there is only one.
    """
    from rain.bench.metrics import place_text

    places = {place_text(headline) for headline in headlines}
    for place, group in groupby(_at_largest_budget(headlines), key=place_text):
        if len(places) > 1:
            _print_plainly(console, f"{place}:")
        for headline in group:
            _print_plainly(console, headline.sentence)


def _at_largest_budget(headlines: "list[Headline]") -> "list[Headline]":
    """Of each defence, norm and place those at the largest eps, in the same order."""
    from rain.bench.metrics import place_text

    def column(headline: "Headline") -> tuple[str, str, str]:
        return headline.defense, headline.norm, place_text(headline)

    largest: dict[tuple[str, str, str], float] = {}
    for headline in headlines:
        eps = largest.get(column(headline), headline.eps)
        largest[column(headline)] = max(eps, headline.eps)
    return [headline for headline in headlines if headline.eps == largest[column(headline)]]


def _print_plainly(console: "Console", text: str) -> None:
    """Print text that rich is not to read as its markup, nor to colour."""
    console.print(text, markup=False, highlight=False)
