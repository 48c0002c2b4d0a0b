"""``rain run`` and ``rain demo``: measure a grid, and say what comes of it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rain.cli.clusters import (
    JOBS,
    Cpus,
    Gpus,
    Hours,
    Jobs,
    Ray,
    Slurm,
    check_one_way,
    check_used,
    options_of,
    submit_jobs,
)
from rain.cli.errors import clean_errors
from rain.cli.options import MOST_AT_ONCE, Device, refuse_typed
from rain.cli.reporting import print_report
from rain.cli.serving import open_page
from rain.files import to_path

if TYPE_CHECKING:
    from rain.bench.cells import Cell
    from rain.bench.plan import Plan
    from rain.bench.shards import Shard

EXAMPLES = 400
"""Images of a user's own dataset that the demo measures at most, unless it is told otherwise."""

ADVICE = "Ctrl-C keeps what is finished, and the same command goes on from there"
FEWER = f"--examples N takes fewer images. {ADVICE}"

OUT_HELP = "Folder of the results; a run into it again does only what is missing."
PRECISION_HELP = (
    "Of attacks on random defences: 32-true; bf16-mixed, faster on GPUs and on CPUs with AMX or "
    "AVX-512 BF16; or auto."
)
ATTACK_BATCH_HELP = (
    "Images times EOT draws in one gradient step of an attack; by default 60, and fewer where the device's "
    "memory is small. Another number gives other draws, and the same figures up to noise."
)
EOT_BATCH_HELP = "Images in one forward pass of these; by default two thirds of --attack-batch."
MOST_WORKERS = 1024
"""Of one machine."""

WORKERS_HELP = (
    "Processes on this machine that share the chunks, and the CPU threads. They leave the files of a single "
    "run with as many threads as each of them has."
)
SHARD_HELP = (
    "Do a part of the grid, for example 3/8: the third of eight. The folder may be shared, or each shard has "
    "its own, and rain merge puts them together."
)
DEMO_DATASET_HELP = "Other images than the samples, for example csv:PATH."
DEMO_EXAMPLES_HELP = f"The first N images; by default all of them, of another dataset {EXAMPLES} at most."
SKIP_HELP = "Leave out images whose files are damaged. The results and the report say which."

KEEP_HELP = (
    "Keep all attacked images beside the results, for rain replay: as png, or as float. The results are "
    "those of the images as they were made. A png is rounded to 8 bits; what that changed is kept, too."
)

SkipDamaged = Annotated[bool, typer.Option("--skip-damaged", help=SKIP_HELP)]
PAGE_HELP = "Open a page in the browser instead, on which you attack pictures of your own."
DEMO_CLASSIFIER_HELP = "Another classifier than EfficientNet-Lite0, for example package.module:function."


def run(
    context: typer.Context,
    grid: Annotated[
        str,
        typer.Argument(
            help="A grid file (TOML), or the name of a shipped grid (rain list grids).", metavar="GRID"
        ),
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    dataset: Annotated[
        str | None, typer.Option(help="Another dataset than the grid's, for example csv:PATH.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Another number of images than the grid's; attacks with fewer of their own keep those.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help="Another classifier than the grid's, for example package.module:function."),
    ] = None,
    device: Device = None,
    precision: Annotated[str, typer.Option(help=PRECISION_HELP)] = "32-true",
    attack_batch: Annotated[
        int | None, typer.Option(min=1, max=MOST_AT_ONCE, metavar="N", help=ATTACK_BATCH_HELP)
    ] = None,
    eot_batch: Annotated[
        int | None, typer.Option(min=1, max=MOST_AT_ONCE, metavar="N", help=EOT_BATCH_HELP)
    ] = None,
    skip_damaged: SkipDamaged = False,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, metavar="N", help=WORKERS_HELP)] = 1,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help=SHARD_HELP)] = None,
    slurm: Slurm = None,
    ray: Ray = None,
    jobs: Jobs = None,
    hours: Hours = 24.0,
    cpus: Cpus = 4,
    gpus: Gpus = 0,
    keep_images: Annotated[str, typer.Option(metavar="FORM", help=KEEP_HELP)] = "",
) -> None:
    """Measure a grid: what is not yet in the folder.

    Ctrl-C keeps what is finished; the same command goes on from there. Several runs on one folder share the
    work.
    """
    out = to_path(out)
    with clean_errors(out):
        from rain.bench.grid import read
        from rain.bench.jobs import Request
        from rain.bench.plan import prepare
        from rain.bench.shards import Shard, restrict

        check_one_way(slurm=slurm, ray=ray, workers=workers > 1)
        check_used(context, slurm=slurm, ray=ray)
        part = Shard.read(shard) if shard else None
        asked = read(grid, dataset=dataset, examples=examples, classifier=classifier)
        settings: dict[str, Any] = {
            "precision": precision,
            "attack_batch": attack_batch,
            "eot_batch": eot_batch,
            "skip_damaged": skip_damaged,
            "keep_images": keep_images,
        }
        # Where jobs are submitted there need be no GPU: a mistake in the grid shows on any device.
        plan = prepare(asked, out, device="cpu" if slurm else device, **settings)
        if part:
            plan = restrict(plan, part)
        if slurm and plan.work:
            changes = {"dataset": dataset, "examples": examples, "classifier": classifier}
            options = options_of(**changes, **settings, device=device, shard=shard)
            request = Request(slurm, jobs or JOBS, hours, cpus, gpus)
            if not submit_jobs(grid, plan, options, request):
                return
        else:
            _measure(plan, ADVICE, workers, ray, jobs)
        if part:
            _tell_of_shard(plan, part)
        else:
            print_report(out)


