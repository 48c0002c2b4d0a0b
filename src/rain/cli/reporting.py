"""``rain report``: print what results say, and write it to files."""

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from rain.bench.cells import Result
    from rain.bench.certificates import CertifiedResult
    from rain.report.costs import CleanCost
    from rain.report.verdict import Headline

HTML_HELP = "Write one self-contained page here; - for standard output, and nothing else."
JSON_HELP = "Write the rows of the table here; - for standard output, and nothing else there."
STREAMS_HELP = (
    "Write mixed traffic here, as JSON: accuracy against the share of adversarial images; - for standard "
    "output, and nothing else."
)
DETECTION_HELP = (
    "Write here, as JSON, how well gates detect attacks, with ROC curves, and what corruptions do; - for "
    "standard output, and nothing else."
)
CERTIFICATES_HELP = (
    "Write here, as JSON, what is proven (rain certify) beside what l2 attacks left; - for standard output, "
    "and nothing else."
)
MARKDOWN_HELP = (
    "Write tables, comparisons, the checklist and what may mislead here; - for standard output, "
    "and nothing else."
)
CSV_HELP = "Write one row a cell here, for a spreadsheet; - for standard output, and nothing else."
LATEX_HELP = "Write the table here for a paper, in LaTeX; - for standard output, and nothing else."
COLUMNS = 150
"""Width of the table where there is no terminal."""


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.", metavar="DIR")],
    html: Annotated[Path | None, typer.Option(help=HTML_HELP)] = None,
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
    markdown: Annotated[Path | None, typer.Option(help=MARKDOWN_HELP)] = None,
    csv: Annotated[Path | None, typer.Option(help=CSV_HELP)] = None,
    latex: Annotated[Path | None, typer.Option(help=LATEX_HELP)] = None,
    streams: Annotated[Path | None, typer.Option(help=STREAMS_HELP)] = None,
    detection: Annotated[Path | None, typer.Option(help=DETECTION_HELP)] = None,
    certificates: Annotated[Path | None, typer.Option(help=CERTIFICATES_HELP)] = None,
) -> None:
    """Print what results say, losses first.

    The verdict on each defence, the table, and what may mislead. Whether a figure may be called robustness,
    rain check says.
    """
    with clean_errors():
        from rain.bench.certificates import load_both
        from rain.bench.columns import without_corruptions
        from rain.bench.metrics import rows
        from rain.bench.planned import never_begun
        from rain.bench.proofs import load as load_proofs
        from rain.bench.records import records
        from rain.errors import OptionError
        from rain.files import encode, to_path
        from rain.report.certificates import certificate_rows
        from rain.report.detector import detection_rows
        from rain.report.exports import check_output, page, streams_to_json, to_json, write_output
        from rain.report.latex import latex as as_latex
        from rain.report.markdown import markdown as as_markdown
        from rain.report.sheet import to_csv

        folder = to_path(folder)
        results, certified = load_both(folder)  # once: a run that goes on may write more meanwhile
        missing = never_begun(folder, results)
        texts: dict[str, tuple[Path | None, Callable[[], str]]] = {
            "rows": (json, lambda: to_json(rows(without_corruptions(results)))),
            "tables": (markdown, lambda: as_markdown(results, certified, load_proofs(folder), missing)),
            "cells": (csv, lambda: to_csv(records(results))),
            "latex": (latex, lambda: as_latex(results)),
            "streams": (streams, lambda: streams_to_json(results)),
            "detection": (detection, lambda: to_json(detection_rows(results))),
            "certificates": (certificates, lambda: to_json(certificate_rows(certified, results))),
            "report": (html, lambda: page(folder, results, certified)),
        }
        to_files = {name: to_path(path) for name, (path, _) in texts.items() if path and str(path) != "-"}
        to_output = [make for path, make in texts.values() if str(path) == "-"]
        if len(to_output) > 1 or len({path.resolve() for path in to_files.values()}) < len(to_files):
            raise OptionError("two outputs go to one place, where one would be lost: give each its own")
        for path in to_files.values():
            check_output(path)
        # Files first: who pipes the output into head ends the command.
        for name, path in to_files.items():
            write_output(path, encode(texts[name][1]()))
            print_aside(f"{name}: {path.resolve().as_uri() if name == 'report' else path}")
        for make in to_output:
            print(make(), end="")
        if not to_output:
            print_results(folder, results, certified)


def print_report(folder: Path) -> None:
    """Print the verdict, the table and what may mislead of the results in a folder."""
    from rain.bench.certificates import load_both

    print_results(folder, *load_both(folder))


def print_results(folder: Path, every: "list[Result]", certified: "list[CertifiedResult]") -> None:
    """Print the same of what was read from the folder."""
    from rich.console import Console

    from rain.bench.checks import check
    from rain.bench.columns import without_corruptions
    from rain.bench.metrics import rows
    from rain.bench.planned import never_begun
    from rain.report.costs import costs
    from rain.report.labels import defense_labels, is_replayed, meanings_of
    from rain.report.table import table
    from rain.report.verdict import summary

    results = without_corruptions(every)
    defenses = {result.cell.defense for result in every} | {result.cell.defense for result in certified}
    labels = defense_labels(sorted(defenses))
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    console.print()
    replayed = any(is_replayed(result.cell.attack) for result in results)
    meanings = meanings_of((result.cell.access for result in results), replayed=replayed)
    _print_verdict(console, summary(results), meanings)
    _print_rivals(console, results, labels)
    _print_costs(console, costs(every))
    _print_submissions(console, results, labels)
    _print_mixed_traffic(console, results)
    _print_detectors(console, every, labels)
    console.print()
    if results:
        console.print(table(rows(results)))
    _print_corruptions(console, every, labels)
    _print_certificates(console, certified, every, labels)
    for finding in check(every, never_begun(folder, every)):
        defense = f"{labels[finding.defense]}: " if finding.defense else ""
        print_plainly(console, f"{finding.level}: {defense}{finding.text}")


