"""Attacks that average over the draws of a random model by themselves."""

import math
from collections.abc import Callable

import pytest
import torch
from models import tiny
from torch import Tensor

from rain.adaptive import Expectation, Model
from rain.attacks import margins
from rain.attacks.autoattack import autoattack
from rain.attacks.eot import eot
from rain.attacks.pgd import pgd
from rain.attacks.worst import worst
from rain.errors import OptionError
from rain.presets import PRESETS, spelled_out
from rain.registry import load_attack, traits_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(size: float, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A random model: noise on the images, which the classifier amplifies."""
    model, generator = tiny().eval(), seeded(seed)

    def answer(images: Tensor) -> Tensor:
        return 5 * model(images + size * torch.randn(images.shape, generator=generator))

    return answer


def crowd(count: int = 12) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 3, 8, 8, generator=seeded(1))
    return images, tiny().eval()(images).argmax(1)


def share_right(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        answers = torch.stack([model(images).argmax(1) for _ in range(60)])
    return float((answers == labels).float().mean())


# --- autoattack(version=rand)


def lucky(images: Tensor, state: dict[str, int]) -> Tensor:
    """A model that is wrong at its third answer, whatever it is shown, and else right but for big changes."""
    state["calls"] += 1
    score = images.mean((1, 2, 3)) - 0.5
    logits = torch.stack([1 - 100 * score, 100 * score, score * 0 - 9, score * 0 - 9], 1)
    return logits.flip(1) if state["calls"] == 3 else logits


def test_rand_goes_on_after_a_lucky_draw() -> None:
    """The authors' gives an image up at the first draw that is fooled, the clean one included."""
    pytest.importorskip("pyautoattack")
    state = {"calls": 0}
    images, labels = torch.full((2, 3, 4, 4), 0.495), torch.tensor([0, 0])
    options = {"version": "rand", "draws": 2, "judge": 4, "steps": 10}
    attacked = autoattack(lambda x: lucky(x, state), images, labels, eps=0.05, **options, generator=seeded())
    assert (attacked - images).mean() > 0.04
    assert (margins(lucky(attacked, state), labels) < 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_rand_is_no_weaker_than_pgd_on_as_many_draws(norm: str) -> None:
    pytest.importorskip("pyautoattack")
    images, labels = crowd()
    eps = {"linf": 0.03, "l2": 0.5}[norm]
    model = noisy(0.1)
    by_pgd = pgd(
        Expectation(model, 4),
        images,
        labels,
        eps=eps,
        norm=norm,
        steps=20,
        step=eps / 4,
        confidence=3.0,
        generator=seeded(),
    )
    options = {"version": "rand", "draws": 4, "judge": 10, "steps": 20}
    by_rand = autoattack(model, images, labels, eps=eps, norm=norm, **options, generator=seeded())
    left = share_right(noisy(0.1, 5), by_pgd, labels), share_right(noisy(0.1, 5), by_rand, labels)
    assert left[1] <= left[0] + 0.02
    assert left[0] < share_right(noisy(0.1, 5), images, labels) - 0.1


def test_rand_repeats_and_leaves_the_global_generator_alone() -> None:
    pytest.importorskip("pyautoattack")
    images, labels = crowd(3)
    state = torch.get_rng_state()
    options = {"version": "rand", "draws": 2, "judge": 2, "steps": 4}
    both = [autoattack(noisy(0.1), images, labels, eps=0.03, **options, generator=seeded()) for _ in range(2)]
    assert torch.equal(*both)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("option", ["draws", "judge", "steps"])
def test_rand_needs_counts(option: str) -> None:
    pytest.importorskip("pyautoattack")
    images, labels = crowd(1)
    with pytest.raises(OptionError, match=f"{option} must be an integer"):
        autoattack(noisy(0.1), images, labels, eps=0.1, version="rand", **{option: 0})


# --- eot


def test_eot_is_the_attack_on_the_expectation() -> None:
    images, labels = crowd(4)
    options = {"eps": 0.03, "generator": seeded()}
    outside = pgd(Expectation(noisy(0.1), 3), images, labels, steps=3, confidence=math.inf, **options)
    options["generator"] = seeded()
    inside = eot(noisy(0.1), images, labels, attack="pgd(steps=3, confidence=inf)", draws=3, **options)
    assert torch.equal(inside, outside)


def test_an_average_can_be_averaged() -> None:
    """Access "adaptive" averages, and the attack averages that: each image has draws of its own."""

    class Independent:
        independent, turn = True, 1

        def __init__(self) -> None:
            self.asked: list[int] = []

        def __call__(self, images: Tensor, *, copies: int = 1) -> Tensor:
            self.asked.append(len(images))
            return tiny().eval()(images)

    model = Independent()
    images, labels = crowd(2)
    eot(Expectation(model, 2, batch=100), images, labels, eps=0.03, attack="fgsm", draws=3)
    assert sum(model.asked) == 2 * 3 * 2


# --- worst


def test_worst_keeps_the_worse_point_of_each_image() -> None:
    images, labels = crowd()
    model = tiny().eval()
    options = {"eps": 0.02, "generator": seeded()}
    both = worst(model, images, labels, attacks="fgsm+pgd(steps=9)", judge=1, **options)
    alone = [load_attack(spec)(model, images, labels, eps=0.02) for spec in ("fgsm", "pgd(steps=9)")]

    def score(points: Tensor) -> Tensor:
        return model(points).log_softmax(1).gather(1, labels[:, None])[:, 0]

    assert (score(both) <= score(alone[0]) + 1e-6).all()
    assert (score(both) <= score(images) + 1e-6).all()
    assert share_right(model, both, labels) <= share_right(model, alone[1], labels)


def open_ended(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int | None = None,
) -> Tensor:
    return images


def test_worst_takes_attacks_that_leave_an_option_open() -> None:
    assert traits_of("worst(attacks=test_attacks_averaging:open_ended+pgd)").steps == 0


def test_worst_declares_what_its_attacks_do() -> None:
    assert traits_of("worst(attacks=square+rays)").sees == "scores"
    assert traits_of("worst(attacks=noise)").follows is False
    assert traits_of("worst(attacks=noise+pgd)").follows is True
    assert traits_of("worst(attacks=deepfool+pgd)").stops == "fooled"
    assert traits_of("worst(attacks=deepfool+pgd(confidence=3.0))").stops == "never"
    assert traits_of("worst(attacks=pgd(confidence=inf)+apgd(confidence=inf))").stops == "never"
    assert traits_of("worst(attacks=fgsm+mifgsm(steps=2))").steps == 2
    assert traits_of("worst(attacks=pgd+square)").steps == 0
    assert traits_of("worst(attacks=deepfool)").stops == "boundary"
    assert traits_of("worst(attacks=pgd+eot(attack=pgd, draws=7))").averages == 7


def test_worst_takes_no_attack_on_a_gate() -> None:
    images, labels = crowd(1)
    with pytest.raises(OptionError, match="it stands alone"):
        worst(tiny().eval(), images, labels, eps=0.1, attacks="pgd+ungated")


# --- presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_an_attack_that_averages(name: str) -> None:
    assert traits_of(name).averages == 20
    assert traits_of(name).follows
    load_attack(name)
    assert traits_of(spelled_out(name)) == traits_of(name)


def test_presets_are_spelled_out_within_other_attacks() -> None:
    assert spelled_out("ungated(attack=aa-rand)") == "ungated(attack=autoattack(version=rand))"
    assert spelled_out("worst(attacks=fgsm+aa-rand)") == "worst(attacks=fgsm+autoattack(version=rand))"
    assert spelled_out("pgd(steps = 3)") == "pgd(steps = 3)"


def test_a_preset_takes_no_options() -> None:
    with pytest.raises(OptionError, match=r"takes no options: write what it stands for, autoattack\(version"):
        load_attack("aa-rand(steps=3)")
    with pytest.raises(Exception, match="did you mean 'aa-rand'"):
        load_attack("aa-rnd")
