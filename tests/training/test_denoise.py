"""The recipe of denoisers: noise first, then what takes it away, through the frozen classifier."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fitting import rows

import rain
from rain.seeding import generator_for
from rain.training.learners import target_of
from rain.training.objective import Objective
from rain.training.recipe import Config, read, shipped

SMALL = "smooth(sigma=0.25, enhancer=compact(scale=1, weights=None, head=4, near=1, features=4, blocks=1))"
LOSSES = {"distillation": 1.0, "feature": 3.0, "pixel": 3.0}


def test_the_recipe_needs_no_labels_and_takes_another_sigma() -> None:
    changes = {"images": "x", "validation": "y"}
    config = read("denoise", **changes)
    assert {name: getattr(config, name) for name in LOSSES} == LOSSES
    assert not config.cross_entropy
    assert not config.attack
    other = read("denoise", **changes, defense=config.defense.replace("0.25", "0.5"))
    assert rain.load_defense(other.defense).smoothing.sigma == 0.5
    assert "denoise" in shipped()


def test_a_step_lowers_every_loss_of_the_recipe(config: Callable[..., Config]) -> None:
    torch.manual_seed(0)
    objective = Objective(config(defense=SMALL, **LOSSES)).train()
    clean = torch.rand(4, 3, 32, 32, generator=generator_for(0))
    labels = torch.full((4,), -1)
    optimizer = torch.optim.Adam(objective.learner.parameters(), 2e-3)
    before = objective(clean, clean, labels, generator_for(1))
    for _ in range(3):
        optimizer.zero_grad()
        objective(clean, clean, labels, generator_for(1))["loss"].backward()
        optimizer.step()
    after = objective(clean, clean, labels, generator_for(1))
    assert all(after[name] < before[name] for name in ("loss", "pixel", "feature"))


def test_a_perfect_denoiser_gives_the_clean_image() -> None:
    defense = rain.load_defense(SMALL)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(target_of(defense, images, defense.draw(images)), images)


def test_noise_alone_has_nothing_to_train(config: Callable[..., Config]) -> None:
    with pytest.raises(rain.RainError, match="no enhancer to train"):
        Objective(config(defense="smooth"))


def test_what_is_trained_is_certified(config: Callable[..., Config], tmp_path: Path) -> None:
    from rain import train

    train.fit(config(defense=SMALL, **LOSSES), tmp_path)
    assert rows(tmp_path)
    path = tmp_path / "weights.safetensors"
    hardened = rain.harden(
        rain.load_classifier("models:tiny"), "smooth", enhancer=f"compact(weights={path})", sigma=0.25
    )
    assert hardened.certify(torch.rand(1, 3, 32, 32), n0=5, n=20, seed=0).labels.shape == (1,)
