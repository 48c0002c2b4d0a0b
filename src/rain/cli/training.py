"""``rain train``: train DG, or a classifier, as a recipe says."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_aside
from rain.files import to_path

if TYPE_CHECKING:
    from rain.train import Config, Trained

RECIPE_HELP = "A recipe file (TOML), or the name of a shipped recipe (rain list recipes)."
IMAGES_HELP = "What to learn from: a folder of pictures, or a dataset such as folder:PATH. May be repeated."
VALIDATION_HELP = "The same, to choose the best weights on; never the test set."
SET_HELP = "Another value for a field of the recipe. May be repeated."

MINUTES_HELP = (
    "Be over after so many minutes: the recipe's steps, and those between validations, are those that fit."
)


def train(
    recipe: Annotated[str, typer.Argument(help=RECIPE_HELP, metavar="RECIPE")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    images: Annotated[list[str] | None, typer.Option(help=IMAGES_HELP)] = None,
    validation: Annotated[list[str] | None, typer.Option(help=VALIDATION_HELP)] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP, metavar="FIELD=VALUE")] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one.")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one for each GPU.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines; --out is then a folder that they share.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.0, help=MINUTES_HELP)] = 0.0,
) -> None:
    """Train DG, a classifier, or both at once.

    DG is trained before a classifier that stays as it is, unless both are trained. Ctrl-C keeps the run;
    --resume goes on with it, on a CPU with the same bits.
    """
    out = to_path(out or Path("runs") / Path(recipe).stem)
    with clean_errors(out, "checkpoint and log", "add --resume to the same command to go on"):
        from rain.runtime.memory import keep_freed_memory
        from rain.train import fit, read
        from rain.training.loop import Interrupted
        from rain.training.recipe import setting

        fields = {
            "images": images or None,
            "validation": validation or None,
            "accelerator": accelerator,
            "devices": devices,
            "nodes": nodes,
        }
        settings = dict(setting(text) for text in change or ())
        config = read(recipe, **fields | settings)
        if config.trains == "both" and _is_first_process():
            print_aside(_both_notice(config, out))
        keep_freed_memory()
        try:
            trained = fit(config, out, resume=resume, progress=True, minutes=minutes)
        except Interrupted as interrupted:
            if interrupted.trained and _is_first_process():
                _print_outcome(config, interrupted.trained)
            raise
        if _is_first_process():
            _print_outcome(config, trained)


def _is_first_process() -> bool:
    """Whether this process is the one that speaks, of those on all GPUs and machines."""
    return not (int(os.environ.get("LOCAL_RANK", 0)) or int(os.environ.get("NODE_RANK", 0)))


def _both_notice(config: "Config", out: Path) -> str:
    """Say before a run of both that it changes the classifier."""
    from rain.training.saving import CLASSIFIER

    what = f"this changes the classifier: {out / CLASSIFIER} will not be {config.classifier}, as it was given"
    return f"note: {what}. DG is trained for that one only"


def _print_outcome(config: "Config", trained: "Trained") -> None:
    """Print what the best weights measure, and what it was before; warn where nothing got better."""
    from rain.training.attacker import attacker_text

    texts = []
    for name, value in trained.measured.items():
        label = f"robust ({attacker_text(config)})" if name == "robust" else name
        before = f" (before {trained.began[name]:.4g})" if name in trained.began else ""
        texts.append(f"{label} {value:.4g}{before}")
    print(f"best at step {trained.step}: {', '.join(texts)}")
    print(f"weights: {trained.weights}")
    if trained.classifier:
        print(f"classifier: {trained.classifier}, which is not the one that was given")
    if not _is_better(config.choose, trained):
        what = f"by {config.choose}, nothing was better than what it began with"
        print_aside(f"warning: {what}: train for longer, or at another rate")


def _is_better(choose: str, trained: "Trained") -> bool:
    """Whether the best weights beat those that the run began with; yes where these were not measured."""
    if choose not in trained.began:
        return True
    gain = trained.measured[choose] - trained.began[choose]
    return gain < 0 if choose == "kl" else gain > 0
