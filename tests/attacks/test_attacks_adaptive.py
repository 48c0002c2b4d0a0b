"""The attacks that are about randomness, about the enhancement alone, and about one wrong answer."""

from collections.abc import Callable

import pytest
import torch
from models import linear, tiny
from torch import Tensor

import rain
from rain.errors import OptionError
from rain.images import distance
from rain.registry import load_attack, load_defense


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Shaken:
    """A linear classifier of two classes whose weights are shaken at each call, far more than they differ."""

    def __init__(self, size: int):
        self.generator = torch.Generator().manual_seed(7)
        self.weight = torch.randn(2, size, generator=self.generator)

    def __call__(self, images: Tensor) -> Tensor:
        noise = 8 * torch.randn(len(images), *self.weight.shape, generator=self.generator)
        return ((self.weight + noise) * images.flatten(1)[:, None]).sum(2)

    def expected(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_memory_replaces_samples(norm: str) -> None:
    """With one draw a step, aggregated velocities find a direction that single gradients do not show."""
    images, eps = 0.3 + 0.4 * rand(6, 3, 8, 8), 8 / 255 if norm == "linf" else 0.5
    falls = {}
    for name in ("aggmo", "pgd"):
        model = Shaken(3 * 64)
        labels = model.expected(images).argmax(1)
        attack = load_attack(name, steps=60, loss="margin", confidence=float("inf"))
        # What is returned is the point of the luckiest draw; near the end all points are good ones.
        adversarial = attack(
            model, images, labels, eps=eps, norm=norm, generator=torch.Generator().manual_seed(1)
        )
        assert distance(adversarial, images, norm).max() <= eps * (1 + 1e-5)
        logits, clean = model.expected(adversarial), model.expected(images)
        fall = (clean - logits).gather(1, labels[:, None]) - (clean - logits).gather(1, 1 - labels[:, None])
        falls[name] = float(fall.mean())
    assert falls["aggmo"] > 1.3 * falls["pgd"]


def test_the_enhancement_is_driven_away_without_asking_the_model() -> None:
    def never(images: Tensor) -> Tensor:
        raise AssertionError("the model was asked")

    spec = "rain(enhancer=bicubic, down=bicubic)"
    images, labels = rand(3, 3, 24, 24) * 0.5 + 0.25, torch.zeros(3, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    adversarial = load_attack("distort", defense=spec, steps=10)(
        never, images, labels, eps=8 / 255, norm="linf", generator=generator
    )
    assert distance(adversarial, images, "linf").max() <= 8 / 255 + 1e-6
    defense = load_defense(spec)
    noise = (images + 8 / 255 * torch.sign(rand(3, 3, 24, 24, seed=3) - 0.5)).clamp(0, 1)

    def moved(others: Tensor) -> float:
        draws = [defense.draw(images, torch.Generator().manual_seed(seed)) for seed in range(20)]
        changes = [defense.transform(others, draw) - defense.transform(images, draw) for draw in draws]
        return sum(float(change.square().sum()) for change in changes)

    assert moved(adversarial) > 1.2 * moved(noise)


@pytest.mark.parametrize(
    "attack",
    [
        "pgd",
        "pgd(loss=margin)",
        "apgd",
        "deepfool",
        "carlini_wagner(steps=60, searches=3)",
        "square(queries=800)",
    ],
)
def test_an_attack_that_knows_no_targets_reaches_one(attack: str) -> None:
    weights = torch.randn(4, 3 * 36, generator=torch.Generator().manual_seed(5))
    model = linear(weights, torch.zeros(4))
    images = 0.3 + 0.4 * rand(8, 3, 6, 6)
    labels = model(images).argmax(1)
    norm, eps = ("l2", 3.0) if attack.startswith("carlini") else ("linf", 0.25)
    run: Callable[..., Tensor] = load_attack("targeted", attack=attack, target=2)
    adversarial = run(model, images, labels, eps=eps, norm=norm, generator=torch.Generator().manual_seed(0))
    assert (model(adversarial).argmax(1) == 2).all()
    assert torch.equal(adversarial[labels == 2], images[labels == 2])
    assert distance(adversarial, images, norm).max() <= eps * (1 + 1e-5)


def test_targets_are_chosen_by_the_answer_to_the_clean_image() -> None:
    model, images = tiny().eval(), rand(4, 3, 32, 32)
    with torch.no_grad():
        order = model(images).argsort(1, descending=True)
    labels, reached = order[:, 0], {}
    for target in ("least_likely", "second", "next"):
        run = load_attack("targeted", attack="pgd(steps=60, step=0.05)", target=target)
        reached[target] = model(
            run(model, images, labels, eps=1.0, norm="linf", generator=torch.Generator().manual_seed(0))
        ).argmax(1)
    assert torch.equal(reached["second"], order[:, 1])
    assert torch.equal(reached["next"], (labels + 1) % 5)
    assert (reached["least_likely"] == order[:, -1]).float().mean() >= 0.75
    with pytest.raises(OptionError, match="target must be"):
        load_attack("targeted", target="worst")(model, images, labels, eps=0.1)
    with pytest.raises(OptionError, match="none of the model's 5 classes"):
        load_attack("targeted", target=9)(model, images, labels, eps=0.1)


def test_a_targeted_attack_goes_through_a_defence() -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    images, labels = rand(2, 3, 32, 32), torch.tensor([0, 1])
    adversarial = load_attack("targeted", attack="pgd(steps=3)")(
        rain.Expectation(hardened, 2), images, labels, eps=8 / 255, norm="linf"
    )
    assert distance(adversarial, images, "linf").max() <= 8 / 255 + 1e-6


@pytest.mark.parametrize("name", ["pgd", "bim", "mifgsm", "aggmo"])
def test_with_a_confidence_the_last_point_counts_and_not_the_luckiest_draw(name: str) -> None:
    """The first answer is the luckiest; its point is the worst of all."""
    images, labels = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, dtype=torch.long)
    calls = 0

    def answer(batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        own = 40 - batch.flatten(1).sum(1)
        return torch.stack([own - (100 if calls == 1 else 0), torch.zeros_like(own)], 1)

    adversarial = load_attack(name, steps=4, step=0.02, confidence=float("inf"))(
        answer, images, labels, eps=0.1, norm="linf"
    )
    assert calls == 4  # what is returned in any case is not looked at
    assert adversarial.sum() > images.sum() + 1


def test_distort_in_half_precision_rounds_nobody_elses_weights(images: Tensor) -> None:
    """The defence is kept between calls, one for each type."""
    labels = torch.zeros(len(images), dtype=torch.long)

    def run(kind: torch.dtype) -> Tensor:
        options = {"defense": "rain(enhancer=compact(weights=blind))", "steps": 1, "eot": 1}
        return load_attack("distort", **options)(
            tiny().eval(), images.to(kind), labels, eps=0.1, generator=torch.Generator().manual_seed(1)
        )

    before = run(torch.float32)
    run(torch.bfloat16)
    assert torch.equal(run(torch.float32), before)
