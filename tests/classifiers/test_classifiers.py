"""Classifiers: preprocessing, torchvision, timm, and the user's own functions."""

import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rain import checkpoints
from rain.classifiers import Preprocessed
from rain.classifiers.torchvision import _download
from rain.errors import OptionError, UnknownNameError, WeightsError
from rain.registry import load_classifier

NORMAL: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


class Seen(nn.Module):
    """Remembers what reaches the network."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images.mean((2, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 40, 55, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def squeezenet() -> Preprocessed:
    torch.manual_seed(0)
    return load_classifier("torchvision/squeezenet1_1(weights=None)")


# --- Preprocessed


def test_subtracts_the_mean_and_divides_by_the_std(images: Tensor) -> None:
    seen = Seen()
    Preprocessed(seen, resize=40, crop=40, **NORMAL)(images)
    mean, std = (torch.tensor(NORMAL[name])[:, None, None] for name in ("mean", "std"))
    expected = (images[:, :, :, 8:48] - mean) / std
    assert torch.equal(seen.images, expected)


def test_leaves_images_of_the_crop_size_alone(images: Tensor) -> None:
    seen = Seen()
    Preprocessed(seen, resize=256, crop=32, mean=(0, 0, 0), std=(1, 1, 1))(images[:, :, :32, :32])
    assert torch.equal(seen.images, images[:, :, :32, :32])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(40, 55), (57, 31), (20, 20), (33, 34)])
def test_agrees_with_torchvision(interpolation: str, size: tuple[int, int]) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    seen = Seen()
    Preprocessed(seen, resize=29, crop=24, interpolation=interpolation, **NORMAL)(image)
    preset = ImageClassification(
        crop_size=24, resize_size=29, interpolation=InterpolationMode(interpolation), **NORMAL
    )
    expected = preset(image)
    # Bicubic overshoots: we clamp to the range of images, torchvision does not.
    mean, std = (torch.tensor(NORMAL[name])[:, None, None] for name in ("mean", "std"))
    low, high = -mean / std, (1 - mean) / std
    expected = torch.maximum(torch.minimum(expected, high), low)
    assert torch.allclose(seen.images, expected, atol=1e-5)


def test_is_differentiable_and_takes_empty_batches(images: Tensor) -> None:
    model = Preprocessed(Seen(), resize=20, crop=16, **NORMAL)
    leaf = images.clone().requires_grad_()
    model(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    assert model(images[:0]).shape == (0, 3)


def test_has_no_state_of_its_own() -> None:
    assert not Preprocessed(Seen(), resize=20, crop=16, **NORMAL).state_dict()


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": 30},
        {"crop": 0},
        {"interpolation": "nearest"},
        {"resize": (20, 20)},
        {"mean": 0.5},
        {"mean": (124, 116, 104)},
        {"std": (0.2, 0.2)},
        {"std": (0.2, 0.0, 0.2)},
    ],
)
def test_refuses_what_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Preprocessed(Seen(), **({"resize": 20, "crop": 16} | NORMAL | wrong))


# --- torchvision


def test_torchvision_takes_preprocessing_and_categories_from_the_weights(squeezenet: Preprocessed) -> None:
    assert isinstance(squeezenet, Preprocessed)
    assert not squeezenet.training
    assert not squeezenet.network.training
    assert (squeezenet.resize, squeezenet.crop, squeezenet.interpolation) == (256, 224, "bilinear")
    assert len(squeezenet.categories) == 1000
    assert squeezenet.categories[0] == "tench"
    assert squeezenet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_torchvision_loads_your_own_weights(squeezenet: Preprocessed, tmp_path: Path) -> None:
    save_file(squeezenet.network.state_dict(), tmp_path / "own.safetensors")
    again = load_classifier(f"torchvision/squeezenet1_1(weights={tmp_path / 'own.safetensors'})")
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(image), squeezenet(image))
    assert again(image[:0]).shape == (0, 1000)
    with pytest.raises(WeightsError, match=r"own.safetensors: classifier.1.bias has shape"):
        load_classifier("torchvision/squeezenet1_1", weights=tmp_path / "own.safetensors", classes=10)
    with pytest.raises(WeightsError, match="not weights of AlexNet"):
        load_classifier("torchvision/alexnet", weights=tmp_path / "own.safetensors")


def test_torchvision_loads_what_training_leaves(tmp_path: Path) -> None:
    trained = load_classifier("torchvision/squeezenet1_1", weights=None, classes=3)
    checkpoints.save(trained, tmp_path / "mine.safetensors", {"classes": "cat, dog, owl"})
    path = str(tmp_path / "mine.safetensors")
    again = load_classifier("torchvision/squeezenet1_1", weights=path, classes=3)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), trained(images))
    assert again.categories == ("cat", "dog", "owl")


def test_torchvision_takes_other_class_counts_and_sides() -> None:
    model = load_classifier("torchvision/squeezenet1_1(weights=None, classes=7, resize=70, crop=64)")
    assert (model.resize, model.crop, model.categories) == (70, 64, ())
    assert model(torch.rand(1, 3, 90, 80)).shape == (1, 7)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("torchvision", OptionError, "write torchvision/NAME"),
        ("torchvision/squeezenet11", UnknownNameError, "did you mean 'squeezenet1_1'"),
        (
            "torchvision/squeezenet1_1(weights=V9)",
            UnknownNameError,
            "there is no such file; there are: IMAGENET1K_V1",
        ),
        ("torchvision/squeezenet1_1(weigths=None)", OptionError, "did you mean 'weights'"),
        ("torchvision/squeezenet1_1(classes=10)", OptionError, "goes with weights=PATH"),
    ],
)
def test_torchvision_says_what_is_wrong(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        load_classifier(spec)


def test_torchvision_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    download = {}

    def unreachable(url: str, **options: Any) -> None:
        download.update(options)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(WeightsError, match=r"(?s)squeezenet1_1.*no network.*weights=PATH"):
        load_classifier("torchvision/squeezenet1_1")
    assert download["weights_only"]
    assert download["check_hash"]


def test_torchvision_loads_what_it_downloads(
    squeezenet: Preprocessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {key: value.clone() for key, value in squeezenet.network.state_dict().items()}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **options: state)
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        load_classifier("torchvision/squeezenet1_1(weights=IMAGENET1K_V1)")(image), squeezenet(image)
    )


def test_the_old_names_of_densenet_are_read() -> None:
    class Weights:
        def get_state_dict(self, **options: Any) -> dict[str, Tensor]:
            return {
                "features.denseblock1.denselayer2.norm.1.weight": torch.ones(1),
                "features.conv0.weight": torch.ones(1),
            }

    assert set(_download(Weights(), "densenet")) == {
        "features.denseblock1.denselayer2.norm1.weight",
        "features.conv0.weight",
    }


# --- timm


def test_timm(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = load_classifier("timm/test_efficientnet(weights=None, classes=5)")
    assert isinstance(model, Preprocessed)
    assert not model.training
    assert model.categories == ()
    assert model.resize >= model.crop == 160
    image = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    save_file(model.network.state_dict(), tmp_path / "own.safetensors")
    again = load_classifier("timm/test_efficientnet", weights=tmp_path / "own.safetensors", classes=5)
    assert torch.equal(again(image), model(image))
    assert again(image[:0]).shape == (0, 5)
    assert len(load_classifier("timm/test_efficientnet(weights=None)").categories) == 1000


def test_timm_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("timm")
    for spec, error, says in [
        ("timm/resnot18", UnknownNameError, "did you mean 'resnet18'"),
        ("timm/qqqqqqqqq", UnknownNameError, "list_models"),
        ("timm/resnet18(weights=gone.safetensors)", UnknownNameError, "no such file 'gone.safetensors'"),
        ("timm/resnet18(classes=10)", OptionError, "goes with weights=PATH"),
    ]:
        with pytest.raises(error, match=says):
            load_classifier(spec)

    def unreachable(name: str, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(library, "create_model", unreachable)
    with pytest.raises(WeightsError, match=r"no network.*weights=PATH"):
        load_classifier("timm/resnet18")


# --- package.module:function

SOURCE = """
import torch
from torch import nn

