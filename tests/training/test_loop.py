"""Training: every recipe, what is learnt, and what is chosen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import rows, weights
from PIL import Image

from rain import checkpoints
from rain.errors import TrainError
from rain.registry import load_classifier, load_enhancer
from rain.train import Config, Trained, fit, read
from rain.training import loop
from rain.training.recipe import shipped

EDSR = "features=4, blocks=1"
COMPACT = "head=4, near=1, features=4, blocks=1"

# --- every recipe


def small(recipe: Config) -> dict[str, Any]:
    """Fields that make a shipped recipe a matter of seconds, and need no download."""
    attack = recipe.attack.replace("steps=7", "steps=2").replace("steps=5", "steps=2")
    changes = {"attack": attack, "side": 32, "batch": 4, "steps": 2, "epochs": 0, "validation_images": 4}
    changes |= {"workers": 0, "accelerator": "cpu", "window": min(recipe.window, 16)}
    if recipe.trains == "classifier":
        return changes | {"classifier": "small_resnet(width=4, classes=5)"}
    compact, edsr = f"compact(weights=None, {COMPACT})", f"edsr(weights=None, {EDSR})"
    enhancer = edsr if "edsr" in recipe.defense else compact
    if "slim" in recipe.defense:
        enhancer = "compact(weights=None, slim=true, features=4, blocks=1)"
    options = "preset=released, " if "released" in recipe.defense else ""
    changes["classifier"] = recipe.classifier and "models:tiny"
    if recipe.trains == "both":
        changes["classifier"] = "small_resnet(width=4, classes=5, size=32)"
    return changes | {"defense": f"rain({options}enhancer={enhancer})"}


def check_use(recipe: Config, trained: Trained) -> None:
    """Do what a user does with the file."""
    if recipe.moves_classifier:
        classifier = load_classifier(f"small_resnet(weights={trained.classifier or trained.weights})")
        assert classifier(torch.rand(1, 3, 32, 32)).shape == (1, 5)
    if not recipe.moves_enhancer:
        return
    spec = f"compact(weights={trained.weights})"
    if "edsr" in recipe.defense:
        spec = f"edsr(weights={trained.weights}, {EDSR})"
    assert load_enhancer(spec)(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("name", list(shipped()))
def test_every_shipped_recipe_trains_on_a_few_pictures(
    name: str, folder: Path, held_out: Path, tmp_path: Path
) -> None:
    pictures = {"images": f"folder:{folder}", "validation": f"folder:{held_out}"}
    recipe = read(name, **pictures)
    out = tmp_path / "run"
    trained = fit(read(name, **pictures, **small(recipe)), out)
    assert np.isfinite(list(trained.measured.values())).all()
    card = checkpoints.read(trained.weights)[1]
    assert {"data", "licence", "command", "recipe", "commit", "versions", "validation"} <= card.keys()
    assert json.loads(card["recipe"])["side"] == 32
    check_use(recipe, trained)
    if recipe.moves_enhancer:
        sheet = np.asarray(Image.open(next((out / "sheets").glob("*.png"))))
        assert sheet.shape == (3 * 36, 4 * 36, 3)
    assert [row["step"] for row in rows(out)] == [0, 2, 2]
    files = {".lock", "log.jsonl", "recipe.json", "sheets", "state.safetensors", "weights.safetensors"}
    if recipe.trains == "both":
        files.add("classifier.safetensors")
    assert {path.name for path in out.iterdir()} == files


# --- what is learnt


def test_l1_training_brings_dg_nearer_to_the_pictures(config: Callable[..., Config], tmp_path: Path) -> None:
    blind = "rain(enhancer=compact(weights=None, informed=False, head=8, near=1, features=8, blocks=1))"
    changes = {"defense": blind, "classifier": "", "choose": "psnr", "distillation": 0.0, "pixel": 1.0}
    changes |= {"steps": 150, "validate_every": 150, "rate": 3e-3}
    done = fit(config(**changes), tmp_path / "run")
    start = fit(config(**changes | {"steps": 1, "rate": 1e-9}), tmp_path / "start")
    assert done.measured["psnr"] > start.measured["psnr"] + 0.5


def test_label_free_training_brings_the_answers_nearer(config: Callable[..., Config], tmp_path: Path) -> None:
    done = fit(config(steps=60, validate_every=60, rate=5e-3), tmp_path / "run")
    start = fit(config(steps=1, rate=1e-9), tmp_path / "start")
    assert done.measured["kl"] < 0.8 * start.measured["kl"]
    assert done.measured["kl"] < 0.8 * done.began["kl"]
    before = json.loads(checkpoints.read(done.weights)[1]["before"])
    assert before["kl"] == pytest.approx(done.began["kl"], rel=1e-4)


# --- choosing and stopping


def test_the_best_weights_are_kept_and_patience_ends_a_run(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    # At this rate nothing moves, so that the first validation stays the best.
    done = fit(config(rate=1e-12, steps=30, patience=2), tmp_path / "run")
    validated = [row["step"] for row in rows(tmp_path / "run") if "validation/kl" in row]
    assert validated == [0, 3, 6, 9]
    assert done.step == 3
    assert done.measured == pytest.approx(done.began)
    assert json.loads(checkpoints.read(done.weights)[1]["validation"])["step"] == 3


def test_a_loss_that_is_not_finite_ends_the_run(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "l1_loss", lambda images, others: (images * torch.inf).sum())
    message = r"the loss is (nan|inf), the gradient's norm .* at step \d+: lower the rate"
    with pytest.raises(TrainError, match=message):
        fit(config(pixel=1.0), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_is_followed(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match=r"the loss is \d.*, the gradient's norm nan at step 0"):
        fit(config(classifier="models:steep", clip=0.0, checkpoint_minutes=0.0), tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_a_run_without_a_finite_validation_has_no_weights_to_name(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "validate", lambda *_: ({"kl": float("nan")}, None))
    with pytest.raises(TrainError, match="no validation gave a finite kl"):
        fit(config(), tmp_path / "run")


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_mixed_precision_trains(config: Callable[..., Config], tmp_path: Path) -> None:
    changes = {"pixel": 1.0, "feature": 1.0, "attack": "pgd(steps=2, confidence=inf)", "steps": 3}
    done = fit(config(precision="bf16-mixed", **changes), tmp_path / "run")
    assert np.isfinite(list(done.measured.values())).all()
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "run").values())
