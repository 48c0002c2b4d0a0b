"""``rain compare``: two runs, or two defences in one, image by image."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_aside
from rain.cli.reporting import COLUMNS, print_plainly

if TYPE_CHECKING:
    from rain.bench.matching import Matching

A_HELP = "Folder of results."
B_HELP = "Another one; left out, two defences of A are compared."
DEFENSE_HELP = "Only this defence; with --with the one of A."
WITH_HELP = "Compare --defense of A with this one, of B; or of A, without B."
JSON_HELP = "Write the comparison here; - for standard output, and nothing else there."


def compare(
    first: Annotated[Path, typer.Argument(help=A_HELP, metavar="A")],
    second: Annotated[Path | None, typer.Argument(help=B_HELP, metavar="[B]")] = None,
    defense: Annotated[str | None, typer.Option(help=DEFENSE_HELP)] = None,
    other: Annotated[str | None, typer.Option("--with", help=WITH_HELP)] = None,
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
) -> None:
    """Compare two runs, or two defences in one, image by image.

    Cells are compared that share dataset, size, classifier, attack, budget and access.
    """
    with clean_errors():
        from rain.errors import OptionError
        from rain.files import encode
        from rain.report.compared import comparison_rows
        from rain.report.exports import write_output

        if other is not None and defense is None:
            raise OptionError("--with names the second defence: give the first one as --defense")
        if second is None and other is None:
            what = "two folders are compared, or two defences in one"
            raise OptionError(f"{what}: give another folder, or --defense SPEC --with SPEC")
        matching = _matching(first, second or first, defense, other)
        if json:
            import json as writer

            text = writer.dumps(comparison_rows(matching), allow_nan=False, indent=1) + "\n"
            if str(json) == "-":
                print(text, end="")
                return
            write_output(json, encode(text))
            print_aside(f"comparison: {json}")
        _print(matching)


def _matching(first: Path, second: Path, defense: str | None, other: str | None) -> "Matching":
    """Read both folders, and pair their results."""
    from rain.bench.columns import without_corruptions
    from rain.bench.matching import match, of_defense
    from rain.bench.taking_over import load_each_once
    from rain.files import to_path
    from rain.specs import canonical

    own = without_corruptions(load_each_once(to_path(first)))
    others = own if second == first else without_corruptions(load_each_once(to_path(second)))
    if defense is None:
        return match(own, others)
    spec, other_spec = canonical(defense), canonical(other or defense)
    own, others = of_defense(own, spec, str(first)), of_defense(others, other_spec, str(second))
    return match(own, others, across=spec != other_spec)


def _print(matching: "Matching") -> None:
    """Print what it comes to, a table for each place and defence, and what could not be compared."""
    from rich.console import Console

    from rain.report.compared import ABOUT, HEADER, comparison_tables, comparisons, sentences
    from rain.report.table import plain_table

    every = comparisons(matching)
    overall, *others = sentences(every, matching)
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    print_plainly(console, f"\n{overall}\n")
    tables = comparison_tables(every)
    for number, (title, body) in enumerate(tables.items(), 1):
        console.print(plain_table(title, HEADER, body, ABOUT if number == len(tables) else ""))
    for sentence in others:
        print_plainly(console, sentence)
