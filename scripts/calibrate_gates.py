"""Calibrate the gates that the package ships: ``python scripts/calibrate_gates.py DATA``.

DATA holds ``imagenette/{train,val}``. EfficientNet-Lite0 is calibrated on pictures of ``train``, which no
figure is reported on. The small classifier has learned ``train`` by heart, so that its gates are calibrated
on the pictures of ``val`` from the 200th on; attacked figures are reported on the first 200.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.progress import track

import rain
from rain.calibration import summarize
from rain.gate import Gated
from rain.images import enter
from rain.registry import load_defense

WEIGHTS = Path(rain.__file__).parent / "weights"
BATCH = 20
LITE0, SMALL = "efficientnet_lite0", "small_resnet(weights=imagenette)"
GATES = {
    "lite0-default": (LITE0, "rain", 224, "train"),
    "small-plain": (SMALL, "rain(enhancer=compact(weights=imagenette))", 96, "val"),
    "small-adversarial": (SMALL, "rain(enhancer=compact(weights=adversarial))", 96, "val"),
}


def main() -> None:
    """Write ``gate-NAME.json`` beside the weights for each pair of classifier and defence."""
    data = Path(sys.argv[1])
    for name, (classifier, defense, side, part) in GATES.items():
        path = WEIGHTS / f"gate-{name}.json"
        if not path.exists():
            calibrate(data / "imagenette" / part, part, classifier, defense, side, path)


def calibrate(folder: Path, part: str, classifier: str, defense: str, side: int, path: Path) -> None:
    """Compare the two answers to the pictures of one folder, and write what the gate needs of them."""
    pictures = rain.load_dataset(f"folder:{folder}(labels=sorted)")
    indices = chosen(len(pictures), part)
    gate = load_defense("gated", defense=defense)
    assert isinstance(gate, Gated)
    hardened = rain.harden(rain.load_classifier(classifier), gate)
    generator = torch.Generator().manual_seed(0)
    comparisons = []
    for start in track(range(0, len(indices), BATCH), path.stem):
        images = [enter(pictures[index][0], side) for index in indices[start : start + BATCH]]
        comparisons.append(gate.compare(hardened, torch.stack(images), generator))
    origin = f"{len(indices)} pictures of imagenette/{part}, at {side} pixels"
    summarize(comparisons, *gate.place, origin).save(path)


def chosen(count: int, part: str) -> list[int]:
    """The indices of the pictures: 1000 of ``train``, at random, or those of ``val`` from the 200th on."""
    if part == "val":
        return list(range(200, count))
    order: Iterable[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return list(order)[:1000]


if __name__ == "__main__":
    main()
