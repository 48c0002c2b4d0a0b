"""Corruptions: of any image, stronger by their strength, and never weakened unseen."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rain.bench.access import check_promise
from rain.errors import OptionError
from rain.images import distance
from rain.registry import load_attack, traits_of

KINDS = ("noise", "blur", "jpeg", "brightness")


def corrupt(images: Tensor, seed: int = 0, **options: Any) -> Tensor:
    def unasked(batch: Tensor) -> Tensor:
        raise AssertionError("a corruption asks no model")

    attack = load_attack("corruption", **options)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(len(images), dtype=torch.long)
    return attack(unasked, images, labels, eps=1.0, generator=generator)


@pytest.fixture
def smooth() -> Tensor:
    """Pictures with structure at every scale, and neither black nor white."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(2, 3, 48, 64)
    for side in (3, 6, 12, 24):
        rough = torch.rand(2, 3, side, side, generator=generator)
        total += torch.nn.functional.interpolate(rough, (48, 64), mode="bilinear")
    return 0.2 + 0.4 * total / total.max()


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_is_more_change_within_the_box(kind: str, smooth: Tensor) -> None:
    distances = []
    for strength in range(1, 6):
        corrupted = corrupt(smooth, kind=kind, strength=strength)
        check_promise("corruption", smooth, corrupted, "linf", 1.0)
        distances.append(float(distance(corrupted, smooth, "l2").min()))
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert distances[4] > 1.1 * distances[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_and_only_noise_is_random(kind: str, smooth: Tensor) -> None:
    first, again, other = (corrupt(smooth, seed, kind=kind) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is (kind != "noise")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(2, 2), (2, 9), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tiny_images_of_any_precision_are_taken(kind: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)).to(dtype)
    corrupted = corrupt(images, kind=kind, strength=5)
    check_promise("corruption", images, corrupted, "linf", 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_images_and_no_images(kind: str) -> None:
    for level in (0.0, 0.5, 1.0):
        constant = torch.full((2, 3, 16, 16), level)
        corrupted = corrupt(constant, kind=kind, strength=5)
        check_promise("corruption", constant, corrupted, "linf", 1.0)
        if kind in ("blur", "jpeg"):
            assert torch.allclose(corrupted, constant, atol=2 / 255)
    assert corrupt(torch.zeros(0, 3, 16, 16), kind=kind).shape == (0, 3, 16, 16)


def test_noise_and_light_are_as_strong_as_they_say() -> None:
    grey = torch.full((1, 3, 128, 128), 0.5)
    change = corrupt(grey, kind="noise", strength=1) - grey
    assert float(change.std()) == pytest.approx(0.08, rel=0.05)
    assert abs(float(change.mean())) < 0.005
    brighter = corrupt(0.4 * torch.ones(1, 3, 4, 4), kind="brightness", strength=2)
    assert torch.allclose(brighter, torch.tensor(0.56))


def test_blur_keeps_light_and_takes_away_a_pattern() -> None:
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::2] = 1
    blurred = corrupt(stripes, kind="blur", strength=1)
    assert float(blurred[..., 8:24].std()) < 0.02
    assert float(blurred[..., 8:24].mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, {"eps": 4 / 255}, "would weaken it unseen: give eps = 1.0, and choose its strength"),
        ({}, {"eps": 0.0}, "would weaken it unseen"),
        ({}, {"eps": 2.0}, "more than all of"),
        ({}, {"eps": 1.0, "norm": "l2"}, 'leave norm at "linf"'),
        ({"kind": "fog"}, {"eps": 1.0}, "kind must be one of noise, blur, jpeg, brightness, got 'fog'"),
        ({"kind": "nose"}, {"eps": 1.0}, "did you mean 'noise'"),
        ({"kind": 3}, {"eps": 1.0}, "kind must be one of"),
        ({"strength": 0}, {"eps": 1.0}, "strength must be an integer from 1 to 5, got 0"),
        ({"strength": 6}, {"eps": 1.0}, "strength must be"),
        ({"strength": 2.0}, {"eps": 1.0}, "strength must be"),
        ({"strength": True}, {"eps": 1.0}, "strength must be"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_any_work(
    options: dict[str, Any], call: dict[str, Any], message: str
) -> None:
    images = torch.zeros(0, 3, 8, 8)
    with pytest.raises(OptionError, match=message):
        load_attack("corruption", **options)(lambda batch: batch, images, [], **call)


def test_it_declares_that_it_is_no_attack() -> None:
    declared = traits_of("corruption(kind=jpeg)")
    assert declared.corrupts
    assert not declared.follows
    assert traits_of("eight_bit(attack=corruption)").corrupts
    assert not traits_of("pgd").corrupts
