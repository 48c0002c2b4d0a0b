"""Attacks against models whose optimal attack is known."""

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import linear
from test_contracts import ELSEWHERE
from torch import Tensor

from rain.attacks import margins
from rain.attacks.pgd import pgd
from rain.errors import OptionError
from rain.images import distance
from rain.registry import ATTACKS, load_attack, own_traits

MINIMISING: dict[str, dict[str, object]] = {
    "boundary": {"queries": 3000},
    "carlini_wagner": {"steps": 100, "searches": 6},
    "deepfool": {},
    "ead": {"steps": 50, "searches": 6, "beta": 1e-4},
    "hopskipjump": {"queries": 6000},
    "lbfgs": {"steps": 10},
    "rays": {"queries": 1500},
}
"""The attacks that look for the smallest perturbation, with what makes them short enough for a test.

EAD's elastic net is little but L2 here.
"""

QUERIES = {
    ("autozoom", "linf"): (2, 400),
    ("autozoom", "l2"): (2, 300),
    ("bandits", "linf"): (2, 800),
    ("bandits", "l2"): (2, 600),
    ("meta", "linf"): (2, 600),
    ("meta", "l2"): (2, 450),
    ("nes", "linf"): (2, 600),
    ("nes", "l2"): (2, 600),
    ("simba", "linf"): (2, 250),
    ("simba", "l2"): (2, 350),
    ("spsa", "linf"): (2, 800),
    ("spsa", "l2"): (2, 900),
    ("square", "linf"): (2, 300),
    ("square", "l2"): (4, 1000),
    ("zoo", "linf"): (2, 500),
    ("zoo", "l2"): (2, 600),
}
"""The attacks that see scores only: a budget, in optima, and a number of queries with which they fool every
image of the linear classifier. The l2 patterns of square are smooth, and the linear classifier's weights are
white noise: a budget of 2 is too little for it."""


REACHABLE: dict[str, dict[str, Any]] = {
    "eot": {"draws": 2},
    "targeted": {"target": "second"},
    "worst": {"judge": 1},
}
"""What makes an attack look for the only other class that the linear classifier can be driven to.

Or what keeps it from asking a model without randomness again and again.
"""


def setting() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A linear classifier, grey images far from the box, and the direction between the two classes.

    There are two more classes that nothing leads to.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 3 * 8 * 8, generator=generator) / 10
    images = 0.5 + 0.05 * torch.rand(10, 3, 8, 8, generator=generator)
    model = linear(torch.cat([weights, torch.zeros_like(weights)]), torch.tensor([0.0, 0.0, -50.0, -60.0]))
    return model, images, (weights[0] - weights[1])


def optima(norm: str) -> tuple[torch.nn.Module, Tensor, Tensor, Tensor]:
    """The linear classifier, images, their labels, and how far each is from the boundary.

    The last one is ten times as far as the first.
    """
    model, images, direction = setting()
    labels = model(images).argmax(1)
    shares = 1 - torch.linspace(0.1, 1, 10)
    height = margins(model(images).detach(), labels)
    nearer = shares * height / direction.square().sum() * (2 * labels - 1)
    images = images + nearer[:, None, None, None] * direction.view(3, 8, 8)
    slope = direction.abs().sum() if norm == "linf" else direction.norm()
    return model, images, labels, margins(model(images).detach(), labels) / slope


def minimises(name: str) -> bool:
    """Whether an attack looks for the smallest perturbation.

    Only those take an infinite budget, which an empty batch shows already.
    """
    for norm in ("linf", "l2"):
        with contextlib.suppress(OptionError):
            try_nothing(load_attack(name), math.inf, norm)
            return True
    return False


def try_nothing(attack: Callable[..., Tensor], eps: float, norm: str) -> None:
    """Attack an empty batch, which raises an OptionError for what the attack cannot take."""
    attack(lambda batch: batch, torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long), eps=eps, norm=norm)


