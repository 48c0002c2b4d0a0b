"""``rain cost``: what a defence costs, in accuracy and in time."""

import json
from pathlib import Path
from typing import Any

import pytest
from measuring import grid
from typer.testing import CliRunner

from rain.bench.cost import BARE, dataset_of, measure_cost
from rain.bench.metrics import accuracy, interval
from rain.bench.runners import run
from rain.cli.main import app
from rain.errors import DatasetError, OptionError
from rain.runtime.forecast import duration_text

RAIN = "rain(enhancer=bicubic)"
SEEING = "models:seeing(side=24)"


@pytest.fixture(autouse=True)
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.bench.cost.PASSES", (2, 2))


def cost(*arguments: object, status: int = 0) -> tuple[str, str]:
    command = ["cost", "--classifier", SEEING, "--defense", RAIN, *map(str, arguments)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def test_accuracies_are_those_that_a_run_measures(pictures: Path, tmp_path: Path) -> None:
    measured = measure_cost("models:tiny", f"csv:{pictures}", RAIN, draws=3, size=32)
    clean = {"attacks": [{"attack": "none"}], "defenses": ["none", RAIN], "size": 32}
    bare, defended = run(grid(pictures, **clean, chunk=4), tmp_path)
    if bare.cell.defense != "none":
        bare, defended = defended, bare
    assert [line.draws for line in measured.lines] == [BARE, 1, 3]
    rates = [accuracy(bare), accuracy(defended), accuracy(defended, averaged=True)]
    assert [line.rate for line in measured.lines] == pytest.approx(rates)
    assert measured.images == 7
    for line in measured.lines:
        assert (line.low, line.high) == interval(line.rate, 7)
        assert line.lost == pytest.approx(rates[0] - line.rate)


def test_times_are_of_the_size_that_the_classifier_sees(pictures: Path) -> None:
    measured = measure_cost(SEEING, f"csv:{pictures}", RAIN, draws=4, examples=4)
    bare, single, averaged = measured.lines
    assert measured.size == 24
    assert bare.ratio == 1
    assert single.ratio == pytest.approx(single.milliseconds / bare.milliseconds)
    assert min(bare.milliseconds, single.milliseconds, averaged.milliseconds) > 0
    own = single.milliseconds - bare.milliseconds
    assert measured.defense_milliseconds == pytest.approx(max(0, own))
    assert measure_cost(SEEING, f"csv:{pictures}", "jpeg", size=None).size is None


def test_without_labels_it_measures_agreement(pictures: Path, folder: Path) -> None:
    output, _ = cost("--images", pictures.parent / pictures.name, "--examples", 3)
    assert "right on" in output  # there is a labels.csv in the folder
    output, _ = cost("--images", f"pictures:{folder}")
    assert "agrees with bare on" in output
    assert "changes the answer to" in output
    assert "The images have no labels" in output
    alone = measure_cost(SEEING, f"pictures:{folder}", "jpeg")
    assert not alone.labelled
    assert alone.lines[0].rate == 1


def test_the_table_says_what_it_is_of_and_what_the_ratio_depends_on(pictures: Path) -> None:
    output, _ = cost("--images", pictures, "--draws", 2)
    assert output.startswith(f"{SEEING} behind {RAIN}: 7 images of csv:{pictures}, at 24 pixels, on ")
    lines = [line.split()[0] for line in output.splitlines() if " % (" in line and "intervals" not in line]
    assert lines == ["bare", "1", "2"]
    assert "its work depends on the pixels only. So a small classifier pays more" in output
    assert "n draws take n times as long" in output


def test_a_defence_without_randomness_needs_one_draw(pictures: Path) -> None:
    measured = measure_cost(SEEING, f"csv:{pictures}", "jpeg")
    assert [line.draws for line in measured.lines] == [BARE, 1]
    output, _ = cost("--images", pictures, "--defense", "jpeg")
    assert "n draws" not in output


def test_json_is_one_object_and_nothing_else(pictures: Path) -> None:
    output, _ = cost("--images", pictures, "--json")
    one: dict[str, Any] = json.loads(output)
    assert one["measures"] == "accuracy"
    assert (one["classifier"], one["defense"], one["size"], one["images"]) == (SEEING, RAIN, 24, 7)
    assert set(one["lines"][0]) == {
        *("draws", "rate", "low", "high", "lost", "p", "milliseconds", "ratio"),
    }


def test_damaged_pictures_are_left_out_and_said(pictures: Path, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes((pictures / f"{index}.png").read_bytes()[: 10000 * index])
    with pytest.warns(UserWarning, match="1 of 3 images of .* are damaged and left out"):
        assert measure_cost(SEEING, str(tmp_path), "jpeg").images == 2
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="none is left"):
        measure_cost(SEEING, str(tmp_path), "jpeg")


def test_what_cannot_be_measured_is_one_line(pictures: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (("--images", tmp_path / "nowhere"), "no such folder"),
        (("--images", pictures, "--defense", "none"), "costs nothing"),
        (("--images", pictures, "--examples", 8), "has 7 images, and 8 were asked for"),
        (("--images", pictures, "--defense", "rian"), "did you mean 'rain'"),
        (("--images", "cvs:x"), "cvs:x"),
    ]:
        _, errors = cost(*arguments, status=1)
        assert message in errors
        assert len(errors.strip().splitlines()) == 1, errors
    with pytest.raises(OptionError, match="costs nothing"):
        measure_cost(SEEING, str(pictures), "none")


def test_a_folder_is_labelled_by_its_table(pictures: Path, folder: Path) -> None:
    assert dataset_of(str(pictures)) == f"csv:{pictures}"
    assert dataset_of(str(folder)) == f"pictures:{folder}"
    assert dataset_of(f"folder:{folder}") == f"folder:{folder}"
    for nowhere in ("nowhere/at/all", "~nobody-at-all/pictures", 300 * "x"):
        assert dataset_of(nowhere) == f"pictures:{nowhere}"


def test_a_slow_defence_says_what_it_will_take(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, errors = cost("--images", pictures, "--draws", 3)
    assert not errors
    monkeypatch.setattr("rain.bench.cost.seconds_for", lambda *_: 2.0)
    _, errors = cost("--images", pictures, "--draws", 3)
    # Three rounds of four images on one and on three draws; then seven images on three draws.
    assert f"itself will take {duration_text(2.0 * (3 * 4 * 4 + 7 * 3))}" in errors
