"""Own defences and attacks by their place, ``mine:Noise``, without a package."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from measuring import grid
from models import tiny
from torch import Tensor

import rain
from rain.bench import runners
from rain.bench.access import traits_text
from rain.errors import OptionError, RainError, ResultError, UnknownNameError
from rain.registry import ATTACKS, foreign_code, load_attack, load_defense, traits_of

SOURCE = '''
import torch
from rain import Defense
from rain.registry import ATTACKS, Traits


class Noise(Defense):
    """Add noise."""

    def __init__(self, sigma=0.1):
        super().__init__()
        if sigma > 1:
            raise ValueError("that is a lot")
        self.sigma = sigma

    def draw(self, images, generator=None):
        return {"noise": torch.randn(images.shape, generator=generator)}

    def transform(self, images, draw):
        return (images + self.sigma * draw["noise"]).clamp(0, 1)


def signs(model, images, labels, *, eps, norm="linf", steps=1, generator=None):
    """Move every value by eps."""
    signs = torch.randn(images.shape, generator=generator).sign()
    return (images + eps * signs).clamp(0, 1)


@ATTACKS.register(traits=Traits(follows=False))
def declared(model, images, labels, *, eps, norm="linf"):
    """It says of itself that it does not look."""
    return (images + eps).clamp(0, 1)


def number():
    return 3


VALUE = 3
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file ``mine.py`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    (tmp_path / "broken.py").write_text("import no_such_dependency\n")
    forget()
    yield path
    forget()
    ATTACKS._entries.pop("mine", None)


def forget() -> None:
    """Forget what was imported, so that a file is read anew."""
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def test_a_defence_and_its_options_come_by_their_place(mine: Path, images: Tensor) -> None:
    defense = load_defense("mine:Noise(sigma=0.0)")
    assert torch.equal(defense(images), images)
    gate = load_defense("gated(defense=mine:Noise(sigma=0.2), threshold=1)")
    assert gate.defense.sigma == 0.2


def test_a_file_may_be_called_as_a_built_in_that_takes_no_argument(mine: Path, images: Tensor) -> None:
    mine.rename(mine.parent / "bit_depth.py")
    assert type(load_defense("bit_depth:Noise")).__module__ == "bit_depth"
    assert type(load_defense("bit_depth")).__module__ == "rain.defenses.bit_depth"
    sys.modules.pop("bit_depth", None)


def test_halves_stay_halves_behind_a_draw_in_float32(mine: Path, images: Tensor) -> None:
    for spec in ("mine:Noise", "chain(parts=bit_depth+mine:Noise)"):
        model = rain.harden(tiny(), spec).to(torch.bfloat16)
        assert model(images.bfloat16()).dtype == torch.bfloat16


def test_an_attack_comes_by_its_place_and_is_checked_as_ours(mine: Path, images: Tensor) -> None:
    labels = torch.zeros(len(images), dtype=torch.long)
    attack = load_attack("mine:signs")
    moved = attack(tiny().eval(), images, labels, eps=0.1, norm="linf")
    assert (moved - images).abs().max() <= 0.1 + 1e-6
    with pytest.raises(RainError):
        attack(tiny().eval(), images * 2, labels, eps=0.1, norm="linf")


def test_an_attack_keeps_what_it_declares(mine: Path) -> None:
    assert traits_of("mine:signs").follows
    assert not traits_of("mine:declared").follows
    assert not traits_of("targeted(attack=mine:declared)").follows
    assert "follows=False" in traits_text("mine:declared")


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("missing:Noise", UnknownNameError, "defense 'missing:Noise': no module 'missing', neither in"),
        ("mine:Nose", UnknownNameError, "no function 'Nose' in mine.*Noise"),
        ("mine:VALUE", UnknownNameError, "no function 'VALUE' in mine"),
        ("broken:Noise", OptionError, "importing broken raised ModuleNotFoundError"),
        ("mine:Noise(sigmas=1)", OptionError, "'mine:Noise' has no option 'sigmas'.*sigma"),
        ("mine:Noise(sigma=2)", OptionError, "raised ValueError: that is a lot"),
        ("mine:number", OptionError, "gives a int, not a rain.Defense"),
    ],
)
def test_a_defence_that_cannot_be_built_says_why(
    mine: Path, spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        load_defense(spec)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("mine:sign", UnknownNameError, "attack 'mine:sign': no function 'sign' in mine"),
        ("mine:number", OptionError, "attack 'mine:number'.*called as attack"),
        ("mine:Noise", OptionError, "attack 'mine:Noise'.*called as attack"),
        ("mine:signs(step=3)", OptionError, "has no option 'step'.*steps"),
        ("mine:signs(eps=3)", OptionError, "eps is given with the call"),
        ("pgd:signs", OptionError, "write pgd"),
    ],
)
def test_an_attack_that_cannot_be_called_says_why(
    mine: Path, spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        load_attack(spec)


def test_a_grid_runs_them_and_refuses_other_code(mine: Path, pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": "mine:signs", "access": "adaptive", "eps": "8/255", "eot": 2}]
    asked = grid(pictures, defenses=["none", "mine:Noise(sigma=0.05)"], attacks=attacks, examples=2)
    results = runners.run(asked, tmp_path / "out")
    assert all(result.complete for result in results)
    assert all(result.made_by["plugin_code"] for result in results)
    mine.write_text(SOURCE + "\n# mended\n")
    with pytest.raises(ResultError, match="another plugin code than now"):
        runners.run(asked, tmp_path / "out")


@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        ("gated(defense=mine:Noise)", "none"),
        ("none", "distort(defense=mine:Noise)"),
        ("none", "targeted(attack=mine:signs)"),
        ("none", "ensemble(classifiers=efficientnet_lite0+mine:number)"),
    ],
)
def test_their_code_counts_wherever_it_stands(mine: Path, defense: str, attack: str) -> None:
    load_defense("mine:Noise")
    alone = foreign_code("efficientnet_lite0", "mine:Noise", "none")
    assert alone
    assert foreign_code("efficientnet_lite0", defense, attack) == alone
    assert foreign_code("efficientnet_lite0", "rain(enhancer=bicubic)", "pgd") == ""
