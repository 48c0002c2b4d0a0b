"""Attacked images that a picture file can hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measuring import grid
from models import tiny
from PIL import Image
from torch import Tensor

import rain
from rain.attacks.eight_bit import within_ball, within_linf
from rain.bench.access import check_promise
from rain.bench.runners import run
from rain.errors import OptionError
from rain.registry import traits_of

LABELS = torch.tensor([0, 1, 2])


@pytest.fixture
def whole(images: Tensor) -> Tensor:
    """Images of whole levels, as a file holds them."""
    return (images * 255).round() / 255


def attacked(
    images: Tensor, norm: str = "linf", eps: float = 4 / 255, attack: str = "pgd(steps=5)"
) -> Tensor:
    attack = rain.load_attack("eight_bit", attack=attack)
    generator = torch.Generator().manual_seed(0)
    return attack(tiny().eval(), images, LABELS, eps=eps, norm=norm, generator=generator)


def is_whole(images: Tensor) -> bool:
    levels = images.double() * 255
    return bool(((levels - levels.round()).abs() < 1e-4).all())


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 4 / 255), ("linf", 3.7 / 255), ("linf", 1.0), ("l2", 1.5)]
)
@pytest.mark.parametrize("kind", ["whole", "resized"])
def test_images_are_of_whole_levels_and_within_the_budget(
    whole: Tensor, images: Tensor, norm: str, eps: float, kind: str
) -> None:
    clean = whole if kind == "whole" else images
    made = attacked(clean, norm, eps)
    assert is_whole(made)
    check_promise("eight_bit", clean, made, norm, eps)
    assert not torch.equal(made, clean)


def test_a_file_gives_back_what_was_judged(whole: Tensor, tmp_path: Path) -> None:
    made = attacked(whole)
    path = tmp_path / "attacked.png"
    levels = (made[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(levels)).save(path)
    assert torch.equal(rain.read_image(path), made[0])


def test_what_has_whole_levels_already_stays(whole: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"eps": 4 / 255, "generator": generator}
    plain = rain.load_attack("pgd", steps=3, step=1 / 255, random_start=False)(
        tiny().eval(), whole, LABELS, **options
    )
    assert is_whole(plain)
    assert torch.allclose(attacked(whole, attack="pgd(steps=3, step=1/255, random_start=False)"), plain)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_clean_image_is_rounded_where_the_attack_finds_nothing(images: Tensor, norm: str) -> None:
    model = tiny().eval()
    attack = rain.load_attack("eight_bit", attack="deepfool(steps=1)")
    right = model(images).argmax(1)
    made = attack(model, images, right, eps=2.0 if norm == "l2" else 1 / 255, norm=norm)
    assert is_whole(made)


def test_no_picture_within_the_budget_is_refused(images: Tensor, whole: Tensor) -> None:
    with pytest.raises(OptionError, match=r"less than half a grey level \(1/510\).*native"):
        attacked(images, eps=1 / 600)
    with pytest.raises(OptionError, match=r"rounding alone moves an image by .* in l2, more than eps = 0.01"):
        attacked(images, "l2", 0.01)
    assert torch.equal(attacked(whole, eps=1 / 600), whole)
    assert torch.equal(attacked(whole, "l2", 1e-4), whole)
    assert is_whole(attacked(images, eps=1 / 510))  # half a level is always enough


def test_linf_takes_the_nearest_level_within_the_budget() -> None:
    clean = torch.tensor([10.0, 10.4, 10.4, 0.2, 254.9]).reshape(1, 1, 1, 5) / 255
    moved = torch.tensor([11.6, 11.9, 8.9, 0.0, 255.0]).reshape(1, 1, 1, 5) / 255
    levels = within_linf(moved, clean, 1.6 / 255) * 255
    assert levels.flatten().tolist() == pytest.approx([11, 12, 9, 0, 255])


def test_l2_shrinks_no_more_than_it_must() -> None:
    clean = torch.full((2, 3, 4, 4), 100 / 255)
    moved = clean + torch.tensor([0.4, 2.6])[:, None, None, None] / 255
    eps = 2.6 / 255 * 48**0.5
    levels = within_ball(moved, clean, eps, "l2") * 255
    assert levels[0].unique().tolist() == pytest.approx([100])
    assert levels[1].unique().tolist() == pytest.approx([102])  # 103 would be too far


def test_traits_are_those_of_the_attack_within() -> None:
    for spec in ("pgd", "rays", "deepfool", "noise", "targeted(attack=pgd)"):
        assert traits_of(f"eight_bit(attack={spec})") == traits_of(spec)


def test_queries_and_half_precision_and_empty_batches(whole: Tensor) -> None:
    asked = 0

    def model(images: Tensor) -> Tensor:
        nonlocal asked
        asked += len(images)
        return tiny().eval()(images.float())

    attack = rain.load_attack("eight_bit", attack="square(queries=10, confidence=inf)")
    generator = torch.Generator().manual_seed(0)
    made = attack(model, whole[:1], LABELS[:1], eps=8 / 255, norm="linf", generator=generator)
    assert is_whole(made)
    assert asked == 10
    half = attack(model, whole.half(), LABELS, eps=8 / 255, norm="linf", generator=generator)
    assert half.dtype == torch.float16
    assert attack(model, whole[:0], LABELS[:0], eps=8 / 255, norm="linf").shape == (0, 3, 33, 40)


def test_a_grid_judges_what_a_file_holds(pictures: Path, tmp_path: Path) -> None:
    attacks = [
        {
            "attack": ["pgd(steps=2)", "eight_bit(attack=pgd(steps=2))"],
            "access": ["transfer", "adaptive"],
            "eps": "3/255",
            "eot": 2,
        }
    ]
    results = run(grid(pictures, attacks=attacks, defenses=["none", "rain(enhancer=bicubic)"]), tmp_path)
    assert len(results) == 8
    for result in results:
        levels = [outcome.distance * 255 for outcome in result.outcomes]
        whole_levels = [abs(level - round(level)) < 1e-3 for level in levels]
        assert all(whole_levels) or "eight_bit" not in result.cell.attack
