"""Recipes: what a training run may be told, and what it says to what it may not."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from rain.errors import RecipeError
from rain.training.recipe import PLACES, Config, read, setting, shipped
from rain.training.rules import LOSSES

CLASSIFIER: dict[str, Any] = {"trains": "classifier", "pixel": 0.0, "cross_entropy": 1.0}
GOOD: dict[str, Any] = {"images": ("a",), "validation": ("b",), "steps": 10, "pixel": 1.0}


def test_a_config_is_frozen_and_takes_one_text_for_a_list_and_fractions_for_numbers() -> None:
    config = Config(**GOOD | {"images": "a", "eps": "8/255", "clip": 2})  # type: ignore[arg-type]
    assert config.images == ("a",)
    assert config.eps == 8 / 255
    assert config.clip == 2.0
    with pytest.raises(FrozenInstanceError):
        config.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "no pictures to learn from"),
        ({"validation": ()}, "never the test set"),
        ({"steps": 0}, "either steps or epochs"),
        ({"epochs": 3}, "either steps or epochs"),
        ({"pixel": 0.0}, "nothing to minimise"),
        ({"pixel": -1.0}, "must be a number of at least 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"rate": "fast"}, "not a number"),
        ({"zoom": 1.5}, "zoom must be above 0 and at most 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"side": 224, "window": 300}, "window must be 0"),
        ({"images": [1]}, "images must be a list of texts"),
        ({"trains": "dataset"}, "trains must be one of enhancer, classifier, both"),
        ({"milestones": [100]}, "fractions of the run"),
        ({"choose": "robust"}, "needs an attack"),
        ({"trades": 6.0}, "trades trains a classifier"),
        ({"classifier": "", "distillation": 1.0}, "only the pixel loss"),
        ({"classifier": ""}, 'choose = "psnr"'),
        ({"trains": "classifier"}, "a classifier learns by"),
        ({"teacher": "rain", "pixel": 0.0, "distillation": 1.0}, "a teacher is what L1 compares with"),
        (CLASSIFIER | {"choose": "accuracy", "sr_sets": ["set5"]}, "sr_sets measures an enhancer"),
        (CLASSIFIER, "a classifier is chosen by"),
        ({"average": 1.0}, "average must be above 0 and at most 0.99999, got 1.0"),
        ({"average": -0.5}, "average must be above 0 and at most 0.99999, got -0.5"),
        ({"side": 1}, "side must be at least 2, or 0 for what the classifier sees, got 1"),
        ({"clip": float("inf")}, "clip must be a number of at least 0, got inf"),
    ],
)
def test_what_makes_no_sense_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Config(**GOOD | changes)


def test_files_are_read_and_their_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('images = ["a"]\nvalidation = "b"\nsteps = 5\npixel = 1\n')
    assert read(path).steps == 5
    assert read(path, steps=7, rate=None) == Config(**GOOD | {"steps": 7})
    path.write_text("stpes = 5\n")
    with pytest.raises(RecipeError, match=r"no 'stpes'; did you mean 'steps'\?"):
        read(path)
    path.write_text("steps = \n")
    with pytest.raises(RecipeError, match="not TOML"):
        read(path)
    with pytest.raises(RecipeError, match="shipped recipes: accuracy, adversarial"):
        read("acuracy")


def test_settings_of_the_command_line() -> None:
    assert setting("rate=1e-4") == ("rate", 1e-4)
    assert setting('sr_sets = ["a", "b"]') == ("sr_sets", ["a", "b"])
    assert setting("defense=rain(down=bicubic, shift=0.0)") == ("defense", "rain(down=bicubic, shift=0.0)")
    with pytest.raises(RecipeError, match="write field=value"):
        setting("rate")


@pytest.mark.parametrize("name", list(shipped()))
def test_shipped_recipes_say_what_they_are_and_are_complete(name: str) -> None:
    config = read(name, images="a", validation="b")
    assert any(getattr(config, loss) for loss in LOSSES)
    with pytest.raises(RecipeError, match="no pictures to learn from"):
        read(name)


def test_the_papers_settings_are_the_papers() -> None:
    for name in ("paper-stl10", "paper-imagenet"):
        config = read(name, images="a", validation="b")
        optimizer = (config.optimizer, config.rate, config.momentum, config.weight_decay)
        assert optimizer == ("sgd", 1e-4, 0.9, 5e-4)
        assert [milestone * config.epochs for milestone in config.milestones] == [150, 175, 225]
        assert config.decay == 0.2
        assert config.cross_entropy == 1
        assert "released" in config.defense
        assert "edsr" in config.defense


@pytest.mark.parametrize("name", ["path", "self", "changes", "cls", "name", "recipe"])
def test_a_field_that_there_is_not_is_told_whatever_it_is_called(name: str) -> None:
    with pytest.raises(RecipeError, match=f"accuracy: a recipe has no '{name}'"):
        read("accuracy", images="a", validation="b", **{name: "x"})


def test_steps_that_are_given_replace_epochs_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('images = ["a"]\nvalidation = "b"\nepochs = 5\npixel = 1\n')
    assert (read(path).steps, read(path).epochs) == (0, 5)
    assert (read(path, steps=7).steps, read(path, steps=7).epochs) == (7, 0)
    assert read(path, epochs=3).epochs == 3
    assert read(path, steps=0).epochs == 5
    assert read(path, steps=0, epochs=2).epochs == 2
    path.write_text('images = ["a"]\nvalidation = "b"\nsteps = 5\npixel = 1\n')
    assert (read(path, epochs=3).steps, read(path, epochs=3).epochs) == (0, 3)
    # What contradicts itself is still said.
    with pytest.raises(RecipeError, match="give either steps or epochs"):
        read(path, steps=3, epochs=3)
    with pytest.raises(RecipeError, match="give either steps or epochs"):
        read(path, steps=0)


def test_how_steps_are_launched_is_no_part_of_what_is_learnt() -> None:
    assert Config(**GOOD).launch == "auto"
    assert "launch" in PLACES
    with pytest.raises(RecipeError, match="launch must be one of auto, eager, graph, compile"):
        Config(**GOOD, launch="fast")
