"""On real images with the real classifier.

The pictures of the demo are in a package; the larger sets lie beside the project, for developers.
"""

from pathlib import Path

import pytest
import torch

import rain
from rain.bench.grid import expand
from rain.bench.metrics import accuracy
from rain.images import enter
from rain.networks import own_size

SHARED = Path(__file__).parents[2] / "shared"
NIPS2017 = SHARED / "data" / "nips2017"
SQUEEZENET = SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"


def test_the_demos_classifier_knows_the_demos_pictures() -> None:
    pictures = rain.load_dataset("samples")
    pairs = [pictures[index] for index in range(8)]
    images = torch.stack([enter(image, 224) for image, _ in pairs])
    hardened = rain.harden(rain.load_classifier("efficientnet_lite0"), "rain")
    truth = torch.tensor([label for _, label in pairs])
    with torch.no_grad():
        assert (hardened.classifier(images).argmax(1) == truth).float().mean() >= 0.75
    labels, probabilities, agreement = hardened.predict(images, draws=2, seed=0)
    assert (labels == truth).float().mean() >= 0.5
    assert torch.allclose(probabilities.sum(1), torch.ones(8))
    assert set(agreement.tolist()) <= {0.0, 0.5, 1.0}


@pytest.mark.slow
@pytest.mark.skipif(not NIPS2017.is_dir(), reason="needs the NIPS 2017 images")
def test_the_shipped_dg_stands_clearly_above_bicubic(tmp_path: Path) -> None:
    table = {
        "dataset": f"csv:{NIPS2017}",
        "size": 224,
        "classifier": "efficientnet_lite0",
        "defenses": ["rain(enhancer=bicubic)", "rain"],
        "examples": 100,
        "draws": 4,
        "attacks": [{"attack": "none"}],
    }
    bicubic, compact = rain.run(expand(table), tmp_path)
    if bicubic.cell.defense == "rain":
        bicubic, compact = compact, bicubic
    assert accuracy(compact) > accuracy(bicubic) + 0.05


@pytest.mark.slow
@pytest.mark.skipif(not NIPS2017.is_dir(), reason="needs the NIPS 2017 images")
@pytest.mark.parametrize(("number", "right"), [(0, 370), (1, 370), (2, 367)])
def test_the_lites_know_the_pictures_of_nips2017(number: int, right: int) -> None:
    classifier = rain.load_classifier(f"efficientnet_lite{number}")
    pictures = rain.load_dataset(f"csv:{NIPS2017}")
    known = 0
    for first in range(0, 400, 20):
        pairs = [pictures[index] for index in range(first, first + 20)]
        images = torch.stack([enter(image, own_size(classifier)) for image, _ in pairs])
        with torch.no_grad():
            answers = classifier(images).argmax(1)
        known += int((answers == torch.tensor([label for _, label in pairs])).sum())
    assert known == pytest.approx(right, abs=2)  # rounding may turn an answer


@pytest.mark.slow
@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="needs the weights of SqueezeNet")
def test_a_classifier_from_a_file_of_weights() -> None:
    classifier = rain.load_classifier(f"torchvision/squeezenet1_1(weights={SQUEEZENET})")
    pictures = rain.load_dataset("samples")
    pairs = [pictures[index] for index in range(20)]
    with torch.no_grad():
        right = [int(classifier(image[None]).argmax()) == label for image, label in pairs]
    assert sum(right) >= 10
