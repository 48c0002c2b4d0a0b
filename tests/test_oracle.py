"""Attacks against models whose optimal attack is known."""

import pytest
import torch
from models import linear
from torch import Tensor

from rain.attacks import margins
from rain.attacks.pgd import pgd
from rain.errors import OptionError
from rain.registry import ATTACKS, load_attack


def setting() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A linear classifier of two classes, grey images far from the box, and the margin of each."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 3 * 8 * 8, generator=generator) / 10
    images = 0.5 + 0.05 * torch.rand(10, 3, 8, 8, generator=generator)
    model = linear(weights, torch.tensor([0.0, 0.0]))
    return model, images, (weights[0] - weights[1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("name", ATTACKS.names())
def test_succeeds_exactly_where_the_budget_allows(name: str, norm: str, loss: str) -> None:
    model, images, direction = setting()
    logits = model(images).detach()
    labels = logits.argmax(1)
    length = direction.abs().sum() if norm == "linf" else direction.norm()
    optimum = margins(logits, labels) / length
    attack = load_attack(name, loss=loss)
    for index in range(len(images)):
        one, label, least = images[index : index + 1], labels[index : index + 1], float(optimum[index])
        assert model(attack(model, one, label, eps=1.05 * least, norm=norm)).argmax(1) != label
        assert model(attack(model, one, label, eps=0.95 * least, norm=norm)).argmax(1) == label


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
    assert sizes[4:] == [10, 10, 10, 10]


def test_a_restart_tries_only_the_images_that_hold_and_never_loses_ground() -> None:
    model, images, _ = setting()
    labels = model(images).argmax(1)
    with torch.no_grad():
        once = pgd(model, images, labels, eps=0.01, steps=2, restarts=1, generator=torch.Generator().manual_seed(0), confidence=float("inf"))
        often = pgd(model, images, labels, eps=0.01, steps=2, restarts=4, generator=torch.Generator().manual_seed(0), confidence=float("inf"))
        assert (margins(model(often), labels) <= margins(model(once), labels) + 1e-6).all()


def test_the_best_point_visited_is_returned_not_the_last() -> None:
    _, images, _ = setting()
    answers = iter([torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[4.0, 0.0]])])
    seen: list[Tensor] = []

    def wavering(batch: Tensor) -> Tensor:
        seen.append(batch.detach().clone())
        return next(answers) + 0 * batch.sum()

    label = torch.zeros(1, dtype=torch.long)
    adversarial = pgd(wavering, images[:1], label, eps=0.1, steps=3, confidence=float("inf"), generator=torch.Generator().manual_seed(0))
    assert torch.equal(adversarial, seen[1])


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2.5}, {"restarts": 0}, {"step": -0.1}, {"step": 0}, {"loss": "hinge"}])
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