def _tell_of_shard(plan: "Plan", part: "Shard") -> None:
    """Say what is missing besides a shard, or report where nothing is."""
    from rain.bench.cells import pending

    missing = len(pending(plan.folder, plan.cells))
    if not missing:
        print_report(plan.folder)
        return
    rest = f"{missing} chunks of the grid are not in {plan.folder}"
    print(f"shard {part} is done; {rest}; put folders together: rain merge DIR... --out DIR")


def demo(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help=DEMO_DATASET_HELP)] = None,
    examples: Annotated[int | None, typer.Option(min=1, metavar="N", help=DEMO_EXAMPLES_HELP)] = None,
    classifier: Annotated[str | None, typer.Option(help=DEMO_CLASSIFIER_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results and the report; by default one below runs.")
    ] = None,
    page: Annotated[bool, typer.Option("--page", help=PAGE_HELP)] = False,
    device: Device = None,
    skip_damaged: SkipDamaged = False,
) -> None:
    """See RAIN at work on real images.

    A real classifier, bare and behind four defences, and attackers who know ever more of them.
    """
    if page:
        with clean_errors():
            refuse_typed(
                context, ("dataset", "examples", "out", "skip_damaged"), "the page, which measures nothing"
            )
            open_page(classifier, device)
        return
    out = to_path(out or Path("runs") / _demo_name(dataset, classifier, examples))
    with clean_errors(out):
        from rain.bench.grid import read
        from rain.bench.plan import prepare, without_uncalibrated
        from rain.registry import load_dataset
        from rain.report.exports import write_html

        if dataset and examples is None:
            examples = min(EXAMPLES, len(load_dataset(dataset)))
        grid = read("demo", dataset=dataset, examples=examples, classifier=classifier)
        if classifier:
            grid = without_uncalibrated(grid)
        _measure(prepare(grid, out, device=device, skip_damaged=skip_damaged), FEWER if dataset else ADVICE)
        print_report(out)
        file = out / "report.html"
        write_html(out, file)
        print(f"\nreport: {file.resolve().as_uri()}")


def _demo_name(dataset: str | None, classifier: str | None, examples: int | None) -> str:
    """The folder of a demo: one of its own for other images, another number of them or another classifier."""
    number = str(examples) if examples else None
    specs = " ".join(filter(None, (dataset, number, classifier)))
    slug = re.sub(r"\W+", "-", specs).strip("-")
    return f"demo-{slug}" if slug else "demo"


def _measure(
    plan: "Plan", advice: str, workers: int = 1, ray: str | None = None, jobs: int | None = None
) -> None:
    """Do a run, and say before what it is and how long it will take.

    Args:
        advice: what can be done about a long one.
        workers: processes that share it.
        ray: address of a cluster that does it.
        jobs: tasks there at a time.
    """
    from rain.bench import runners
    from rain.bench.outlook import seconds_expected
    from rain.runtime.forecast import duration_text
    from rain.runtime.memory import keep_freed_memory

    keep_freed_memory()
    _announce(plan)
    if plan.keeps and plan.work:
        _announce_space(plan)
    if plan.taken:
        print(f"{plan.taken} chunks are taken over from cells of another number of images")
    if not plan.work:
        print(f"nothing to measure: all of it is in {plan.folder}")
    expected = seconds_expected(plan)
    if expected:
        alone = "" if workers == 1 and not ray else "one process alone: "
        print(f"{alone}it will take {duration_text(*expected)}; {advice}", flush=True)
    runners.measure(plan, progress=True, workers=workers, ray=ray, jobs=jobs)


def _announce(plan: "Plan") -> None:
    """Say what is about to be measured."""
    cells = plan.cells
    images = f"{_values(cells, 'examples')} images of {_values(cells, 'dataset')}"
    sizes = _values(cells, "size")
    where = f"{sizes} pixels" if sizes else "their own size"
    print(f"{_values(cells, 'classifier')} on {images}, at {where}; into {plan.folder}")
    attacks = _values(cells, "attack") or "none"
    eot = max(cell.eot for cell in cells)
    averaged = f"; adaptive ones average over up to {eot} draws a step" if eot > 1 else ""
    draws = max(cell.draws for cell in cells)
    print(f"attacks: {attacks}{averaged}; a random defence is scored on {draws} fresh draws", flush=True)


def _announce_space(plan: "Plan") -> None:
    """Say what the kept images will take."""
    from rain.bench.plan import space_of

    space = space_of(plan)
    what = f"{space.images} attacked images are kept, as {plan.keeps}: up to {_bytes_text(space.most)}"
    print(f"{what}; {_bytes_text(space.free)} are free", flush=True)


def _bytes_text(count: int) -> str:
    """Write a number of bytes in words that fit it."""
    if count < 10**6:
        return f"{count / 1e3:.0f} KB"
    return f"{count / 1e6:.0f} MB" if count < 10**9 else f"{count / 1e9:.1f} GB"


def _values(cells: "Iterable[Cell]", field: str) -> str:
    """The different values of a field, in the grid's order."""
    values = dict.fromkeys(getattr(cell, field) for cell in cells)
    return ", ".join(str(value) for value in values if value not in (None, "none"))
