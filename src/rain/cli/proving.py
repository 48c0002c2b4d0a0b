"""``rain prove``: see whether the attacks of a grid find what is planted for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors
from rain.cli.measuring import SkipDamaged
from rain.cli.options import MOST_DRAWS, Device
from rain.files import to_path

if TYPE_CHECKING:
    from rain.bench.proofs import Proof

OUT_HELP = (
    "Folder of the results, where the proofs stand beside them; a run into it again does what is missing."
)
GRID_HELP = "A grid file (TOML), or the name of a shipped grid: its adaptive attacks on defences are proven."
EXAMPLES_HELP = "Images of each test, at most."
INSIDE_HELP = "Points around each image that stay in its class. As many random ones are the baseline."
ALL_HELP = "Prove attacks, too, that the grid makes on fewer images, at other budgets, or on ablations."
PLANTED_HELP = "Points at the edge of the budget, one of which an attack must find the like of."


def prove(
    grid: Annotated[str, typer.Argument(help=GRID_HELP, metavar="GRID")],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    examples: Annotated[int, typer.Option(min=1, metavar="N", help=EXAMPLES_HELP)] = 20,
    inside: Annotated[int, typer.Option(min=2, max=MOST_DRAWS, metavar="N", help=INSIDE_HELP)] = 200,
    planted: Annotated[int, typer.Option(min=1, max=MOST_DRAWS, metavar="N", help=PLANTED_HELP)] = 1,
    every: Annotated[bool, typer.Option("--all", help=ALL_HELP)] = False,
    dataset: Annotated[str | None, typer.Option(help="Another dataset than the grid's.")] = None,
    classifier: Annotated[str | None, typer.Option(help="Another classifier than the grid's.")] = None,
    device: Device = None,
    skip_damaged: SkipDamaged = False,
) -> None:
    """Prove that the attacks of a grid find what is planted.

    Points of another class are planted at the edge of the budget. An attack that finds them for fewer than
    95 % of the images is not fit to call the defence robust. Of each defence the attacks are proven that
    the grid makes on most images, at the budget of most attacks: a claim rests on them. Ctrl-C keeps what
    is finished.
    """
    out = to_path(out)
    with clean_errors(out):
        from rain.bench import proving
        from rain.bench.grid import read
        from rain.errors import visible
        from rain.runtime.memory import keep_freed_memory

        keep_freed_memory()
        plan = proving.prepare(
            read(grid, dataset=dataset, classifier=classifier),
            out,
            examples=examples,
            inside=inside,
            planted=planted,
            every=every,
            device=device,
            skip_damaged=skip_damaged,
        )
        most = max(cell.examples for cell in plan.cells)
        tests = "1 test" if len(plan.cells) == 1 else f"{len(plan.cells)} tests"
        images = "1 image" if most == 1 else f"up to {most} images each"
        print(f"{tests}, on {images}; into {out}", flush=True)
        if not plan.work:
            print(f"nothing to prove: all of it is in {out}")
        for proof in proving.run(plan, progress=True):
            print(visible(sentence(proof)))
        print(f"what follows for a claim: rain check {out}")


def sentence(proof: "Proof") -> str:
    """Say in one line what a proof says of an attack on a defence."""
    from rain.bench.metrics import eps_text, percent_text
    from rain.bench.proofs import LEAST_FIT

    eot = f", eot {proof.eot}" if proof.eot > 1 else ""
    budget = f"{eps_text(proof.eps, proof.norm)}, {proof.norm}"
    what = f"{proof.attack} ({proof.access}{eot}; {budget}) on {proof.defense}"
    unfit = f"; {proof.unfit} more could not be tested" if proof.unfit else ""
    if not proof.images:
        return f"{what}: nothing could be planted{unfit}"
    few = f"; a claim needs {LEAST_FIT}" if proof.images < LEAST_FIT else ""
    word = "fit" if proof.passed else "NOT FIT to call it robust"
    shares = f"finds {percent_text(proof.found)} %, random points {percent_text(proof.random_found)} %"
    return f"{word}: {what} {shares} of {proof.images} images{few}{unfit}"
