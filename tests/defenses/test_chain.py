"""Defences one after the other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid
from models import tiny
from torch import Tensor

import rain
from rain.adaptive import Expectation, StraightThrough, attackable
from rain.bench import runners
from rain.bench.grid import expand
from rain.chain import Chain
from rain.defense import Defense
from rain.errors import GridError, OptionError, UnknownNameError
from rain.hardening import harden
from rain.promises import check_promises
from rain.registry import load_defense
from rain.report.labels import defense_labels
from rain.specs import canonical, parse


class Steps(Defense):
    """Few levels, and no gradient."""

    random = False
    differentiable = False

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images * 7).round() / 7


class Squares(Defense):
    """A gradient of its own: twice the image."""

    random = False

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images.square()


class Halved(Squares):
    """Half the side."""

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images[..., ::2, ::2]


class Noise(Defense):
    """As large as what comes in."""

    def __init__(self, sigma: float = 0.1, independent: bool = True):
        super().__init__()
        self.sigma, self.independent = sigma, independent

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        shape = images.shape if self.independent else (1, *images.shape[1:])
        return {"noise": torch.randn(shape, generator=generator)}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images + self.sigma * draw["noise"]).clamp(0, 1)


class Sure(Squares):
    """An answer of its own."""

    def answer(self, classify: Any, images: Tensor, draw: Any, *, copies: int = 1) -> Tensor:
        return 3 * classify(images)


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_chain_does_what_its_parts_do_one_after_the_other(images: Tensor) -> None:
    first, second = load_defense("resize_pad"), load_defense("rain(enhancer=bicubic)")
    chain = rain.Chain(first, "rain(enhancer=bicubic)")
    generator = seeded()
    first_draw = first.draw(images, generator)
    second_draw = second.draw(images, generator)
    by_hand = second.transform(first.transform(images, first_draw), second_draw)
    assert torch.equal(chain(images, generator=seeded()), by_hand)
    assert set(chain.stages(images, chain.draw(images))) == {"part1_enhanced", "randomized", "enhanced"}


def test_a_chain_draws_for_the_size_that_a_part_will_get(images: Tensor) -> None:
    chain = Chain(Halved(), Noise(), Halved(), Noise())
    draw = chain.draw(images)
    assert images.shape[2:] == (33, 40)
    assert draw["part2_noise"].shape == (len(images), 3, 17, 20)
    assert draw["part4_noise"].shape == (len(images), 3, 9, 10)
    assert chain.transform(images, draw).shape == draw["part4_noise"].shape
    assert chain(images[:0]).shape == (0, 3, 9, 10)
    check_promises(chain, images[:1])


@pytest.mark.parametrize(
    ("parts", "random", "independent", "turn"),
    [
        (("jpeg", "none"), False, True, 1),
        (("jpeg", "rain(enhancer=bicubic)"), True, True, 4),
        (("rain(enhancer=bicubic)", "resize_pad"), True, True, 4),
        ((Noise(), Noise(independent=False)), True, False, 1),
        ((Chain("rain(enhancer=bicubic)", Steps()), "jpeg"), True, True, 4),
    ],
)
def test_a_chain_is_what_its_parts_are(
    parts: tuple[Any, ...], random: bool, independent: bool, turn: int, images: Tensor
) -> None:
    chain = Chain(*parts)
    assert (chain.random, chain.independent, chain.turn) == (random, independent, turn)
    expectation = Expectation(harden(tiny(), chain), draws=6, batch=5)
    assert torch.isfinite(expectation(images)).all()


def test_an_attacker_passes_over_the_parts_without_a_gradient_only(images: Tensor) -> None:
    chain = Chain(Steps(), Squares())
    assert not chain.differentiable
    model = harden(tiny(), chain)
    view = attackable(model)
    assert isinstance(view.defense, Chain)
    assert isinstance(view.defense.defenses()[0], StraightThrough)
    assert torch.equal(view(images), model(images))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(view.defense(leaf).sum(), leaf)
    assert torch.allclose(gradient, 2 * Steps()(images))


def test_a_chain_within_a_chain_keeps_its_gradients_too(images: Tensor) -> None:
    view = attackable(harden(tiny(), Chain(Squares(), Chain(Steps(), Squares()))))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(view.defense(leaf).sum(), leaf)
    assert torch.allclose(gradient, 2 * Steps()(images.square()) * 2 * images)


def test_a_gate_stands_around_a_chain_and_not_in_it(images: Tensor) -> None:
    gate = load_defense("gated(defense=chain(parts=jpeg+rain(enhancer=bicubic)), threshold=0.1)")
    model = harden(tiny(), gate)
    assert model.predict(images, seed=1).suspicion.shape == (len(images),)
    view = attackable(harden(tiny(), load_defense("gated", defense=Chain(Steps(), Squares()), threshold=0.1)))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(view(leaf).square().sum(), leaf)
    assert gradient.abs().sum() > 0
    with pytest.raises(OptionError, match=r"part 1 of the chain is gated.*around it"):
        Chain("gated", "jpeg")
    with pytest.raises(OptionError, match=r"part 2 of the chain is gated"):
        Chain("jpeg", "gated")


def test_the_last_part_may_answer_itself(images: Tensor) -> None:
    model = harden(tiny(), Chain(Squares(), Sure()))
    assert torch.allclose(model(images), 3 * model.classify(images.square()))
    with pytest.raises(OptionError, match="part 1 of the chain, Sure, answers itself: put it last"):
        Chain(Sure(), "jpeg")
    gate = load_defense("gated", defense=Sure(), threshold=-10.0)
    assert torch.allclose(harden(tiny(), gate)(images), 3 * model.classify(images))


@pytest.mark.parametrize(
    ("parts", "error", "says"),
    [
        ((), OptionError, "at least one"),
        ((3,), OptionError, "got a int"),
        (("jpeg", Noise), OptionError, "got the class Noise: make one"),
        (("jpg",), UnknownNameError, "jpeg"),
    ],
)
def test_bad_parts_are_refused(parts: tuple[Any, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Chain(*parts)


def test_a_grid_lists_the_parts_and_the_spec_comes_back(pictures: Path, tmp_path: Path) -> None:
    entry = ["jpeg(quality=50)", "rain(shift=0, enhancer=bicubic)"]
    attacks = [{"attack": "pgd(steps=2)", "access": ["static", "adaptive"], "eps": "8/255", "eot": 2}]
    asked = grid(pictures, defenses=["none", entry], attacks=attacks, examples=2, gallery=1)
    spec = "chain(parts=jpeg(quality=50)+rain(enhancer=bicubic, shift=0))"
    assert {cell.defense for cell in asked.cells} == {"none", spec}
    assert canonical(spec) == spec
    assert parse(spec)[1] == {"parts": "jpeg(quality=50)+rain(enhancer=bicubic, shift=0)"}
    assert defense_labels([spec]) == {spec: "jpeg (quality 50), then rain (bicubic, shift 0)"}
    assert all(result.complete for result in runners.run(asked, tmp_path))


@pytest.mark.parametrize("entry", [[], [3], [["jpeg"], "rain"]])
def test_a_list_of_something_else_is_refused(entry: list[Any]) -> None:
    table = {"dataset": "samples", "classifier": "x", "examples": 1, "attacks": [{"attack": "none"}]}
    with pytest.raises(GridError):
        expand(table | {"defenses": [entry]})
