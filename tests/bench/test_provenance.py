from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from measuring import grid
from models import tiny

import rain
from rain import checkpoints
from rain.bench.assets import Assets
from rain.bench.cells import Cell, Result, load, path_of
from rain.bench.grid import Grid
from rain.bench.provenance import FACTS, differences
from rain.bench.runners import run
from rain.classifiers import Preprocessed
from rain.errors import (
    ResultError,
)
from rain.runtime.precision import is_mixed

CPU = torch.device("cpu")


def test_results_of_other_weights_or_images_are_not_mixed_in(pictures: Path, tmp_path: Path) -> None:
    small = grid(pictures, attacks=[{"attack": "none"}], defenses=["none"])
    run(small, tmp_path)
    path = path_of(tmp_path, small.cells[0], 0)
    path.write_text(
        path.read_text().replace(load(tmp_path)[0].made_by["classifier_weights"][0], "0123456789abcdef")
    )
    what = r"holds results \(defense none, clean images\) that were made with another classifier weights"
    with pytest.raises(ResultError, match=f"{what} than now: choose a fresh folder"):
        run(small, tmp_path)


def test_results_of_a_classifier_with_another_mean_are_not_mixed_in(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the mean nor the size of the crop is a weight."""
    chosen = {"mean": (0.5,) * 3, "crop": 32}
    monkeypatch.setattr(
        models, "chosen", lambda: Preprocessed(tiny(), resize=32, std=(1.0,) * 3, **chosen), raising=False
    )
    begun = grid(pictures, classifier="models:chosen", attacks=[{"attack": "none"}], defenses=["none"])
    run(begun, tmp_path)
    run(begun, tmp_path)
    further = replace(begun.cells[0], defense="jpeg")
    for name, value in (("mean", (0.4,) * 3), ("crop", 28)):
        monkeypatch.setitem(chosen, name, value)
        with pytest.raises(ResultError, match="another classifier options than now"):
            run(Grid((further,), 0), tmp_path)
        monkeypatch.setitem(chosen, name, {"mean": (0.5,) * 3, "crop": 32}[name])


def test_results_of_another_surrogate_are_not_mixed_in(pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "surrogate.safetensors"
    attacks = [
        {
            "attack": f"ensemble(classifiers=small_resnet(weights={weights}, classes=5))",
            "access": "transfer",
            "eps": "4/255",
        }
    ]
    begun = grid(pictures, attacks=attacks, defenses=["none"], size=32, examples=2)
    for seed in range(2):
        torch.manual_seed(seed)
        checkpoints.save(rain.load_classifier("small_resnet", classes=5), weights, {})
        if seed == 0:
            run(begun, tmp_path / "results")
    with pytest.raises(ResultError, match="another attack files than now"):
        run(begun, tmp_path / "results")


def result(made_by: dict[str, str], **changes: Any) -> Result:
    cell = Cell("samples", 224, "c", "rain", "pgd", "linf", 4 / 255, "adaptive", 20, 2, 0, 5, 2)
    return Result(replace(cell, **changes), (), True, {name: (value,) for name, value in made_by.items()})


@pytest.mark.parametrize(
    ("name", "changes", "defense"),
    [
        ("torch", {"dataset": "other", "classifier": "d", "defense": "jpeg", "attack": "fgsm"}, ""),
        ("data_digest", {"classifier": "d", "size": 96}, ""),
        ("classifier_weights", {"dataset": "other", "defense": "jpeg"}, ""),
        ("defense_weights", {"attack": "fgsm"}, "rain"),
        ("precision", {"attack": "fgsm"}, "rain"),
        ("attack", {"defense": "jpeg"}, ""),
        ("plugin_code", {"eps": 0.5}, "rain"),
    ],
)
def test_a_fact_is_one_for_all_cells_that_it_belongs_to(
    name: str, changes: dict[str, Any], defense: str
) -> None:
    first, second = result({name: "a"}), result({name: "b"}, **changes)
    assert differences([first, second]) == [(name, defense, ("a", "b"))]
    assert not differences([first, result({name: "a"}, **changes)])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("data_digest", {"dataset": "other"}),
        ("classifier_options", {"classifier": "d"}),
        ("defense_random", {"defense": "jpeg"}),
        ("attack_files", {"attack": "fgsm"}),
        ("precision", {"access": "transfer"}),
        ("precision", {"attack": "none"}),
    ],
)
def test_a_fact_may_differ_elsewhere(name: str, changes: dict[str, Any]) -> None:
    assert not differences([result({name: "a"}), result({name: "b"}, **changes)])


def test_what_makes_a_cell_is_in_the_table(pictures: Path) -> None:
    assets = Assets(CPU, "bf16-mixed" if is_mixed("auto", CPU) else "32-true")
    for cell in grid(pictures).cells:
        assert assets.made_by(cell).keys() <= FACTS.keys()
