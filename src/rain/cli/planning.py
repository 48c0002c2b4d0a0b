"""``rain plan``: what a large run will need, from a minute of measuring."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rain.cli.errors import clean_errors, print_aside
from rain.cli.options import Device

GRID_HELP = "A grid file (TOML), or the name of a shipped grid. Its dataset need not be there."
EXAMPLES_HELP = "Another number of images than the grid's; attacks with fewer of their own keep those."
CHUNKS_HELP = "Sizes of chunks to compare."
WORKERS_HELP = "Numbers of workers to compare: processes, jobs or GPUs."
DATASET_HELP = "Where the picture comes from on which models are timed."
JSON_HELP = "Write what was measured here; - for standard output, and nothing else."


def plan(
    grid: Annotated[str, typer.Argument(help=GRID_HELP, metavar="GRID")],
    examples: Annotated[int | None, typer.Option(min=1, metavar="N", help=EXAMPLES_HELP)] = None,
    chunks: Annotated[str, typer.Option(metavar="N,N,...", help=CHUNKS_HELP)] = "25,100,400",
    workers: Annotated[str, typer.Option(metavar="N,N,...", help=WORKERS_HELP)] = "1,8,64",
    dataset: Annotated[str, typer.Option(help=DATASET_HELP)] = "samples",
    device: Device = None,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help=JSON_HELP)] = None,
) -> None:
    """Say what a grid will need: hours, files and traffic.

    It times each model on a picture, on this machine, and attacks nothing.
    """
    with clean_errors():
        from rain.bench.estimate import table
        from rain.bench.estimating import measure_need
        from rain.bench.grid import read
        from rain.report.exports import check_output, write_output
        from rain.runtime.memory import keep_freed_memory

        keep_freed_memory()
        sizes, numbers = _numbers(chunks, "--chunks"), _numbers(workers, "--workers")
        file = as_json if as_json and str(as_json) != "-" else None
        if file:
            check_output(file)
        need = measure_need(read(grid, examples=examples), dataset, device)
        if as_json:
            text = json.dumps(asdict(need), indent=1, sort_keys=True) + "\n"
            if not file:
                print(text, end="")
                return
            write_output(file, text.encode())
            print_aside(f"measured: {file}")
        print(table(need, sizes, numbers))


def _numbers(text: str, option: str) -> list[int]:
    """Read numbers with commas between them.

    Raises:
        OptionError: one of them is none.
    """
    from rain.errors import OptionError, shown

    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < len(word) < 10 and int(word) for word in words):
        raise OptionError(
            f"{option} takes numbers from 1 with commas between them, 25,100; got {shown(text)}"
        )
    return [int(word) for word in words]
