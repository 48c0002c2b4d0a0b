"""``rain certify``: prove within which radius no attack can change an answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_aside
from rain.cli.measuring import SkipDamaged
from rain.cli.options import MOST_AT_ONCE, MOST_SIDE, Device
from rain.cli.reporting import COLUMNS, print_certificates
from rain.files import to_path

if TYPE_CHECKING:
    from rain.bench.cells import Cell
    from rain.bench.certifying import CertifyingPlan
    from rain.bench.grid import Grid

EXAMPLES = 100
"""Images that are certified at most, unless more are asked for: each takes a thousand draws."""

GRID_HELP = (
    "A grid (rain list grids): those of its defences that begin with smooth, on its images. In its place "
    "say --images, --classifier and --defense or --sigma."
)
IMAGES_HELP = "Labelled images: a dataset (rain list datasets), or a folder with a labels.csv."
CLASSIFIER_HELP = "See: rain list classifiers; by default efficientnet_lite0, or what the grid says."
DEFENSE_HELP = 'Begins with smooth, for example "smooth(enhancer=compact(scale=1, weights=PATH))".'
SIGMA_HELP = "Of the noise, in the unit of the images: 0.12, 0.25, ... May be given several times."
OUT_HELP = "Folder of the results; a run into it again does only what is missing."
EXAMPLES_HELP = f"The first N images; by default {EXAMPLES} at most, or what the grid says."
SIZE_HELP = "Side of the images in pixels; by default what the classifier sees, 0 for their own size."
CHUNK_HELP = "Images in one file, which is what a kill loses at most; by default 10, or the grid's."
N0_HELP = "Draws by which the class of an image is chosen."
N_HELP = "Draws by which it is certified: more of them prove larger radii."
ALPHA_HELP = "The chance, at most, that the certificate of an image is wrong."
BATCH_HELP = "Draws in one forward pass; by default as many as the device takes."
PRECISION_HELP = (
    "What the networks compute in, which is what is certified: 32-true; bf16-mixed, twice as fast on CPUs "
    "with AMX or AVX-512 BF16; or auto."
)


def certify(
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    grid: Annotated[str | None, typer.Argument(help=GRID_HELP, metavar="[GRID]")] = None,
    images: Annotated[str | None, typer.Option(help=IMAGES_HELP)] = None,
    classifier: Annotated[str | None, typer.Option(help=CLASSIFIER_HELP)] = None,
    defense: Annotated[str | None, typer.Option(help=DEFENSE_HELP)] = None,
    sigma: Annotated[list[float] | None, typer.Option(help=SIGMA_HELP)] = None,
    n0: Annotated[int, typer.Option(min=1, max=MOST_AT_ONCE, help=N0_HELP)] = 100,
    n: Annotated[int, typer.Option(min=1, max=MOST_AT_ONCE, help=N_HELP)] = 1000,
    alpha: Annotated[float, typer.Option(help=ALPHA_HELP)] = 0.001,
    examples: Annotated[int | None, typer.Option(min=1, metavar="N", help=EXAMPLES_HELP)] = None,
    size: Annotated[int | None, typer.Option(min=0, max=MOST_SIDE, help=SIZE_HELP)] = None,
    chunk: Annotated[int | None, typer.Option(min=1, max=MOST_AT_ONCE, help=CHUNK_HELP)] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws; by default 0, or the grid's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=MOST_AT_ONCE, metavar="N", help=BATCH_HELP)] = None,
    device: Device = None,
    precision: Annotated[str, typer.Option(help=PRECISION_HELP)] = "32-true",
    skip_damaged: SkipDamaged = False,
) -> None:
    """Prove within which radius no attack can change an answer.

    The radius is an l2 distance. For a small change of every pixel (linf) it is far too short. Ctrl-C keeps
    what is finished; the same command goes on from there. rain report DIR tells it beside the attacks.
    """
    out = to_path(out)
    with clean_errors(out):
        from rain.bench import certifying
        from rain.bench.cost import dataset_of
        from rain.bench.grid import read
        from rain.errors import OptionError
        from rain.runtime.memory import keep_freed_memory

        keep_freed_memory()
        numbers = certifying.Numbers(n0, n, alpha)
        default_size = None
        if grid:
            if defense or sigma or size is not None:
                raise OptionError(
                    "a grid says its defences and sizes: give --defense, --sigma, --size or a grid"
                )
            opened: Grid = read(
                grid,
                dataset=dataset_of(images) if images else None,
                examples=examples,
                classifier=classifier,
                chunk=chunk,
                seed=seed,
            )
            cells, default_size = certifying.clean_cells(opened), opened.default_size
        else:
            cells = _cells(images, classifier, defense, sigma, examples, size, chunk or 10, seed or 0)
        plan, reasons = certifying.prepare(
            cells,
            out,
            numbers,
            device=device,
            batch=batch,
            precision=precision,
            skip_damaged=skip_damaged,
            default_size=default_size,
        )
        for spec, reason in reasons.items():
            if spec != "none":
                print_aside(f"{spec} is left out: {reason}")
        _announce(plan)
        certifying.run(plan, progress=True)
        print_certificates(out, COLUMNS)


def _cells(
    images: str | None,
    classifier: str | None,
    defense: str | None,
    sigmas: list[float] | None,
    examples: int | None,
    size: int | None,
    chunk: int,
    seed: int,
) -> "list[Cell]":
    """What is to be certified without a grid: one cell for each sigma."""
    from rain.bench.cells import OWN_SIZE
    from rain.bench.certifying import with_sigma
    from rain.bench.cost import dataset_of
    from rain.bench.grid import clean_cell
    from rain.errors import OptionError
    from rain.registry import load_dataset

    if images is None:
        raise OptionError("nothing to certify: give a grid, or --images with labelled images")
    dataset = dataset_of(images)
    spec = defense or "smooth"
    defenses = [with_sigma(spec, sigma) for sigma in sigmas or []] or [spec]
    return [
        clean_cell(
            dataset,
            classifier or "efficientnet_lite0",
            one,
            size=OWN_SIZE if size is None else size or None,
            seed=seed,
            examples=examples or min(EXAMPLES, len(load_dataset(dataset))),
            chunk=chunk,
        )
        for one in defenses
    ]


def _announce(plan: "CertifyingPlan") -> None:
    """Say what is about to be certified."""
    cells = list(plan.cells)
    numbers = cells[0]
    defenses = ", ".join(dict.fromkeys(cell.defense for cell in cells))
    images = ", ".join(dict.fromkeys(f"{cell.examples} images of {cell.dataset}" for cell in cells))
    classifiers = ", ".join(dict.fromkeys(cell.classifier for cell in cells))
    print(f"{classifiers} behind {defenses}, on {images}; into {plan.folder}")
    wrong = f"a certificate is wrong with a chance of at most {numbers.alpha:g}"
    print(f"{numbers.n0} + {numbers.n} draws for each image; {wrong}", flush=True)
    if not plan.work:
        print(f"nothing to certify: all of it is in {plan.folder}")
