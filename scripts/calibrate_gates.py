"""Calibrate the gates and detectors that the package ships: ``python scripts/calibrate_gates.py DATA``.

DATA holds ``bsds500`` and ``imagenette/val``. No classifier has learned these pictures: one is surer of those
that it has learned than of others, and its gate would then overrule too much. EfficientNet-Lite0 is
calibrated on the two squares at the ends of each picture of ``bsds500``; the small classifier on the pictures
of ``imagenette/val`` from the 200th on. Attacked figures are reported on the first 200.
"""

import sys
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

import rain
from rain.calibration import summarize
from rain.detector import Detector
from rain.images import enter
from rain.registry import load_defense

WEIGHTS = Path(rain.__file__).parent / "weights"
BATCH = 20
SKIPPED = 200
LITE0, SMALL = "efficientnet_lite0", "small_resnet(weights=imagenette)"
GATES = {
    "lite0-default": (LITE0, "rain"),
    "small-plain": (SMALL, "rain(enhancer=compact(weights=imagenette))"),
    "small-adversarial": (SMALL, "rain(enhancer=compact(weights=adversarial))"),
    "lite0-squeezing": (LITE0, "squeezing"),
    "small-squeezing": (SMALL, "squeezing"),
}


def main() -> None:
    """Write ``gate-NAME.json`` beside the weights for each pair of classifier and defence."""
    data = Path(sys.argv[1])
    for name, (classifier, defense) in GATES.items():
        path = WEIGHTS / f"gate-{name}.json"
        if path.exists():
            continue
        pictures = squares_of_bsds(data) if classifier == LITE0 else rest_of_imagenette(data)
        origin = "two squares of each of 400 pictures of bsds500, at 224 pixels"
        if classifier == SMALL:
            origin = "800 pictures of imagenette/val, at 96 pixels"
        calibrate(pictures, origin, classifier, defense, path)


def calibrate(pictures: list[Tensor], origin: str, classifier: str, defense: str, path: Path) -> None:
    """Compare the answers to all pictures, and write what the detector needs of them."""
    gate = load_defense(defense)
    if not isinstance(gate, Detector):
        gate = load_defense("gated", defense=gate)
    assert isinstance(gate, Detector)
    hardened = rain.harden(rain.load_classifier(classifier), gate)
    generator = torch.Generator().manual_seed(0)
    batches = torch.stack(pictures).split(BATCH)
    comparisons = [gate.compare(hardened, batch, generator) for batch in track(batches, path.stem)]
    summarize(comparisons, *gate.place, origin).save(path)


def squares_of_bsds(data: Path) -> list[Tensor]:
    """The largest squares at both ends of each picture, at 224 pixels."""
    pictures = rain.load_dataset(f"pictures:{data / 'bsds500'}")
    squares = []
    for index in range(len(pictures)):
        image, _ = pictures[index]
        side = min(image.shape[1:])
        squares += [enter(image[:, :side, :side], 224), enter(image[:, -side:, -side:], 224)]
    return squares


def rest_of_imagenette(data: Path) -> list[Tensor]:
    """The pictures of ``val`` on which no attacked figure is reported, at 96 pixels."""
    pictures = rain.load_dataset(f"folder:{data / 'imagenette' / 'val'}(labels=sorted)")
    return [enter(pictures[index][0], 96) for index in range(SKIPPED, len(pictures))]


if __name__ == "__main__":
    main()
