from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid

from rain.bench.cells import Cell
from rain.bench.measure import Bench
from rain.bench.runners import run
from rain.errors import (
    DatasetError,
    GridError,
    OptionError,
    ResultError,
    UnknownNameError,
)

CPU = torch.device("cpu")


def test_a_grid_is_measured_whole_at_each_images_own_size(pictures: Path, tmp_path: Path) -> None:
    results = run(grid(pictures), tmp_path)
    assert len(results) == 15
    for result in results:
        assert result.complete
        assert [outcome.index for outcome in result.outcomes] == list(range(7))
        assert [outcome.label for outcome in result.outcomes] == [0, 1, 2, 3, 4, 0, 1]
        limit = result.cell.eps * 1.00001 + 1e-6
        assert all(
            outcome.distance <= limit and len(outcome.clean) == len(outcome.robust) == result.cell.draws
            for outcome in result.outcomes
        )


def test_only_what_is_random_gets_several_draws(pictures: Path, tmp_path: Path) -> None:
    results = run(grid(pictures), tmp_path)
    draws = {
        (result.cell.defense, result.cell.draws, result.cell.eot)
        for result in results
        if result.cell.access == "adaptive"
    }
    assert draws == {("none", 1, 1), ("jpeg", 1, 1), ("rain(enhancer=bicubic)", 3, 4)}


def test_a_second_run_computes_nothing_and_a_part_is_completed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(grid(pictures), tmp_path)
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    gone = sorted(contents)[3]
    gone.unlink()
    measured: list[tuple[Cell, int]] = []
    real = Bench.measure
    monkeypatch.setattr(
        Bench,
        "measure",
        lambda self, cell, chunk, **rest: (measured.append((cell, chunk)), real(self, cell, chunk, **rest))[
            1
        ],
    )
    assert run(grid(pictures), tmp_path) == first
    assert len(measured) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == contents


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"examples": 8}, GridError, "has 7 images, the grid asks for 8"),
        ({"defenses": ["rian"]}, UnknownNameError, "did you mean 'rain'"),
        ({"classifier": "models:tinny"}, Exception, "tinny"),
        (
            {"attacks": [{"attack": "pgd(stepz=3)", "access": "static", "eps": 0.1}]},
            OptionError,
            "no option 'stepz'; did you mean 'step",
        ),
        (
            {"attacks": [{"attack": "pdg", "access": "static", "eps": 0.1}]},
            UnknownNameError,
            "did you mean 'pgd'",
        ),
        ({"dataset": "csv:nowhere"}, DatasetError, "nowhere"),
        ({"attacks": [{"attack": "pgd(steps=many)", "access": "static", "eps": 0.1}]}, OptionError, "steps"),
        (
            {"attacks": [{"attack": "pgd(confidence=much)", "access": "static", "eps": 0.1}]},
            OptionError,
            "confidence must be a number of at least 0, got 'much'",
        ),
        (
            {"attacks": [{"attack": "pgd(eps=0.5)", "access": "static", "eps": 0.1}]},
            OptionError,
            "eps is given with the call",
        ),
        ({"defenses": ["rain(shift=far)"]}, OptionError, "shift, a fraction of the side, must be a number"),
        ({"defenses": ["rain(shfit=0.1)"]}, OptionError, "no option 'shfit'; did you mean 'shift'"),
        (
            {"defenses": ["rain(enhancer=compact(wieghts=large))"]},
            OptionError,
            "no option 'wieghts'; did you mean 'weights'",
        ),
        ({"dataset": "csv:{pictures}(licenze=mine)"}, OptionError, "did you mean 'licence'"),
    ],
)
def test_a_mistake_in_a_grid_shows_before_anything_is_computed(
    pictures: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(grid(pictures, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told_before_the_work(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ResultError, match="no folder can be made"):
            run(grid(pictures), out)


def test_a_device_that_is_not_there_is_told(pictures: Path, tmp_path: Path) -> None:
    for device in ("nonsense", "meta"):
        with pytest.raises(OptionError, match=f"{device}.*cannot be used here"):
            run(grid(pictures), tmp_path, device=device)
