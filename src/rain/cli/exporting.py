"""``rain export``: write a classifier behind a defence for a service that has no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.errors import clean_errors
from rain.errors import OptionError

if TYPE_CHECKING:
    from rain.deploy.manifest import Manifest

OUT_HELP = "The folder to write: new, empty, or of an exported model, which gives way."
FORMAT_HELP = "onnx, openvino or torch."
SIZE_HELP = (
    "Side of the images in pixels, or HEIGHTxWIDTH; by default what the classifier sees, 0 for any size."
)
GATE_HELP = "Share of clean images that the defence may overrule, such as 0.02; by default it always answers."
CALIBRATION_HELP = "The gate's, by rain calibrate; by default the shipped one of classifier and defence."


def export(
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    gate: Annotated[float | None, typer.Option(help=GATE_HELP)] = None,
    calibration: Annotated[Path | None, typer.Option(help=CALIBRATION_HELP)] = None,
    format: Annotated[str, typer.Option(help=FORMAT_HELP)] = "onnx",
    size: Annotated[str | None, typer.Option(help=SIZE_HELP)] = None,
) -> None:
    """Write a classifier and its defence to run without PyTorch.

    Any number of images is a batch of it, and every image draws afresh. rain.deploy.Runtime runs it.
    """
    with clean_errors():
        from rain.checkpoints import warn_if_untrained
        from rain.defense import harden
        from rain.deploy.exporting import export as write
        from rain.registry import load_classifier

        sides = _sides(size)
        network = load_classifier(classifier)
        warn_if_untrained(classifier, network)
        hardened = harden(network, defense, gate=gate, calibration=calibration)
        exported = write(hardened, out, format=format, size=sides, classifier=classifier, defense=defense)
        print(_text(exported, out))


def _sides(text: str | None) -> int | tuple[int, int] | None:
    """Read a size.

    Raises:
        OptionError: it is none.
    """
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    try:
        return (int(height), int(width)) if cross else int(height)
    except ValueError:
        what = "a number of pixels, such as 224, HEIGHTxWIDTH, or 0 for any size"
        raise OptionError(f"--size must be {what}; got {text!r}") from None


def _text(exported: "Manifest", out: Path) -> str:
    """What was written, and how it is used."""
    size = "any size" if exported.size is None else "x".join(map(str, exported.size))
    files = {name: out / name for graph in exported.graphs.values() for name in graph.files}
    written = ", ".join(f"{name} ({path.stat().st_size / 1e6:.1f} MB)" for name, path in files.items())
    measured = exported.measured
    lines = [
        f"{out}: {exported.origin.classifier} behind {exported.origin.defense}, for images of {size}",
        f"  {written}, rain.json",
        f"  logits differ from {measured['against']} by at most {measured['logit_difference']:.1e}",
    ]
    if exported.gate is not None:
        lines.append(f"  gate: flagged above {exported.gate.threshold:.4g} ({exported.gate.score})")
    if exported.format != "torch":
        lines.append(f"  use: rain.deploy.Runtime({str(out)!r}).predict(images)")
    return "\n".join(lines)