def make(classes=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes), nn.BatchNorm1d(classes))

def breaks():
    raise KeyError("weights")

def number():
    return 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_classifiers.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("import no_such_dependency\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("own_classifiers", None)


def test_module_builds_from_the_working_directory(here: None) -> None:
    model = load_classifier("own_classifiers:make(classes=6)")
    assert not model.training
    assert load_classifier("own_classifiers:make", classes=2)[1].out_features == 2
    assert model[1].out_features == 6


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("own_missing.deep:make", UnknownNameError, "no module 'own_missing'"),
        ("own_classifiers.deep:make", UnknownNameError, "no module 'own_classifiers.deep'"),
        ("own_classifiers:mak", UnknownNameError, "did you mean 'make'"),
        ("own_classifiers:", UnknownNameError, "there are: make, breaks, number"),
        (
            "own_classifiers:make(depth=3)",
            OptionError,
            r"unexpected keyword argument 'depth'.*make\(classes=4\)",
        ),
        ("own_classifiers:breaks", OptionError, "raised KeyError: 'weights'"),
        ("own_classifiers:number", OptionError, "returned int, not an nn.Module"),
        (
            "own_broken:make",
            OptionError,
            "importing own_broken raised ModuleNotFoundError: No module named 'no_such_dependency'",
        ),
    ],
)
def test_module_says_what_is_wrong(here: None, spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        load_classifier(spec)


# --- weights of other classes


@pytest.mark.parametrize(
    "name", ["torchvision/squeezenet1_1", "torchvision/resnet18", "timm/test_efficientnet"]
)
def test_weights_of_ten_classes_say_classes(name: str, tmp_path: Path) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    path = tmp_path / "ten.safetensors"
    ten = load_classifier(name, weights=None, classes=10)
    for prefix in ("", "model."):
        state = {f"{prefix}{key}": value for key, value in ten.network.state_dict().items()}
        save_file(state, path)
        with pytest.raises(WeightsError, match=r"all else fits: .* of 10 classes, give classes=10$"):
            load_classifier(name, weights=path)
    with pytest.warns(UserWarning, match=r"'model.', which was left out"):
        again = load_classifier(name, weights=path, classes=10)
    assert checkpoints.digest(again) == checkpoints.digest(ten)
    with pytest.raises(WeightsError, match=r"of 10 classes, give classes=10$"):
        load_classifier(name, weights=path, classes=11)


def test_classes_are_no_advice_where_more_does_not_fit(squeezenet: Preprocessed, tmp_path: Path) -> None:
    ten = load_classifier("torchvision/squeezenet1_1", weights=None, classes=10).network.state_dict()
    other = ten | {"features.0.bias": torch.ones(7)}
    one = ten | {"classifier.1.weight": torch.ones(1, 512, 1, 1), "classifier.1.bias": torch.ones(1)}
    two_counts = ten | {"classifier.1.bias": torch.ones(9)}
    narrow = ten | {"classifier.1.weight": torch.ones(10, 256, 1, 1)}
    for state in (other, one, two_counts, narrow):
        save_file(state, tmp_path / "odd.safetensors")
        with pytest.raises(WeightsError, match=r"has shape .* needs \([\d, ]*\)$"):
            load_classifier("torchvision/squeezenet1_1", weights=tmp_path / "odd.safetensors")
