"""``rain replay``: judge attacked images that were kept, by other defences, classifiers and draws."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors
from rain.cli.measuring import SkipDamaged
from rain.cli.options import Device
from rain.cli.reporting import COLUMNS, print_report

if TYPE_CHECKING:
    from rain.bench.cells import Result

OUT_HELP = "Folder of the new results; a replay into it again does only what is missing."
DEFENSE_HELP = "Judges the images; none is the bare classifier. May be given several times."
CLASSIFIER_HELP = (
    "Judges the images. By default the one that they were made on; one that is not rain's or "
    "torchvision's own you must name: results of others may name any code. May be given several times."
)
DATASET_HELP = "Where the clean images lie now, if that is another place than they were read from."


def replay(
    folder: Annotated[Path, typer.Argument(help="Results of rain run --keep-images.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    defense: Annotated[list[str], typer.Option(help=DEFENSE_HELP)],
    classifier: Annotated[list[str] | None, typer.Option(help=CLASSIFIER_HELP)] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Fresh draws that judge each image.")
    ] = 8,
    seed: Annotated[int | None, typer.Option(help="Of the draws; by default that of the run.")] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASET_HELP)] = None,
    device: Device = None,
    skip_damaged: SkipDamaged = False,
) -> None:
    """Judge kept images again, by other defences and draws.

    Nobody attacks anew: to the defence that judges, the images are transferred ones, whatever they were made
    against. The figures say nothing of an attacker who knows that defence.
    """
    out, folder = Path(out), Path(folder)
    with clean_errors(out):
        from rain.bench import replaying
        from rain.files import to_path
        from rain.runtime.memory import keep_freed_memory

        keep_freed_memory()
        plan = replaying.prepare(
            to_path(folder),
            to_path(out),
            defenses=defense,
            classifiers=classifier or (),
            draws=draws,
            seed=seed,
            dataset=dataset,
            device=device,
            skip_damaged=skip_damaged,
        )
        print(f"{len(plan.work)} chunks to judge; {replaying.roundings(plan.lists.values())}", flush=True)
        results = replaying.run(plan, progress=True)
        print_report(to_path(out))
        _print_matrix(results)


def _print_matrix(results: "list[Result]") -> None:
    """Print accuracy under attack: a line for what the images were made against, a column for each judge."""
    from rich.console import Console

    from rain.bench.metrics import accuracy
    from rain.report.table import plain_table

    judges = list(dict.fromkeys((result.cell.defense, result.cell.classifier) for result in results))
    classifiers = {classifier for _, classifier in judges}
    names = []
    for defense, classifier in judges:
        names.append(defense if len(classifiers) == 1 else f"{defense} before {classifier}")
    rows: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for result in results:
        cell = result.cell
        row = rows.setdefault(_line(cell.attack, cell.norm, cell.eps), {})
        row[cell.defense, cell.classifier] = 100 * accuracy(result)
    body = []
    for line, figures in sorted(rows.items()):
        texts = [f"{figures[judge]:.1f}" if judge in figures else "-" for judge in judges]
        body.append([*line, *texts])
    before = f", before {classifiers.pop()}" if len(classifiers) == 1 else ""
    title = f"Accuracy in %, judged by (columns{before})"
    header = ["Made against", "Access", "Budget", "Attack", *names]
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    console.print()
    console.print(plain_table(title, header, body, "", left=4))


def _line(attack: str, norm: str, eps: float) -> tuple[str, ...]:
    """What stands before the figures: what the images were made against, and how."""
    from rain.bench.metrics import eps_text
    from rain.specs import parse

    _, made = parse(attack)
    eot = f", eot {made['eot']}" if "eot" in made else ""
    budget = eps_text(eps, norm) if norm == "linf" else f"{eps_text(eps, norm)} in {norm}"
    where = f"{made['defense']} before {made['classifier']}"
    return where, f"{made['access']}{eot}", budget, str(made["attack"])
