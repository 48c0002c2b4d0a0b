"""DG and its classifier trained at once: both move, both are kept, and each names the other one."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import SMALL, rows
from torch import Tensor

import rain
from rain import checkpoints
from rain.defense import Defense
from rain.errors import RecipeError, WeightsError
from rain.registry import load_classifier, load_defense, load_enhancer
from rain.runtime.folding import folded
from rain.training.attacker import attacker_text
from rain.training.loop import Interrupted, Trained, fit
from rain.training.machine import build_fabric
from rain.training.objective import Objective
from rain.training.pieces import build
from rain.training.plain import Losses, PlainStep
from rain.training.recipe import Config
from rain.training.saving import load_best

CLASSIFIER = "small_resnet(width=2, classes=5, size=32)"
BOTH: dict[str, Any] = {
    "trains": "both",
    "classifier": CLASSIFIER,
    "distillation": 0.0,
    "cross_entropy": 1.0,
    "attack": "pgd(steps=1)",
    "choose": "balance",
}


@pytest.fixture
def both(config: Callable[..., Config]) -> Callable[..., Config]:
    """A run of six steps on DG and a classifier; keywords replace its fields."""
    return lambda **changes: config(**BOTH | changes)


def loaded(trained: Trained) -> tuple[torch.nn.Module, Defense]:
    """What a user makes of the two files."""
    classifier = load_classifier(f"small_resnet(weights={trained.classifier}, size=32)")
    return classifier, load_defense(f"rain(enhancer=compact(weights={trained.weights}))")


# --- what is learnt


@pytest.mark.parametrize("changes", [{}, {"trades": 2.0}, {"access": "known", "pixel": 1.0}, {"attack": ""}])
def test_a_few_steps_lower_the_loss_and_move_both(
    both: Callable[..., Config], changes: dict[str, Any]
) -> None:
    recipe = both(batch=10, rate=3e-3, augment="crop", eps=1 / 255, choose="accuracy", **changes)
    pieces = build(recipe, build_fabric(recipe))
    before = {name: value.clone() for name, value in pieces.learner.state_dict().items()}
    step = PlainStep(pieces)
    pieces.learner.train()
    losses = [(step.make(number, True) or {})["loss"] for number in range(6)]
    assert losses[-1] < losses[0]
    after = pieces.learner.state_dict()
    still = {name for name in before if torch.equal(before[name], after[name])}
    # A sharpness that begins at zero is the only kind of weight that may stay.
    assert not {name for name in still if name.startswith("classifier.")}
    assert len(still) < len([name for name in before if name.startswith("enhancer.")]) / 2


def test_both_and_nothing_else_is_in_training(both: Callable[..., Config]) -> None:
    objective = Objective(both(teacher=SMALL, pixel=1.0)).train()
    assert objective.classifier is not None
    assert objective.classifier.training
    assert objective.defense.get_submodule("enhancer").training
    assert not objective.defense.training
    assert objective.teacher is not None
    assert not any(weight.requires_grad for weight in objective.teacher.parameters())
    assert all(weight.requires_grad for weight in objective.learner.parameters())
    assert folded(objective.classifier, (32, 32)) is not objective.classifier  # it kept its batch norms


def test_an_attack_leaves_both_in_training_and_without_gradients(both: Callable[..., Config]) -> None:
    objective = Objective(both()).train()
    before = {name: value.clone() for name, value in objective.learner.state_dict().items()}
    images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    attacked = objective.attacked(images, labels, 1.0, torch.Generator().manual_seed(0))
    assert not torch.equal(attacked, images)
    check_equal(objective.learner.state_dict(), before)
    assert all(weight.grad is None and weight.requires_grad for weight in objective.learner.parameters())
    assert objective.learner.training


# --- what is kept


def test_the_two_files_load_and_measure_what_the_run_did(both: Callable[..., Config], tmp_path: Path) -> None:
    recipe = both(average=0.9)
    trained = fit(recipe, tmp_path / "run")
    assert trained.classifier == tmp_path / "run" / "classifier.safetensors"
    assert trained.measured.keys() == {"accuracy", "robust", "balance", "psnr"}
    classifier, defense = loaded(trained)
    hardened = rain.harden(classifier, defense)
    assert hardened(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    pieces = build(recipe, build_fabric(recipe))
    load_best(pieces, tmp_path / "run")
    check_equal(pieces.parts["classifier"].state_dict(), classifier.state_dict())
    check_equal(pieces.parts["enhancer"].state_dict(), defense.get_submodule("enhancer").state_dict())


def test_each_card_names_the_other_one_and_says_that_the_classifier_was_changed(
    both: Callable[..., Config], tmp_path: Path
) -> None:
    trained = fit(both(), tmp_path / "run")
    assert trained.classifier is not None
    cards = [checkpoints.read(path)[1] for path in (trained.weights, trained.classifier)]
    enhancer = load_enhancer(f"compact(weights={trained.weights})")
    classifier, _ = loaded(trained)
    assert checkpoints.digest(classifier) in cards[0]["beside"]
    assert "classifier.safetensors" in cards[0]["beside"]
    assert checkpoints.digest(enhancer) in cards[1]["beside"]
    assert "weights.safetensors" in cards[1]["beside"]
    for card in cards:
        assert f"the classifier that was given, {CLASSIFIER}, was changed" in card["beside"]
        assert card["robust"] == attacker_text(both())
        assert "adaptive, eot 1" in card["robust"]
        assert json.loads(card["validation"])["step"] == trained.step
    assert "behind" in cards[0]
    assert "behind" not in cards[1]
    assert cards[1]["classes"] == "class0, class1, class2, class3, class4"
    assert "classes" not in cards[0]


def test_each_card_says_what_its_own_weights_began_with(both: Callable[..., Config], tmp_path: Path) -> None:
    first = fit(both(), tmp_path / "first")
    spec = f"small_resnet(weights={first.classifier}, size=32)"
    second = fit(both(classifier=spec, steps=3), tmp_path / "second")
    assert second.classifier is not None
    assert "start" in checkpoints.read(second.classifier)[1]
    assert "start" not in checkpoints.read(second.weights)[1]


def test_the_given_classifier_stays_as_it_is_in_the_other_kinds(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    trained = fit(config(steps=3), tmp_path / "run")
    assert trained.classifier is None
    assert "beside" not in checkpoints.read(trained.weights)[1]
    assert not (tmp_path / "run" / "classifier.safetensors").exists()


# --- stopped, and gone on with


def test_crashed_interrupted_and_single_runs_end_with_the_same_bits(
    both: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single, other = tmp_path / "single", tmp_path / "other"
    recipe = both(average=0.9, steps=9)
    fit(recipe, single)
    often = both(average=0.9, steps=9, checkpoint_minutes=1e-6)
    make = PlainStep.make

    def crash(step: PlainStep, number: int, is_due: bool) -> Losses | None:
        if number == 4:
            raise MemoryError
        return make(step, number, is_due)

    def interrupt(step: PlainStep, number: int, is_due: bool) -> Losses | None:
        if number == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return make(step, number, is_due)

    monkeypatch.setattr(PlainStep, "make", crash)
    with pytest.raises(MemoryError):
        fit(often, other)
    monkeypatch.setattr(PlainStep, "make", interrupt)
    with pytest.raises(Interrupted) as stopped:
        fit(often, other, resume=True)
    assert stopped.value.trained is not None
    assert stopped.value.trained.classifier == other / "classifier.safetensors"
    monkeypatch.setattr(PlainStep, "make", make)
    fit(recipe, other, resume=True)
    assert [row["step"] for row in rows(other)] == [row["step"] for row in rows(single)]
    for name in ("weights.safetensors", "classifier.safetensors", "state.safetensors"):
        ours, theirs = (checkpoints.read(out / name)[0] for out in (single, other))
        check_equal(ours, theirs)


def test_a_finished_run_has_nothing_left_to_do(both: Callable[..., Config], tmp_path: Path) -> None:
    trained = fit(both(), tmp_path / "run")
    assert trained.classifier is not None
    before = [path.read_bytes() for path in (trained.weights, trained.classifier)]
    again = fit(both(), tmp_path / "run", resume=True)
    assert again == trained
    assert [path.read_bytes() for path in (trained.weights, trained.classifier)] == before


def test_the_checkpoint_of_another_classifier_is_refused(both: Callable[..., Config], tmp_path: Path) -> None:
    fit(both(steps=3), tmp_path / "wide")
    state = (tmp_path / "wide" / "state.safetensors").read_bytes()
    other = both(steps=3, classifier="small_resnet(width=3, classes=5, size=32)")
    fit(other, tmp_path / "run")
    (tmp_path / "run" / "state.safetensors").write_bytes(state)
    with pytest.raises(WeightsError, match=r"classifier\.network"):
        fit(other, tmp_path / "run", resume=True)


# --- what makes no sense


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_entropy": 0.0, "pixel": 1.0}, "trains = 'both' learns from labels"),
        ({"distillation": 1.0}, "compare with a classifier that stands still"),
        ({"feature": 1.0}, "compare with a classifier that stands still"),
        ({"choose": "kl"}, "trains = 'both' is chosen by"),
        ({"choose": "psnr"}, "trains = 'both' is chosen by"),
        ({"classifier": ""}, "only the pixel loss goes without a classifier"),
        ({"attack": ""}, "choose = 'balance' needs an attack"),
    ],
)
def test_rules(both: Callable[..., Config], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        both(**changes)


def test_what_is_missing_is_said_before_the_first_step(
    both: Callable[..., Config], folder: Path, held_out: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="'none' has no enhancer to train"):
        fit(both(defense="none"), tmp_path / "a")
    with pytest.raises(RecipeError, match="cross_entropy needs labels"):
        fit(both(images=str(folder)), tmp_path / "b")
    with pytest.raises(RecipeError, match="needs labels: give validation"):
        fit(both(validation=str(held_out)), tmp_path / "c")
    with pytest.warns(UserWarning, match="training images have 40 pixels"):
        fit(both(side=40, steps=1), tmp_path / "d")


def test_sr_sets_measure_the_best_dg_and_keep_both_files(
    both: Callable[..., Config], folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchmetrics")
    trained = fit(both(sr_sets=(str(folder),)), tmp_path / "run")
    assert trained.classifier is not None
    classifier, _ = loaded(trained)
    assert checkpoints.digest(classifier) in checkpoints.read(trained.weights)[1]["beside"]


def check_equal(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
