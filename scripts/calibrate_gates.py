"""Calibrate the gates and detectors that the package ships: ``python scripts/calibrate_gates.py DATA``.

DATA holds ``bsds500`` and ``imagenette/val``. No classifier has learned these pictures: one is surer of those
that it has learned than of others, and its gate would then overrule too much. EfficientNet-Lite0 and -Lite2
are calibrated on the two squares at the ends of each picture of ``bsds500``; the small classifier on the
pictures of ``imagenette/val`` from the 200th on. Attacked figures are reported on the first 200.
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
LITE0, LITE2 = "efficientnet_lite0", "efficientnet_lite2"
SMALL = "small_resnet(weights=imagenette)"
SIDES = {LITE0: 224, LITE2: 260, SMALL: 96}
"""What each classifier sees, in pixels."""

GATES = {
    "lite0-default": (LITE0, "rain"),
    "small-plain": (SMALL, "rain(enhancer=compact(weights=imagenette))"),
    "small-adversarial": (SMALL, "rain(enhancer=compact(weights=adversarial))"),
    "small-known": (SMALL, "rain(enhancer=compact(weights=known))"),
    "lite0-squeezing": (LITE0, "squeezing"),
    "lite2-squeezing": (LITE2, "squeezing"),
    "small-squeezing": (SMALL, "squeezing"),
}


def main() -> None:
    """Write ``gate-NAME.json`` beside the weights for each pair of classifier and defence."""
    data = Path(sys.argv[1])
    for name, (classifier, defense) in GATES.items():
        path = WEIGHTS / f"gate-{name}.json"
        if path.exists():
            continue
        side = SIDES[classifier]
        pictures = rest_of_imagenette(data, side) if classifier == SMALL else squares_of_bsds(data, side)
        origin = f"two squares of each of 400 pictures of bsds500, at {side} pixels"
        if classifier == SMALL:
            origin = f"800 pictures of imagenette/val, at {side} pixels"
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


def squares_of_bsds(data: Path, side: int) -> list[Tensor]:
    """The largest squares at both ends of each picture, at a side in pixels."""
    pictures = rain.load_dataset(f"pictures:{data / 'bsds500'}")
    squares = []
    for index in range(len(pictures)):
        image, _ = pictures[index]
        shorter = min(image.shape[1:])
        squares += [enter(image[:, :shorter, :shorter], side), enter(image[:, -shorter:, -shorter:], side)]
    return squares


def rest_of_imagenette(data: Path, side: int) -> list[Tensor]:
    """The pictures of ``val`` on which no attacked figure is reported, at a side in pixels."""
    pictures = rain.load_dataset(f"folder:{data / 'imagenette' / 'val'}(labels=sorted)")
    return [enter(pictures[index][0], side) for index in range(SKIPPED, len(pictures))]


if __name__ == "__main__":
    main()
