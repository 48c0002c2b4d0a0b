from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid
from models import tiny
from synthetic import cell
from torch import Generator, Tensor

import rain
from rain.bench import access
from rain.bench.access import attack_in_pieces, attacker_view, crafted_by
from rain.bench.assets import Assets
from rain.bench.cells import load
from rain.bench.first_gradient import FirstGradient
from rain.bench.runners import run
from rain.errors import (
    AttackError,
    OptionError,
)
from rain.images import distance
from rain.registry import ATTACKS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda images, eps: images + 3 * eps, r"moved an image|left \[0, 1\]"),
        (lambda images, eps: images * float("nan"), "NaN"),
        (lambda images, eps: images[:, :, :-1], "returned"),
        (lambda images, eps: images[:1], "returned"),
        (lambda images, eps: None, "NoneType"),
        (lambda images, eps: images - eps * (images < eps), r"left \[0, 1\]"),
        (lambda images, eps: (images + 1.01 * eps).clamp(0, 1), "moved an image by 0.0316"),
    ],
)
def test_an_attack_that_breaks_its_promise_is_named_and_nothing_is_saved(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, float], Any],
    message: str,
) -> None:
    def attack(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Any:
        return broken(images, eps)

    monkeypatch.setitem(ATTACKS._entries, "pgd", attack)
    with pytest.raises(AttackError, match=message), pytest.warns(match=message):
        run(grid(pictures, attacks=[{"attack": "pgd", "access": "static", "eps": "8/255"}]), tmp_path)
    assert not list(tmp_path.rglob("0*.json"))


def test_one_broken_attack_does_not_stop_the_others(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once and again in the end, and is tried in one chunk only."""
    calls: list[int] = []

    def broken(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        calls.append(len(images))
        return images if not len(images) else model(images * float("nan"))

    monkeypatch.setitem(ATTACKS._entries, "pgd", broken)
    attacks = [{"attack": ["pgd", "fgsm"], "access": "static", "eps": "8/255"}]
    with (
        pytest.raises(AttackError, match=r"1 of 2 cells.*pgd asked.*NaN"),
        pytest.warns(match="the rest goes on") as told,
    ):
        run(grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    assert len(told) == 1
    assert [count for count in calls if count] == [calls[-1]]
    (done,) = load(tmp_path)
    assert done.cell.attack == "fgsm"
    assert len(done.outcomes) == done.cell.examples


def test_queries_are_counted_for_each_image_and_held_to_their_budget(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(
        model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str, queries: int = 9
    ) -> Tensor:
        for _ in range(2 + int(labels.sum())):
            model(images.repeat(2, 1, 1, 1))
        return images

    monkeypatch.setitem(ATTACKS._entries, "pgd", attack)
    asking = [{"attack": "pgd", "access": "query", "eps": "8/255"}]
    (result,) = run(grid(pictures, attacks=asking, examples=3, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    assert [outcome.queries for outcome in result.outcomes] == [4, 6, 8]
    with (
        pytest.warns(match="left out"),
        pytest.raises(AttackError, match="asked 10 times for one image, 9 queries were allowed"),
    ):
        run(grid(pictures, attacks=asking, examples=4, defenses=["rain(enhancer=bicubic)"]), tmp_path)


def test_query_access_gives_no_gradient(pictures: Path) -> None:
    cell = replace(grid(pictures).cells[0], access="query", defense="rain(enhancer=bicubic)")
    view = attacker_view(Assets(CPU).hardened(cell.classifier, cell.defense), cell, torch.Generator())
    assert not view(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad


def test_an_adaptive_attacker_sees_fresh_draws_at_every_call(pictures: Path) -> None:
    cell = replace(grid(pictures).cells[0], access="adaptive", defense="rain(enhancer=bicubic)", eot=2)
    view = attacker_view(Assets(CPU).hardened(cell.classifier, cell.defense), cell, torch.Generator())
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(view(images), view(images))


def test_the_budget_is_measured_in_the_cells_norm() -> None:
    images = torch.zeros(1, 3, 4, 4)
    assert distance(images, images + 0.1, "linf").item() == pytest.approx(0.1)
    assert distance(images, images + 0.1, "l2").item() == pytest.approx(0.1 * 48**0.5)


def test_a_frozen_attacker_meets_one_draw(pictures: Path, tmp_path: Path) -> None:
    """His model gives the same answer each time, and to each image whatever stands beside it."""
    cell = grid(pictures).cells[0]
    model = rain.harden(tiny(), "rain(enhancer=bicubic)")
    generator = torch.Generator().manual_seed(5)
    view = attacker_view(model, replace(cell, access="frozen"), generator)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(view(images), view(images))
    assert torch.allclose(view(images)[1:2], view(images[1:2]), atol=1e-5)
    other = attacker_view(model, replace(cell, access="static"), generator)
    assert not torch.equal(other(images), other(images))


@pytest.mark.parametrize("attack", ["square(queries=30)", "nes(queries=40, samples=4)", "rays(queries=30)"])
def test_a_query_attack_finds_the_same_whether_images_are_asked_together_or_not(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    asking = grid(
        pictures, attacks=[{"attack": attack, "access": "query", "eps": "16/255"}], defenses=["none"], size=32
    )
    (one,) = run(asking, tmp_path / "together")
    monkeypatch.setattr(access, "AT_ONCE", 1)
    (other,) = run(asking, tmp_path / "alone")
    assert [outcome.queries for outcome in one.outcomes] == [outcome.queries for outcome in other.outcomes]
    assert [outcome.distance for outcome in one.outcomes] == pytest.approx(
        [outcome.distance for outcome in other.outcomes], rel=1e-4
    )


def test_options_that_fail_only_at_work_do_not_stop_the_others(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": ["pgd(steps=1)", "noise(tries=1)"], "access": "query", "eps": "8/255"}]
    with pytest.raises(AttackError, match=r"1 of 2 cells.*gradient"), pytest.warns(match="the rest goes on"):
        run(grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    (done,) = load(tmp_path)
    assert done.cell.attack == "noise(tries=1)"


def test_the_options_of_an_inner_attack_are_tried_before_any_work(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="steps must be an integer"):
        run(
            grid(
                pictures,
                attacks=[{"attack": "targeted(attack=pgd(steps=0))", "access": "static", "eps": "8/255"}],
            ),
            tmp_path,
        )


@pytest.mark.parametrize(
    ("defense", "how", "random", "source"),
    [
        ("rain", "transfer", True, ("none", "transfer")),
        ("rain", "frozen", True, ("rain", "frozen")),
        ("rain", "static", True, ("rain", "static")),
        ("rain", "adaptive", True, ("rain", "adaptive")),
        ("rain", "query", True, ("rain", "query")),
        ("jpeg", "frozen", False, ("jpeg", "static")),
        ("jpeg", "adaptive", False, ("jpeg", "static")),
        ("jpeg", "transfer", False, ("none", "transfer")),
        ("none", "adaptive", False, ("none", "transfer")),
        ("none", "static", False, ("none", "transfer")),
        ("none", "query", False, ("none", "query")),
    ],
)
def test_which_cells_share_an_attack(
    pictures: Path, defense: str, how: str, random: bool, source: tuple[str, str]
) -> None:
    cell = replace(grid(pictures).cells[-1], defense=defense, access=how)
    crafted = crafted_by(cell, random=random)
    assert (crafted.defense, crafted.access) == source
    assert replace(crafted, defense=defense, access=how, draws=cell.draws) == cell


def test_the_batch_is_images_times_draws(pictures: Path) -> None:
    attack = "pgd(steps=1, confidence=inf)"
    cell = replace(grid(pictures).cells[0], attack=attack, access="adaptive", eot=4, eps=0.03)
    images, labels = torch.rand(7, 3, 16, 16), torch.zeros(7, dtype=torch.long)
    sizes: list[int] = []

    def model(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch.flatten(1)[:, :5]

    attacked = access.attack_in_pieces(model, images, labels, cell, torch.Generator(), batch=12)
    assert set(sizes) == {3, 1}
    assert len(attacked.images) == len(attacked.flat) == 7
    assert attacked.queries is None


def test_the_options_of_a_run_reach_the_attack(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": "pgd(steps=2)", "access": "adaptive", "eps": "8/255", "eot": 4}]
    asking = grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"], size=32)
    (result,) = run(asking, tmp_path, attack_batch=8, eot_batch=4)
    assert result.made_by["batches"] == ("attack 8, eot 4",)
    with pytest.raises(OptionError, match="batches must be at least 1, got attack = 0"):
        run(asking, tmp_path, attack_batch=0)


def test_an_attack_that_averages_by_itself_does_what_access_adaptive_does(
    pictures: Path, tmp_path: Path
) -> None:
    """It asks the same model about the same draws, in batches of the same size."""
    attacks = [
        {"attack": "pgd(steps=2, confidence=inf)", "access": "adaptive", "eps": "8/255", "eot": 4},
        {"attack": "eot(attack=pgd(steps=2, confidence=inf), draws=4)", "access": "static", "eps": "8/255"},
    ]
    results = run(grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    by_access = {result.cell.access: result for result in results}
    assert by_access["static"].outcomes == by_access["adaptive"].outcomes
    traits = [by_access[name].made_by["attack_traits"][0] for name in ("adaptive", "static")]
    assert ["averages" in text for text in traits] == [False, True]


def test_a_preset_is_measured_as_what_it_stands_for(pictures: Path) -> None:
    cells = grid(pictures, attacks=[{"attack": "aa-rand", "access": "static", "eps": "8/255"}]).cells
    assert {cell.attack for cell in cells} == {"autoattack(version=rand)"}


def test_the_first_gradient_of_copies_is_that_of_their_image() -> None:
    """An image is flat where the gradient is 0 in all of its copies."""

    def answer(images: Tensor, *, copies: int = 1) -> Tensor:
        rows = torch.arange(len(images)) % (len(images) // copies)
        return (images * (rows > 0)[:, None, None, None]).flatten(1)[:, :2]

    images = torch.rand(6, 3, 4, 4, requires_grad=True)
    watched = FirstGradient(answer, images[:2])
    watched(images, copies=3).sum().backward()
    assert watched.flat == [True, False]


def masked(images: Tensor) -> Tensor:
    """Whoever asks for a gradient has one, and it is 0."""
    return (
        images.new_tensor([1000.0, 0, 0, 0, 0]).repeat(len(images), 1) + 0 * images.mean((1, 2, 3))[:, None]
    )


@pytest.mark.parametrize("attack", ["targeted(attack=pgd(steps=2))", "deepfool(steps=2)", "autoattack"])
@pytest.mark.parametrize("model", [masked, lambda images: 50 * images.flatten(1)[:, :5]])
@pytest.mark.filterwarnings("ignore:there are")
def test_the_first_gradient_is_seen_where_an_attack_asks_about_some_of_the_images(
    pictures: Path, attack: str, model: Callable[[Tensor], Tensor]
) -> None:
    cell = replace(grid(pictures).cells[0], attack=attack, access="adaptive", eps=0.03)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    labels[3] = (labels[3] + 1) % 5
    made = access.attack_in_pieces(model, images, labels, cell, torch.Generator().manual_seed(0))
    assert made.flat[:3] == [model is masked] * 3


def test_the_first_gradient_is_seen_row_by_row(pictures: Path) -> None:
    cell = replace(grid(pictures).cells[0], attack="lbfgs(steps=2, searches=1)", norm="l2", access="adaptive")
    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 0])
    made = access.attack_in_pieces(masked, images, labels, cell, torch.Generator())
    assert made.flat == [True, None, True]


def test_what_no_gradient_was_seen_of_is_not_taken_for_one() -> None:
    """Nor is a point that may belong to several images, or one of another size."""
    clean = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4), torch.full((3, 4, 4), 0.1)])
    watched = FirstGradient(masked, clean)
    watched(clean)
    assert watched.flat == [None, None, None]
    points = torch.full((2, 3, 4, 4), 0.05).requires_grad_()
    watched(points).sum().backward()
    smaller = torch.zeros(3, 3, 2, 2, requires_grad=True)
    watched(smaller).sum().backward()
    assert watched.flat == [None, None, None]
    watched(torch.full((1, 3, 4, 4), 0.9, requires_grad=True)).sum().backward()
    assert watched.flat == [None, True, None]


def test_a_gradient_that_is_not_the_models_does_not_hide_that_its_own_is_0() -> None:
    images = torch.rand(2, 3, 4, 4)
    points = (images + 0.1).requires_grad_()
    watched = FirstGradient(masked, images)
    (watched(points).sum() + (points - images).square().sum()).backward()
    assert watched.flat == [True, True]
    assert points.grad is not None
    assert points.grad.abs().min() > 0


@pytest.mark.parametrize(
    "spec",
    [
        "fgsm",
        "eight_bit(attack=fgsm)",
        "eot(attack=fgsm, draws=2)",
        "worst(attacks=fgsm, judge=1)",
        "targeted(attack=fgsm, target=0)",
        "worst(attacks=pgd(steps=1)+eight_bit(attack=fgsm), judge=1)",
    ],
)
def test_what_draws_from_the_global_generators_is_repeatable_wherever_it_stands(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        return (images + eps * torch.rand_like(images)).clamp(0, 1)

    monkeypatch.setitem(ATTACKS._entries, "fgsm", theirs)
    about = cell(attack=spec, access="adaptive", eot=1, eps=8 / 255)
    model, images, labels = tiny().eval(), torch.rand(4, 3, 8, 8), torch.ones(4, dtype=torch.int64)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    made = [
        attack_in_pieces(model, images, labels, about, Generator().manual_seed(0)).images for _ in range(2)
    ]
    assert torch.equal(*made)
    assert torch.equal(torch.rand(3), expected), "the global generator is left as it was"
    other = attack_in_pieces(model, images, labels, about, Generator().manual_seed(1)).images
    assert not torch.equal(made[0], other)
