"""The size at which a run's pictures enter, and the networks that it cannot learn from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fitting import SMALL

from rain.errors import RecipeError
from rain.train import Config, fit, read
from rain.training.pieces import with_side


@pytest.mark.parametrize(
    ("classifier", "side"),
    [("models:seeing", 24), ("models:tiny", 224), ("", 224), ("small_resnet(width=4, classes=5)", 96)],
)
def test_training_images_are_what_the_classifier_sees(
    classifier: str, side: int, config: Callable[..., Config]
) -> None:
    losses = {"distillation": 1.0} if classifier else {"pixel": 1.0, "distillation": 0.0, "choose": "psnr"}
    before = torch.get_rng_state()
    assert with_side(config(side=0, classifier=classifier, **losses)).side == side
    assert torch.equal(torch.get_rng_state(), before)


def test_another_side_is_said(config: Callable[..., Config]) -> None:
    with pytest.warns(UserWarning, match=r"training images have 32 pixels, and models:seeing sees 24"):
        assert with_side(config(side=32, classifier="models:seeing")).side == 32
    assert with_side(config(side=24, classifier="models:seeing")).side == 24


def test_a_window_is_held_to_the_side_that_is_found(config: Callable[..., Config]) -> None:
    recipe = config(side=0, window=30, classifier="models:seeing")
    with pytest.raises(RecipeError, match="window must be 0, or at least 2 and at most side = 24, got 30"):
        with_side(recipe)


def test_a_run_remembers_its_side(config: Callable[..., Config], tmp_path: Path) -> None:
    recipe = config(side=0, classifier="models:seeing", defense=SMALL, steps=2)
    fit(recipe, tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text())["side"] == 24
    fit(recipe, tmp_path, resume=True)


def test_the_shipped_recipes_for_any_classifier_name_no_side() -> None:
    pictures = {"images": "a", "validation": "b"}
    for name in ("accuracy", "adversarial"):
        recipe = read(name, **pictures)
        assert recipe.side == 0
        assert with_side(recipe).side == 224


def test_a_frozen_classifier_with_random_weights_is_warned_of(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    recipe = config(classifier="small_resnet(width=4, classes=5)", defense=SMALL, side=96, steps=1, batch=2)
    with pytest.warns(UserWarning, match="has random weights, and its answers mean nothing"):
        fit(recipe, tmp_path)
