"""``rain predict``: classify image files behind a defence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors, print_error
from rain.cli.options import Device
from rain.errors import RainError

if TYPE_CHECKING:
    from torch import Tensor

SIZE_HELP = "Side in pixels at which images enter; 0 for their own size; by default what the classifier sees."
SEED_HELP = "For the same answer every time. Not where an attacker could learn it."


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE")],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    draws: Annotated[int, typer.Option(min=1, help="Fresh draws whose probabilities are averaged.")] = 8,
    seed: Annotated[int | None, typer.Option(help=SEED_HELP)] = None,
    size: Annotated[int | None, typer.Option(min=0, help=SIZE_HELP)] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes shown for each image.")] = 3,
    device: Device = None,
) -> None:
    """Classify image files behind a defence.

    It says for each how many draws agree.
    """
    with clean_errors():
        from rain.checkpoints import warn_if_untrained
        from rain.defense import harden
        from rain.images import enter
        from rain.pictures import read_image
        from rain.registry import load_classifier
        from rain.runtime.memory import pick_device

        target = pick_device(device)
        network = load_classifier(classifier)
        warn_if_untrained(classifier, network)
        hardened = harden(network, defense).to(target)
        side = getattr(hardened.classifier, "crop", None) if size is None else size or None
        names = getattr(hardened.classifier, "categories", ())
        count = draws if hardened.defense.random else 1
        failed = False
        for path in images:
            try:
                image = enter(read_image(path), side)[None].to(target)
                _, probabilities, agreement = hardened.predict(image, draws=draws, seed=seed)
            except RainError as error:
                message = str(error)
                print_error(message if str(path) in message else f"{path}: {message}")
                failed = True
                continue
            print(f"{path}: {round(float(agreement[0]) * count)} of {count} draws agree")
            _print_classes(probabilities[0], names, top)
        if failed:
            raise typer.Exit(1)


def _print_classes(probabilities: "Tensor", names: Sequence[str], top: int) -> None:
    """Print the likeliest classes of one image; a class without a name by its number."""
    best = probabilities.topk(min(top, len(probabilities)))
    for probability, label in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        name = names[label] if label < len(names) else label
        print(f"  {100 * probability:5.1f} %  {name}")