def asks_scores(name: str) -> bool:
    """Whether an attack has a number of queries, and nothing but scores, to fool with."""
    return "queries" in inspect.signature(ATTACKS.get(name)).parameters and name not in ELSEWHERE


def variants(minimising: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """Attacks, norms and losses, as far as each attack knows them."""
    rows = []
    for name in ATTACKS.names():
        if minimises(name) is not minimising or (not minimising and asks_scores(name)) or name in ELSEWHERE:
            continue
        if own_traits(name).gate == "parts":  # of a model that gives other answers
            continue
        has_losses = "loss" in inspect.signature(ATTACKS.get(name)).parameters
        losses = [{"loss": loss} for loss in ("cross_entropy", "margin", "dlr")] if has_losses else [{}]
        for norm, loss in itertools.product(("linf", "l2"), losses):
            options = loss | REACHABLE.get(name, {})
            with contextlib.suppress(OptionError):
                try_nothing(load_attack(name, **options), 0.1, norm)
                rows.append((name, norm, options))
    return rows


def test_the_minimising_attacks_are_known_as_such() -> None:
    assert {name for name in ATTACKS.names() if minimises(name)} >= MINIMISING.keys()


@pytest.mark.parametrize(("name", "norm", "options"), variants(minimising=False))
def test_succeeds_exactly_where_the_budget_allows(name: str, norm: str, options: dict[str, Any]) -> None:
    model, images, labels, optimum = optima(norm)
    attack = load_attack(name, **options)
    for index in range(len(images)):
        one, label, least = images[index : index + 1], labels[index : index + 1], float(optimum[index])
        if name not in ("noise", "eight_bit"):  # the control; and a budget of less than a grey level
            assert model(attack(model, one, label, eps=1.05 * least, norm=norm)).argmax(1) != label
        if name != "autoattack":  # where it cannot succeed it takes seconds
            assert model(attack(model, one, label, eps=0.95 * least, norm=norm)).argmax(1) == label


def test_the_queries_of_every_attack_with_scores_are_known() -> None:
    assert {name for name, _ in QUERIES} == {
        name for name in ATTACKS.names() if asks_scores(name) and not minimises(name)
    }


@pytest.mark.parametrize(("name", "norm"), QUERIES)
def test_scores_alone_lead_to_success_where_the_budget_allows(name: str, norm: str) -> None:
    model, images, labels, optimum = optima(norm)
    factor, queries = QUERIES[name, norm]
    for index in range(len(images)):
        one, label, least = images[index : index + 1], labels[index : index + 1], float(optimum[index])
        seed = torch.Generator().manual_seed(index)
        attack = load_attack(name, queries=queries)
        adversarial = attack(model, one, label, eps=factor * least, norm=norm, generator=seed)
        assert model(adversarial).argmax(1) != label
        attack = load_attack(name, queries=60)
        adversarial = attack(model, one, label, eps=0.95 * least, norm=norm, generator=seed)
        assert model(adversarial).argmax(1) == label


@pytest.mark.parametrize(("name", "norm", "options"), variants(minimising=True))
class TestMinimising:
    def test_finds_what_is_nearly_the_smallest(self, name: str, norm: str, options: dict[str, Any]) -> None:
        model, images, labels, optimum = optima(norm)
        adversarial = load_attack(name, **MINIMISING.get(name, {}), **options)(
            model, images, labels, eps=math.inf, norm=norm
        )
        assert (model(adversarial).argmax(1) != labels).all()
        assert (distance(adversarial, images, norm) <= 1.25 * optimum).all()

    def test_gives_back_what_it_cannot_fool_within_the_budget(
        self, name: str, norm: str, options: dict[str, str]
    ) -> None:
        model, images, labels, optimum = optima(norm)
        eps = float(optimum.sort().values[4]) * 1.26
        adversarial = load_attack(name, **MINIMISING.get(name, {}), **options)(
            model, images, labels, eps=eps, norm=norm
        )
        fooled = model(adversarial).argmax(1) != labels
        assert fooled[optimum * 1.25 <= eps].all()
        assert 5 <= fooled.sum() < 10
        assert not fooled[optimum > eps].any()
        assert torch.equal(adversarial[~fooled], images[~fooled])
        assert (distance(adversarial, images, norm) <= eps).all()

    def test_gives_back_what_is_fooled_already(self, name: str, norm: str, options: dict[str, Any]) -> None:
        model, images, labels, _ = optima(norm)
        labels[::2] = 1 - labels[::2]
        sizes: list[int] = []

        def counted(batch: Tensor) -> Tensor:
            sizes.append(len(batch))
            return model(batch)

        adversarial = load_attack(name, **MINIMISING.get(name, {}), **options)(
            counted, images, labels, eps=math.inf, norm=norm
        )
        assert torch.equal(adversarial[::2], images[::2])
        assert (distance(adversarial, images, norm)[1::2] > 0).all()
        assert max(sizes[1:]) <= 5 or (
            asks_scores(name) and sum(sizes) <= 10 + 5 * MINIMISING[name]["queries"]
        )


def test_pgd_stops_for_fooled_images_and_goes_on_for_the_others() -> None:
    model, images, _ = setting()
    labels = model(images).argmax(1)
    labels[:5] = 1 - labels[:5]  # fooled from the start
    sizes: list[int] = []

    def counted(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return model(batch)

    adversarial = pgd(counted, images, labels, eps=1e-6, steps=3, random_start=False)
    assert sizes == [10, 5, 5, 5]  # the last one only looks
    assert torch.equal(adversarial[:5], images[:5])
    pgd(counted, images, labels, eps=1e-6, steps=3, random_start=False, confidence=float("inf"))
    assert sizes[4:] == [10, 10, 10]  # what is returned in any case is not looked at


def test_a_restart_tries_only_the_images_that_hold_and_never_loses_ground() -> None:
    model, images, _ = setting()
    labels = model(images).argmax(1)
    with torch.no_grad():
        once, often = (
            pgd(
                model,
                images,
                labels,
                eps=0.01,
                steps=2,
                restarts=restarts,
                generator=torch.Generator().manual_seed(0),
                confidence=float("inf"),
            )
            for restarts in (1, 4)
        )
        assert (margins(model(often), labels) <= margins(model(once), labels) + 1e-6).all()


def test_the_best_point_visited_is_returned_not_the_last() -> None:
    _, images, _ = setting()
    answers = iter(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [4.0, 0.0]]).split(1))
    seen: list[Tensor] = []

    def wavering(batch: Tensor) -> Tensor:
        seen.append(batch.detach().clone())
        return next(answers) + 0 * batch.sum()

    label = torch.zeros(1, dtype=torch.long)
    adversarial = pgd(
        wavering,
        images[:1],
        label,
        eps=0.1,
        steps=3,
        confidence=float("inf"),
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.equal(adversarial, seen[1])


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 2.5}, {"restarts": 0}, {"step": -0.1}, {"step": 0}, {"loss": "hinge"}]
)
def test_odd_options_are_refused(options: dict[str, object]) -> None:
    model, images, _ = setting()
    with pytest.raises(OptionError):
        pgd(model, images, torch.zeros(10, dtype=torch.long), eps=0.1, **options)  # type: ignore[arg-type]


def test_a_model_without_gradient_is_told() -> None:
    model, images, _ = setting()
    with pytest.raises(OptionError, match="needs gradients"):
        pgd(lambda batch: model(batch).detach(), images, torch.zeros(10, dtype=torch.long), eps=0.1)


def test_a_step_that_is_too_small_cannot_reach_the_budget() -> None:
    model, images, _ = setting()
    labels = model(images).argmax(1)
    short = pgd(model, images, labels, eps=0.1, steps=2, step=0.001, random_start=False)
    assert (short - images).abs().max() <= 0.002 + 1e-6
