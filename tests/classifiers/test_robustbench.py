"""Checkpoints in the layouts of RobustBench's ImageNet models, made here."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rain.classifiers import Preprocessed
from rain.errors import OptionError, WeightsError
from rain.registry import load_classifier

NETWORK = "torchvision/squeezenet1_1"
"""Smaller than the ResNets, whose names are dealt with in the same way."""


@pytest.fixture(scope="module")
def plain() -> Preprocessed:
    torch.manual_seed(0)
    return load_classifier(NETWORK, weights=None)


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def as_library(state: dict[str, Tensor]) -> dict[str, Any]:
    """The layout of the library "robustness": the network twice, beside what the training needs."""
    constants = {"mean": torch.tensor([0.4, 0.5, 0.6])[:, None, None], "std": torch.full((3, 1, 1), 0.25)}
    model = prefixed(state, "module.model.") | prefixed(state, "module.attacker.model.")
    model |= {f"module.normalizer.new_{name}": value for name, value in constants.items()}
    model |= {f"module.attacker.normalize.new_{name}": value for name, value in constants.items()}
    return {"model": model, "epoch": 90, "optimizer": {"state": {}}}


def as_hub(state: dict[str, Tensor]) -> dict[str, Any]:
    """The layout that the zoo hosts: a normalisation, then the model."""
    normalize = {"mean": torch.full((1, 3, 1, 1), 0.45), "std": torch.full((1, 3, 1, 1), 0.2)}
    return prefixed(state, "model.") | prefixed(normalize, "normalize.")


def as_sequence(state: dict[str, Tensor]) -> dict[str, Any]:
    """An ``nn.Sequential`` of a layer that normalises, and the model."""
    normalize = {"mean": torch.full((1, 3, 1, 1), 0.45), "std": torch.full((1, 3, 1, 1), 0.2)}
    return prefixed(state, "1.") | prefixed(normalize, "0.")


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "bare": dict,
    "model.": lambda state: prefixed(state, "model."),
    "state_dict": lambda state: {"state_dict": prefixed(state, "module."), "epoch": 3},
    "hub": as_hub,
    "library": as_library,
    "sequence": as_sequence,
}
COLOURS = {name: ([0.45] * 3, [0.2] * 3) for name in ("hub", "sequence")} | {
    "library": ([0.4, 0.5, 0.6], [0.25] * 3)
}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def write(path: Path, payload: Any) -> str:
    """Write a pickle, and give its digest."""
    torch.save(payload, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout_loads(layout: str, plain: Preprocessed, tmp_path: Path) -> None:
    path = tmp_path / "robust.pt"
    digest = write(path, LAYOUTS[layout](plain.network.state_dict()))
    model = load_classifier(f"robustbench:{path}(network={NETWORK}, sha256={digest})")
    mean, std = COLOURS.get(layout, IMAGENET)
    assert model.mean.flatten().tolist() == pytest.approx(mean)
    assert model.std.flatten().tolist() == pytest.approx(std)
    assert (model.resize, model.crop, model.training) == (256, 224, False)
    assert model.categories[0] == "tench"
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    normal = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        assert torch.equal(model(images), plain.network(normal))


def test_safetensors_need_no_digest(plain: Preprocessed, tmp_path: Path) -> None:
    path = tmp_path / "robust.safetensors"
    save_file(prefixed(plain.network.state_dict(), "model."), path, metadata={"licence": "MIT"})
    model = load_classifier(f"robustbench:{path}", network=NETWORK, resize=240)
    assert model.card == {"licence": "MIT"}
    assert model.resize == 240
    assert torch.equal(model.network.features[0].weight, plain.network.features[0].weight)


def test_networks_of_timm_load(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    ours = load_classifier("timm/test_efficientnet(weights=None)")
    path = tmp_path / "robust.pt"
    digest = write(path, prefixed(ours.network.state_dict(), "module."))
    again = load_classifier(f"robustbench:{path}", network="timm/test_efficientnet", sha256=digest.upper())
    for name, value in ours.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)


def test_a_pickle_is_opened_with_the_known_digest_only(plain: Preprocessed, tmp_path: Path) -> None:
    path = tmp_path / "robust.pt"
    digest = write(path, plain.network.state_dict())
    with pytest.raises(WeightsError, match=f"this is a pickle.*give sha256={digest} if that is what"):
        load_classifier(f"robustbench:{path}", network=NETWORK)
    with pytest.raises(WeightsError, match=f"its SHA-256 is {digest}, not 00: it is another file"):
        load_classifier(f"robustbench:{path}", network=NETWORK, sha256="00")


class Harm:
    """What a pickle can do when it is opened by a loader that runs code."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_even_with_its_digest(tmp_path: Path) -> None:
    path, touched = tmp_path / "robust.pt", tmp_path / "touched"
    for content in (pickle.dumps({"model": Harm(touched)}, 2), b"\x80\x02 cut"):
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        with pytest.raises(WeightsError, match="loader for tensors only refuses it"):
            load_classifier(f"robustbench:{path}", network=NETWORK, sha256=digest)
    digest = write(path, {"model": Harm(touched)})
    with pytest.raises(WeightsError, match="loader for tensors only refuses it"):
        load_classifier(f"robustbench:{path}", network=NETWORK, sha256=digest)
    assert not touched.exists()


def test_what_does_not_fit_says_so(plain: Preprocessed, tmp_path: Path) -> None:
    path, state = tmp_path / "robust.pt", plain.network.state_dict()
    for payload, says in [
        ({"epoch": 3}, "no tensors by name"),
        ([torch.ones(2)], "no tensors by name"),
        (state | {"normalize.mean": torch.ones(1)}, "its mean has 1 numbers"),
        ({"conv1.weight": torch.ones(2)}, "not weights of SqueezeNet"),
        (state | {"features.0.bias": torch.full((64,), float("nan"))}, "NaN"),
    ]:
        digest = write(path, payload)
        with pytest.raises(WeightsError, match=says):
            load_classifier(f"robustbench:{path}", network=NETWORK, sha256=digest)
    with pytest.raises(WeightsError, match="no such weight file"):
        load_classifier(f"robustbench:{tmp_path / 'gone.pt'}")
    with pytest.raises(OptionError, match="network must be torchvision/NAME or timm/NAME"):
        load_classifier(f"robustbench:{path}(network=small_resnet)")
    with pytest.raises(OptionError, match="write robustbench:PATH"):
        load_classifier("robustbench")
