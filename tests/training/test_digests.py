"""A run that goes on finds the classifier, the teacher and the validation pictures that it began with."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import SMALL
from PIL import Image

from rain import checkpoints
from rain.errors import TrainError
from rain.registry import load_classifier, load_enhancer
from rain.training.loop import fit
from rain.training.machine import build_fabric
from rain.training.pieces import build
from rain.training.recipe import Config

DG = "compact(weights=None, head=4, near=1, features=4, blocks=1)"
RESNET = "small_resnet(width=2, classes=5, size=32)"


def write_random(module: torch.nn.Module, path: Path, seed: int) -> None:
    """Write the weights of a module, a little moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.01 * torch.rand(weight.shape, generator=generator)
    checkpoints.save(module, path, {})


def check_resume(recipe: Config, out: Path, change: Callable[[], None], message: str) -> None:
    """See that a run goes on, and after a change does not, and stays as it was."""
    fit(recipe, out)
    fit(recipe, out, resume=True)
    before = (out / "state.safetensors").read_bytes()
    change()
    with pytest.raises(TrainError, match=rf"was begun with other {message} \(digest .*choose another folder"):
        fit(recipe, out, resume=True)
    assert (out / "state.safetensors").read_bytes() == before


def test_another_classifier_behind_the_same_spec(config: Callable[..., Config], tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    write_random(load_classifier(RESNET), path, 0)
    recipe = config(classifier=f"small_resnet(weights={path}, size=32)", steps=2)
    check_resume(
        recipe,
        tmp_path / "run",
        lambda: write_random(load_classifier(RESNET), path, 1),
        "weights of the classifier",
    )


def test_another_teacher_behind_the_same_spec(config: Callable[..., Config], tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    write_random(load_enhancer(DG), path, 0)
    recipe = config(
        teacher=f"rain(enhancer=compact(weights={path}))",
        pixel=1.0,
        distillation=0.0,
        classifier="",
        choose="psnr",
        steps=2,
    )
    check_resume(
        recipe, tmp_path / "run", lambda: write_random(load_enhancer(DG), path, 1), "weights of the teacher"
    )


def test_another_defence_before_a_classifier_in_training(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    path = tmp_path / "dg.safetensors"
    write_random(load_enhancer(DG), path, 0)
    recipe = config(
        trains="classifier",
        classifier=RESNET,
        defense=f"rain(enhancer=compact(weights={path}))",
        distillation=0.0,
        cross_entropy=1.0,
        choose="accuracy",
        steps=2,
    )
    check_resume(
        recipe, tmp_path / "run", lambda: write_random(load_enhancer(DG), path, 1), "weights of the defence"
    )


@pytest.mark.parametrize("harm", ["pixels", "label"])
def test_other_validation_pictures(
    harm: str, config: Callable[..., Config], held_out: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(held_out, tmp_path / "own")

    def change() -> None:
        if harm == "pixels":
            Image.new("RGB", (40, 36), (9, 9, 9)).save(own / "class2" / "7.png")
        else:
            (own / "class0" / "0.png").rename(own / "class1" / "0.png")

    recipe = config(validation=f"folder:{own}", steps=2)
    check_resume(recipe, tmp_path / "run", change, "validation pictures")


@pytest.mark.parametrize("harm", ["pixels", "name"])
def test_other_pictures_to_learn_from(
    harm: str, config: Callable[..., Config], held_out: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(held_out, tmp_path / "own")

    def change() -> None:
        picture = own / "class2" / "7.png"
        if harm == "pixels":
            Image.new("RGB", (40, 36), (9, 9, 9)).save(picture)
        else:
            picture.rename(picture.with_name("8.png"))

    check_resume(config(images=f"folder:{own}", steps=2), tmp_path / "run", change, "pictures to learn from")


def test_a_folder_of_pictures_may_be_moved(
    config: Callable[..., Config], held_out: Path, tmp_path: Path
) -> None:
    digests = []
    for place in ("here", "there"):
        own = shutil.copytree(held_out, tmp_path / place)
        recipe = config(images=f"folder:{own}")
        digests.append(build(recipe, build_fabric(recipe)).digests["images"])
    assert digests[0] == digests[1]


def test_an_older_checkpoint_without_digests_goes_on(config: Callable[..., Config], tmp_path: Path) -> None:
    fit(config(steps=2), tmp_path / "run")
    state = tmp_path / "run" / "state.safetensors"
    tensors, card = checkpoints.read(state)
    assert {name for name in card if name.startswith("digest of ")} == {
        "digest of classifier",
        "digest of validation",
        "digest of images",
    }
    checkpoints.save(tensors, state, {name: text for name, text in card.items() if "digest" not in name})
    fit(config(steps=2), tmp_path / "run", resume=True)


def test_the_card_of_an_enhancer_names_the_weights_of_its_classifier(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    trained = fit(config(steps=2), tmp_path / "run")
    card = checkpoints.read(trained.weights)[1]
    digest = checkpoints.digest(load_classifier("models:tiny"))
    assert card["classifier"].startswith(f"models:tiny, weights {digest}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"classifier": "", "distillation": 0.0, "pixel": 1.0, "choose": "psnr"},
        {
            "trains": "both",
            "classifier": RESNET,
            "distillation": 0.0,
            "cross_entropy": 1.0,
            "choose": "accuracy",
        },
    ],
)
def test_no_card_names_a_classifier_that_moved_or_that_there_is_not(
    changes: dict[str, Any], config: Callable[..., Config], tmp_path: Path
) -> None:
    trained = fit(config(steps=2, defense=SMALL, **changes), tmp_path / "run")
    assert "classifier" not in checkpoints.read(trained.weights)[1]
    fit(config(steps=2, defense=SMALL, **changes), tmp_path / "run", resume=True)
