"""``rain check``: hold results against the evaluation checklist, and refuse a claim that lacks something."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_aside
from rain.cli.reporting import COLUMNS, print_plainly

if TYPE_CHECKING:
    from rich.console import Console

    from rain.bench.cells import Result
    from rain.bench.checklist import Checked

JSON_HELP = "Write one row a defence and point here; - for standard output, and nothing else there."
ALL_HELP = "Say it of every budget; by default of the one at which most attacks were tried."


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.", metavar="DIR")],
    json: Annotated[Path | None, typer.Option(help=JSON_HELP)] = None,
    every_budget: Annotated[bool, typer.Option("--every-budget", help=ALL_HELP)] = False,
) -> None:
    """Say by the checklist whether a claim is allowed.

    A claim that a defence is robust needs an adaptive attack on 100 images, and no point that failed. Of a
    random defence it needs a proof that such an attack finds what is there (rain prove). Of any other it
    needs an attack with gradients, whose figure is flat where its steps are doubled, and that leaves nothing
    without a budget. The command ends with status 1 where a claim is not allowed, or where no defence was
    attacked at a budget. What else was not run is listed, and does not forbid a claim. No claim is asked of
    ablations on few images, beside the defence that they are of.
    """
    with clean_errors():
        from rain.bench.checklist import checklist, checklist_rows
        from rain.bench.proofs import load as load_proofs
        from rain.bench.taking_over import load_each_once
        from rain.files import encode, to_path
        from rain.report.exports import to_json, write_output

        folder = to_path(folder)
        results = load_each_once(folder)
        checked = checklist(results, load_proofs(folder), main=not every_budget)
        rows = to_json(checklist_rows(checked))
        if json and str(json) != "-":
            write_output(json, encode(rows))
            print_aside(f"checklist: {json}")
        if str(json) == "-":
            print(rows, end="")
        else:
            _print_checked(checked, results, folder)
    claims = [one for one in checked if not one.control]
    if not claims or any(one.refusals for one in claims):
        raise typer.Exit(1)


def _print_checked(checked: "list[Checked]", results: "list[Result]", folder: Path) -> None:
    """Print each defence with its points, and at last whether claims are allowed.

    Args:
        results: that were checked.
    """
    from rich.console import Console

    from rain.report.labels import defense_labels
    from rain.report.panel import budget_text, controls_text, unlimited

    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    labels = defense_labels(dict.fromkeys(result.cell.defense for result in results))
    places = {one.case.place for one in checked}
    lines = []
    for one in checked:
        if one.control:
            continue
        where = f"{one.case.place}: " if len(places) > 1 else ""
        title = f"{where}{labels[one.case.defense]} at {budget_text(one.case)}"
        _print_points(console, title, one)
        verdict = f"no claim is allowed: {', '.join(one.refusals)}" if one.refusals else "a claim is allowed"
        lines.append(f"{title}: {verdict}.")
    lines += unlimited(results, labels)
    controls = [labels[one.case.defense] for one in checked if one.control]
    if controls:
        lines.append(controls_text(controls))
    if not lines:
        lines.append("No defence was attacked here: no claim is allowed.")
    for line in lines:
        print_plainly(console, line)
    print_plainly(console, f"What else may mislead is said by: rain report {folder}")


def _print_points(console: "Console", title: str, checked: "Checked") -> None:
    """Print what each point says of a defence, as a table; those that were not run below it."""
    from rain.bench.checklist import POINTS, is_needed
    from rain.report.panel import SIGNS
    from rain.report.table import plain_table

    body, missing = [], []
    for point, verdict in zip(POINTS, checked.verdicts, strict=True):
        if verdict.state == "not run":
            needed = " (a claim needs it)" if is_needed(point, checked.case) else ""
            so_far = f" So far: {verdict.figure}." if verdict.figure else ""
            missing.append(f"- {point.name}{needed}: {verdict.advice}.{so_far}")
        elif verdict.state != "does not apply":
            state = f"{SIGNS[verdict.state]} {verdict.state}"
            figure = f"{verdict.figure}; {verdict.advice}" if verdict.advice else verdict.figure
            body.append([point.name, state, figure, point.source])
    console.print()
    if body:
        console.print(plain_table(title, ["point", "state", "figure", "source"], body, "", left=4))
    if missing:
        heading = "Not run:" if body else f"{title}, not run:"
        print_plainly(console, "\n".join([heading, *missing, ""]))
