"""What a device other than the CPU is given: no doubles, and no labels that it cannot look up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rain.errors import DatasetError
from rain.training import captured, validation
from rain.training.captured import ReadBatches, open_batches
from rain.training.loop import fit
from rain.training.machine import build_fabric
from rain.training.pieces import build
from rain.training.recipe import Config


def test_a_run_of_one_process_brings_no_doubles_to_its_device(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's devices have none."""

    def refuse(*_: object, **__: object) -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def to_device(self: Any, what: Any) -> Any:
        if isinstance(what, Tensor) and what.dtype == torch.float64:
            refuse()
        return what

    monkeypatch.setattr("lightning_fabric.Fabric.all_reduce", refuse)
    monkeypatch.setattr("lightning_fabric.Fabric.to_device", to_device)
    trained = fit(config(attack="pgd(steps=1)", validate_every=2, steps=2), tmp_path / "run")
    assert {"kl", "agreement", "accuracy", "robust", "psnr"} <= trained.measured.keys()


class TwoAlike(NamedTuple):
    """Two processes that measured the same."""

    world_size: int = 2

    def all_reduce(self, values: Tensor, reduce_op: str) -> Tensor:
        assert (values.dtype, reduce_op) == (torch.float64, "sum")
        return 2 * values


def test_what_several_processes_measured_is_added_up() -> None:
    assert validation._over_processes({"kl": 0.1, "robust": 3.0}, TwoAlike()) == {"kl": 0.2, "robust": 6.0}


def read_one_by_one(config: Config, monkeypatch: pytest.MonkeyPatch) -> ReadBatches:
    """The batches of captured steps whose pictures do not fit on the device."""
    monkeypatch.setattr(captured, "_room", lambda _: 0)
    pieces = build(config, build_fabric(config))
    with pytest.warns(UserWarning, match="the pictures do not fit on cpu, and are read one by one"):
        batches = open_batches(pieces)
    assert isinstance(batches, ReadBatches)
    return batches


def test_labels_of_pictures_that_do_not_fit_are_checked_before_they_are_moved(
    config: Callable[..., Config], held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = "small_resnet(width=2, classes=3, size=32)"
    recipe = config(classifier=classifier, validation=str(held_out), batch=9)
    with pytest.warns(UserWarning, match="has random weights"):
        batches = read_one_by_one(recipe, monkeypatch)

    def refuse(*_: object) -> None:
        pytest.fail("a batch was moved")

    monkeypatch.setattr(captured, "_moved", refuse)
    # Ten pictures of five classes: of nine, three at least have a class that there is not.
    with pytest.raises(DatasetError, match=r"label \d is none of the 3 classes .*labels=sorted"):
        batches(0)


@pytest.mark.parametrize("labelled", [True, False])
def test_labels_that_fit_and_those_that_there_are_not_are_read(
    labelled: bool, config: Callable[..., Config], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = f"folder:{folder}" if labelled else str(folder)
    batches = read_one_by_one(config(images=images), monkeypatch)
    _, labels = batches(0)
    assert bool((labels >= 0).all()) == labelled
