"""Our models in other libraries: they are modules, with parameters and a device, and need no wrapper."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny
from torch import Tensor, nn

import rain
from rain.adaptive import Expectation, Frozen, Seeded
from rain.bench.access import FirstGradient, Ticking, attack_in_pieces, attacker_view
from rain.bench.cells import ACCESSES, Cell
from rain.images import distance
from rain.registry import ATTACKS

# The libraries are older than what lies below them, which warns.
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "libraries.md"


@pytest.fixture
def hardened() -> rain.Hardened:
    return rain.harden(tiny().eval(), "rain(enhancer=bicubic)")


def views(hardened: rain.Hardened) -> dict[str, nn.Module]:
    return {
        "expectation": Expectation(hardened, 3),
        "frozen": Frozen(hardened),
        "seeded": Seeded(hardened, torch.Generator()),
        "averaged": Expectation(Seeded(hardened, torch.Generator()), 3),
        "watched": FirstGradient(Expectation(hardened, 3), torch.rand(2, 3, 16, 16)),
        "ticking": Ticking(hardened, lambda units: None, 1),
    }


@pytest.mark.parametrize("name", ["expectation", "frozen", "seeded", "averaged", "watched", "ticking"])
def test_a_view_is_a_module_with_parameters_and_a_device(name: str, hardened: rain.Hardened) -> None:
    weights, names = [id(each) for each in hardened.parameters()], list(hardened.state_dict())
    view = views(hardened)[name]
    assert isinstance(view, nn.Module)
    assert [id(each) for each in view.parameters()] == weights
    assert next(view.parameters()).device == torch.device("cpu")
    assert not view.training
    assert list(hardened.state_dict()) == names
    half = view.to(torch.float64)
    assert half(torch.rand(2, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64


def test_a_view_is_in_the_mode_of_its_model() -> None:
    model = tiny().train()
    view = Expectation(model, 2)
    assert view.training
    view.eval()
    assert not model.training


def test_what_is_no_module_is_seen_all_the_same(images: Tensor) -> None:
    view = Expectation(lambda points: points.flatten(1)[:, :4], 2)
    assert view(images).shape == (len(images), 4)
    assert not view.training


@pytest.mark.parametrize("access", [name for name in ACCESSES if name != "none"])
def test_the_bench_gives_an_attack_a_module(access: str, hardened: rain.Hardened, images: Tensor) -> None:
    view = attacker_view(hardened, cell("pgd", access), torch.Generator().manual_seed(0))
    assert isinstance(view, nn.Module)
    assert next(view.parameters()).device == images.device


def cell(attack: str, access: str = "adaptive", eot: int = 2, eps: float = 4 / 255) -> Cell:
    defense = "rain(enhancer=bicubic)"
    return Cell("samples", 16, "models:tiny", defense, attack, "linf", eps, access, eot, 2, 0, 3, 3)


def looking(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
    """What another package's attack does to the model that it is given."""
    assert isinstance(model, nn.Module)
    assert next(model.parameters()).device == images.device
    model.train()
    model.eval()
    return images.clone()


@pytest.mark.parametrize("kind", ["module", "closure", "bench"])
def test_an_attack_is_given_a_module(kind: str, hardened: rain.Hardened, images: Tensor) -> None:
    attack = ATTACKS._wrapped(looking)
    labels = torch.zeros(len(images), dtype=torch.long)
    model: Any = {"module": hardened, "closure": lambda points: hardened(points)}.get(kind)
    if kind == "bench":
        model = attacker_view(hardened, cell("pgd"), torch.Generator())
    attack(model, images, labels, eps=0.1, norm="linf")


def test_a_mode_that_an_attack_sets_is_put_back(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4)).train()
    labels = torch.zeros(len(images), dtype=torch.long)
    ATTACKS._wrapped(looking)(network, images, labels, eps=0.1, norm="linf")
    assert all(module.training for module in network.modules())


def test_an_attack_of_another_library_runs_in_the_bench(
    images: Tensor, hardened: rain.Hardened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of the user's own, on the model as it is given."""
    foolbox = pytest.importorskip("foolbox")
    from rain.bench import access

    def theirs(model: Any, points: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        seen = foolbox.PyTorchModel(model, bounds=(0, 1), device=points.device)
        attacked: Tensor = foolbox.attacks.LinfPGD(steps=2)(seen, points, labels, epsilons=eps)[1]
        return attacked

    monkeypatch.setattr(access, "load_attack", lambda spec: ATTACKS._wrapped(theirs))
    asked = cell("pgd")
    view = attacker_view(hardened, asked, torch.Generator().manual_seed(0))
    labels = hardened.predict(images).labels
    made = attack_in_pieces(view, images, labels, asked, torch.Generator().manual_seed(1))
    assert 0 < float(distance(made.images, images, "linf").max()) <= 4 / 255 + 1e-6


@pytest.mark.parametrize("library", ["foolbox", "torchattacks", "art"])
def test_the_lines_of_the_page_run(library: str, images: Tensor, hardened: rain.Hardened) -> None:
    """Those for each library, on the page about them."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if re.search(rf"^(import|from) {library}\b", block))
    labels = hardened.predict(images, seed=0).labels
    before = {name: value.clone() for name, value in hardened.state_dict().items()}
    names: dict[str, Any] = {
        "rain": rain,
        "torch": torch,
        "images": images,
        "labels": labels,
        "hardened": hardened,
        "classes": 5,
    }
    with torch.random.fork_rng():
        exec(compile(block, PAGE.name, "exec"), names)
    moved = float(distance(names["adversarial"], images, "linf").max())
    assert 0 < moved <= 4 / 255 + 1e-6
    assert not hardened.training
    for name, value in hardened.state_dict().items():
        assert torch.equal(value, before[name]), name
