"""Training runs: what is wrong is said, and what a kill costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fitting import SMALL, rows, weights
from interrupting import finish, said, start
from PIL import Image
from torch import Tensor

from rain import checkpoints
from rain.errors import DatasetError, OptionError, RecipeError, TrainError
from rain.specs import parse, write
from rain.training.log import lock
from rain.training.loop import fit
from rain.training.recipe import Config

# --- bad input


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_a_label_means_one_class_in_a_run(
    config: Callable[..., Config], folder: Path, tmp_path: Path
) -> None:
    other = copied(folder, tmp_path / "other")
    shutil.rmtree(other / "class0")
    for changes in ({"validation": f"folder:{other}"}, {"images": (f"folder:{folder}", f"folder:{other}")}):
        with pytest.raises(DatasetError, match=r"label 0 is 'class1' there and 'class0' in another dataset"):
            fit(config(**changes), tmp_path / "run")


def test_a_damaged_picture_costs_one_sample_and_a_lost_one_the_way_back(
    config: Callable[..., Config], folder: Path, tmp_path: Path
) -> None:
    hurt = copied(folder, tmp_path / "hurt")
    picture = hurt / "class3" / "8.png"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.warns(UserWarning, match=r"8\.png.*the next picture is learnt from in its place"):
        fit(config(images=f"folder:{hurt}"), tmp_path / "run")
    picture.unlink()
    with pytest.raises(TrainError, match="was begun with 10 pictures, and there are 9 now"):
        fit(config(images=f"folder:{hurt}"), tmp_path / "run", resume=True)
    for path in hurt.rglob("*.png"):
        path.write_bytes(b"")
    with (
        pytest.raises(DatasetError, match="not one picture can be read"),
        pytest.warns(UserWarning, match="in its place"),
    ):
        fit(config(images=str(hurt), validation=str(folder)), tmp_path / "none")


def test_what_is_wrong_is_said_before_the_first_step(config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        fit(config(sr_sets=(str(tmp_path / "nowhere"),)), tmp_path / "run")
    with pytest.raises(OptionError, match=r"shift=0\.0"):
        fit(config(defense="rain(down=scale, enhancer=compact(weights=None))"), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_only_sr_sets_need_torchmetrics(
    config: Callable[..., Config], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    fit(config(steps=1), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"sr_sets needs torchmetrics .*rain-defense\[train\]"):
        fit(config(sr_sets=(str(folder),)), tmp_path / "other")


def test_machines_that_share_no_folder_do_not_go_on(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(config(steps=3), tmp_path / "run")
    monkeypatch.setattr(
        "lightning_fabric.Fabric.all_gather", lambda self, step: torch.stack([step, torch.zeros_like(step)])
    )
    with pytest.raises(TrainError, match="found checkpoints of steps 3, 0: give all machines one folder"):
        fit(config(steps=3), tmp_path / "run", resume=True)


def test_a_card_says_what_the_attacker_of_robust_knew(config: Callable[..., Config], tmp_path: Path) -> None:
    done = fit(config(attack="pgd(steps=1)", eot=2, choose="robust", steps=3), tmp_path / "run")
    card = checkpoints.read(done.weights)[1]
    assert "robust" in json.loads(card["validation"])
    assert card["robust"] == "pgd(steps=1), adaptive, eot 2, eps 4/255 (linf), one draw"
    assert card["computed"] == "on cpu in 32-true"
    assert card["behind"] == write(
        "rain", {key: value for key, value in parse(SMALL)[1].items() if key != "enhancer"}
    )


def test_pictures_that_are_learnt_from_are_no_validation(
    config: Callable[..., Config], folder: Path, held_out: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="2 of 2 validation pictures are learnt from, too"):
        fit(config(validation=str(folder / "class1"), steps=3), tmp_path / "a")
    with pytest.warns(UserWarning, match="10 of 10 validation pictures are learnt from, too"):
        fit(config(images=(f"folder:{held_out}", f"folder:{folder}"), steps=3), tmp_path / "b")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("rain.training.log.os.open", refuse)
    with pytest.raises(
        TrainError, match="cannot be written: Operation not permitted; choose another folder by --out"
    ):
        lock(tmp_path)


def test_a_picture_of_one_pixel_costs_one_sample(
    config: Callable[..., Config], folder: Path, tmp_path: Path
) -> None:
    spacer = copied(folder, tmp_path / "spacer")
    Image.new("RGB", (40, 1)).save(spacer / "class3" / "0.png")
    with pytest.warns(UserWarning, match=r"40 x 1 pixels; the next picture is learnt from in its place"):
        fit(config(images=f"folder:{spacer}", augment="zoom"), tmp_path / "run")


def test_labels_are_asked_for_where_they_are_needed(
    config: Callable[..., Config], folder: Path, held_out: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="cross_entropy needs labels"):
        fit(config(images=str(folder), cross_entropy=1.0), tmp_path / "a")
    with pytest.raises(RecipeError, match="needs labels"):
        fit(config(validation=str(held_out), choose="accuracy"), tmp_path / "b")
    classifier = {
        "trains": "classifier",
        "classifier": "small_resnet(width=4, classes=3)",
        "defense": "none",
        "distillation": 0.0,
    }
    with pytest.raises(DatasetError, match=r"label 4 is none of the 3 classes .*labels=sorted"):
        fit(config(**classifier, cross_entropy=1.0, choose="accuracy"), tmp_path / "c")
    with pytest.raises(RecipeError, match="has no enhancer to train"):
        fit(config(defense="jpeg"), tmp_path / "d")
    with pytest.raises(RecipeError, match="cannot be split on 3 processes"):
        fit(config(devices=3), tmp_path / "e")
    with pytest.raises(TrainError, match="cannot be used here"):
        fit(config(accelerator="abacus"), tmp_path / "f")


def test_a_folder_belongs_to_one_recipe_and_one_process(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fit(config(), out)
    before = (out / "weights.safetensors").read_bytes()
    with pytest.raises(TrainError, match="--resume"):
        fit(config(), out)
    with pytest.raises(TrainError, match=r"another recipe \(rate was 0.001 and is 0.1\)"):
        fit(config(rate=0.1), out, resume=True)
    foreign_lock = lock(out)
    assert foreign_lock is not None
    with pytest.raises(TrainError, match="another process is training"):
        fit(config(), out, resume=True)
    foreign_lock.close()
    # A finished run has nothing left to do; where it computes may change.
    assert rows(out)[-1]["step"] == 6
    fit(config(workers=1), out, resume=True)
    assert rows(out)[-1]["step"] == 6
    assert (out / "weights.safetensors").read_bytes() == before
    (out / "recipe.json").write_text("{")
    with pytest.raises(TrainError, match="is damaged"):
        fit(config(), out, resume=True)
    # What never came to a checkpoint stands in nobody's way.
    with pytest.raises(RecipeError):
        fit(config(defense="none"), tmp_path / "vain")
    fit(config(steps=1), tmp_path / "vain")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainError, match="cannot be written"):
        fit(config(), tmp_path / "file")


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Leave room on the disk for files of so many bytes."""

    def sync(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > room:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    fit(config(steps=3), out)
    before = (out / "state.safetensors").read_bytes()
    fill_disk(monkeypatch, room=0)
    with pytest.raises(TrainError, match=r"No space left on device; make room, or choose another folder"):
        fit(config(steps=3), tmp_path / "none")
    assert not list((tmp_path / "none").glob("*.json*"))
    # A recipe and a log are written, weights are not.
    fill_disk(monkeypatch, room=(out / "recipe.json").stat().st_size)
    with pytest.raises(TrainError, match=r"No space left on device\. Make room, and begin again"):
        fit(config(steps=3), tmp_path / "other")
    (tmp_path / "begun").mkdir()
    shutil.copy(out / "state.safetensors", tmp_path / "begun")
    shutil.copy(out / "recipe.json", tmp_path / "begun")
    with pytest.raises(
        TrainError, match=r"No space left on device.*The last checkpoint is kept.*add --resume"
    ):
        fit(config(steps=3), tmp_path / "begun", resume=True)
    assert (out / "state.safetensors").read_bytes() == before
    assert not list((tmp_path / "other").glob(".*.tmp"))


# --- killed, resumed, on two processes


SETTINGS = (
    "classifier=models:tiny",
    f"defense={SMALL}",
    "side=32",
    "batch=4",
    "steps=120",
    "validate_every=40",
    "rate=2e-3",
)


def settings(*fields: str) -> list[str]:
    """Write fields of a recipe as the command line has them."""
    return [part for field in fields for part in ("--set", field)]


def train(folder: Path, out: Path, *more: str, sign: int = 0, after: int = 0) -> "subprocess.Popen[bytes]":
    command = ["train", "accuracy", "--images", str(folder), "--validation", str(folder)]
    command += ["--accelerator", "cpu", *settings(*SETTINGS), *more]
    return start(out, *command, sign=sign, after=after)


def losses(out: Path) -> list[dict[str, float]]:
    cost = ("validation/images_per_second", "validation/memory_mb")
    return [{name: value for name, value in row.items() if name not in cost} for row in rows(out)]


def test_killed_interrupted_and_single_runs_end_with_the_same_bits(folder: Path, tmp_path: Path) -> None:
    single, other = tmp_path / "single", tmp_path / "other"
    finish(train(folder, single), single)

    often = settings("checkpoint_minutes=0.0001")
    assert train(folder, other, *often, sign=signal.SIGKILL, after=2).wait(300) == -signal.SIGKILL
    assert max(row["step"] for row in rows(other)) == 20
    assert train(folder, other, *often, "--resume", sign=signal.SIGINT, after=6).wait(300) == 130
    assert "add --resume to the same command to go on" in said(other).read_text()
    assert max(row["step"] for row in rows(other)) == 80
    finish(train(folder, other, "--resume"), other)
    assert losses(other) == losses(single)
    check_equal(weights(other), weights(single))
    states = [checkpoints.read(out / "state.safetensors")[0] for out in (single, other)]
    check_equal(*states)


def check_equal(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_two_processes_learn_what_one_does(folder: Path, tmp_path: Path) -> None:
    """The processes draw apart: without randomness their weights agree with one process's, to rounding."""
    spec = SMALL.replace("rain(", "rain(down=bicubic, shift=0.0, ")
    # Adam's first steps go by the sign of the gradient, which rounding can turn.
    few = settings(f"defense={spec}", "steps=4", "validate_every=2", "optimizer=sgd")
    one, two = tmp_path / "one", tmp_path / "two"
    finish(train(folder, one, *few), one)
    finish(train(folder, two, *few, "--devices", "2"), two)
    ours, theirs = weights(one), weights(two)
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-5) for name in ours)
    assert rows(two)[-1]["validation/kl"] == pytest.approx(rows(one)[-1]["validation/kl"], rel=1e-2)
    assert [row["step"] for row in rows(two)] == [row["step"] for row in rows(one)]