def _print_verdict(console: "Console", headlines: "list[Headline]", meanings: dict[str, str]) -> None:
    """Print what all defences come to, what the words mean, and each defence at its largest budget.

    The page has the other budgets. The place is left out where there is only one.
    """
    from rain.report.sentences import overall
    from rain.report.verdict import at_largest_budgets

    largest = at_largest_budgets(headlines)
    if largest:
        print_plainly(console, f"{overall(largest)}\n")
    for access, meaning in meanings.items():
        print_plainly(console, f"{access}: {meaning}")
    console.print()
    _print_by_place(console, largest)


def _print_rivals(console: "Console", results: "list[Result]", labels: dict[str, str]) -> None:
    """Print how defended classifiers stand against others that have nothing before them."""
    from rain.report.rivals import ABOUT, sentences

    lines = sentences(results, labels)
    if lines:
        print_plainly(console, f"\n{ABOUT}")
    for line in lines:
        print_plainly(console, f"- {line}")


def _print_costs(console: "Console", costs: "list[CleanCost]") -> None:
    """Print what each defence costs where nothing was attacked."""
    from rain.report.costs import UNATTACKED

    if costs:
        print_plainly(console, f"{UNATTACKED}\n")
    _print_by_place(console, costs)


def _print_submissions(console: "Console", results: "list[Result]", labels: dict[str, str]) -> None:
    """Print of each random defence what several submissions leave. The page and the Markdown have tables."""
    from rain.report.submissions import submission_sections

    for section in submission_sections(results, labels):
        print_plainly(console, f"\nSubmitted again: {section.place}")
        for sentence in section.sentences:
            print_plainly(console, f"- {sentence}")


def _print_mixed_traffic(console: "Console", results: "list[Result]") -> None:
    """Print what defences are worth in mixed traffic, at the largest budget of each place.

    The page has the plots and the tables.
    """
    from rain.report.labels import defense_labels
    from rain.report.streams import alarms_text, overall, sections

    every = sections(results, defense_labels(sorted({result.cell.defense for result in results})))
    places = {section.place: section for section in reversed(every)}
    for place, section in reversed(places.items()):
        where = f"{place}: " if len(places) > 1 else ""
        print_plainly(console, f"\n{where}{overall(section)}")
        if section.alarms:
            print_plainly(console, alarms_text(section))


def _print_detectors(console: "Console", results: "list[Result]", labels: dict[str, str]) -> None:
    """Print of each gate what it is worth as a detector. The page and the Markdown have the tables."""
    from rain.report.detector import detectors

    sections = detectors(results, labels)
    for section in sections:
        console.print()
        if len(sections) > 1:
            print_plainly(console, f"{section.place}:")
        for sentence in section.sentences:
            print_plainly(console, sentence)


def _print_corruptions(console: "Console", results: "list[Result]", labels: dict[str, str]) -> None:
    """Print what corruptions do, as a table for each place."""
    from rain.report.detector import CORRUPTIONS, corruption_sections
    from rain.report.table import plain_table

    for section in corruption_sections(results, labels):
        title = f"Corruptions (no attack): {section.place}"
        console.print(plain_table(title, section.header, section.body, CORRUPTIONS))
        for sentence in section.sentences:
            print_plainly(console, sentence)


def print_certificates(folder: Path, width: int = COLUMNS) -> None:
    """Print what is proven of the results in a folder.

    Args:
        width: of the table where there is no terminal.
    """
    from rich.console import Console

    from rain.bench.certificates import load_both
    from rain.report.labels import defense_labels

    results, certified = load_both(folder)
    labels = defense_labels(sorted({result.cell.defense for result in certified}))
    console = Console(width=None if sys.stdout.isatty() else width)
    _print_certificates(console, certified, results, labels)


def _print_certificates(
    console: "Console",
    certified: "list[CertifiedResult]",
    results: "list[Result]",
    labels: dict[str, str],
) -> None:
    """Print what is proven, as a table for each place."""
    from rain.report.certificates import ABOUT, certificate_sections
    from rain.report.table import plain_table

    for section in certificate_sections(certified, results, labels):
        console.print()
        console.print(plain_table(f"Certified: {section.place}", section.header, section.body, ABOUT))
        for sentence in section.sentences:
            print_plainly(console, sentence)


def _print_by_place(console: "Console", items: "Sequence[Headline | CleanCost]") -> None:
    """Print a sentence for each, below its place if there are several."""
    from rain.bench.metrics import place_text

    places = {place_text(each) for each in items}
    for place, group in groupby(items, key=place_text):
        if len(places) > 1:
            print_plainly(console, f"{place}:")
        for each in group:
            print_plainly(console, f"- {each.sentence}")


def print_plainly(console: "Console", text: str) -> None:
    """Print text that rich is not to read as its markup, nor to colour, and the terminal not as commands."""
    from rain.errors import visible

    console.print(visible(text), markup=False, highlight=False)
