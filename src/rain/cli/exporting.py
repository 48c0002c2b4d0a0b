"""``rain export``: write a classifier behind a defence for a service that has no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rain.cli.errors import clean_errors
from rain.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from rain.deploy.manifest import Manifest

OUT_HELP = "The folder to write: new, empty, or of an exported model, which gives way."
FORMAT_HELP = "onnx, openvino or torch."
SIZE_HELP = (
    "Side of the images in pixels, or HEIGHTxWIDTH; by default what the classifier sees, 0 for any size."
)
GATE_HELP = "Share of clean images that the defence may overrule, such as 0.02; by default it always answers."
CALIBRATION_HELP = "The gate's, by rain calibrate; by default the shipped one of classifier and defence."

INT8_HELP = "Pictures by which it is brought to 8 bits: a folder or a dataset. For openvino."

INT8_PICTURES = 128
"""Most pictures by which the ranges of 8 bits are found."""


def export(
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    gate: Annotated[float | None, typer.Option(help=GATE_HELP)] = None,
    calibration: Annotated[Path | None, typer.Option(help=CALIBRATION_HELP)] = None,
    format: Annotated[str, typer.Option(help=FORMAT_HELP)] = "onnx",
    size: Annotated[str | None, typer.Option(help=SIZE_HELP)] = None,
    int8: Annotated[str | None, typer.Option(help=INT8_HELP, metavar="IMAGES")] = None,
) -> None:
    """Write a classifier and its defence to run without PyTorch.

    Any number of images is a batch of it, and every image draws afresh. rain.deploy.Runtime runs it.
    """
    with clean_errors():
        from rain.checkpoints import warn_if_untrained
        from rain.deploy.exporting import export as write
        from rain.hardening import harden
        from rain.networks import own_size
        from rain.registry import load_classifier

        sides = _sides(size)
        network = load_classifier(classifier)
        warn_if_untrained(classifier, network)
        hardened = harden(network, defense, gate=gate, calibration=calibration)
        images = None if int8 is None else _pictures(int8, sides or own_size(network))
        names = {"classifier": classifier, "defense": defense}
        exported = write(hardened, out, format=format, size=sides, int8=images, **names)
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


def _pictures(spec: str, size: int | tuple[int, int] | None) -> "Tensor":
    """Some of the pictures of a dataset, drawn at random, the same every time; (N, 3, size, size).

    Raises:
        DatasetError, UnknownNameError: there is no such dataset.
        OptionError: the size is no square's.
    """
    import torch

    from rain.bench.cost import dataset_of
    from rain.images import enter
    from rain.registry import load_dataset

    if isinstance(size, tuple):
        if size[0] != size[1]:
            raise OptionError("--int8 cuts its pictures square: give --size one number")
        size = size[0]
    if not size:
        raise OptionError("--int8 needs one size: give --size 224, or another side in pixels")
    dataset = load_dataset(dataset_of(spec))
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist()
    return torch.stack([enter(dataset[index][0], size) for index in order[:INT8_PICTURES]])


def _text(exported: "Manifest", out: Path) -> str:
    """What was written, and how it is used."""
    size = "any size" if exported.size is None else "x".join(map(str, exported.size))
    files = {name: out / name for graph in exported.graphs.values() for name in graph.files}
    written = ", ".join(f"{name} ({path.stat().st_size / 1e6:.1f} MB)" for name, path in files.items())
    measured = exported.measured
    lines = [
        f"{out}: {exported.origin.classifier} behind {exported.origin.defense}, for images of {size}",
        f"  {written}, rain.json",
        f"  {_difference(measured)}",
    ]
    if exported.gate is not None:
        lines.append(f"  gate: flagged above {exported.gate.threshold:.4g} ({exported.gate.score})")
    if exported.format != "torch":
        lines.append(f"  use: rain.deploy.Runtime({str(out)!r}).predict(images)")
    return "\n".join(lines)


def _difference(measured: Mapping[str, Any]) -> str:
    """How far it is from torch."""
    if "equal_labels" in measured:
        share = f"{100 * measured['equal_labels']:.1f} % of {measured['images']} labels"
        return f"8 bits: {share} behind the defence are those of {measured['against']}, with the same draws"
    return f"logits differ from {measured['against']} by at most {measured['logit_difference']:.1e}"
