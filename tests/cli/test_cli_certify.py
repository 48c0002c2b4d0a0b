"""``rain certify``: what it takes, what it prints, and what it refuses."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.bench.certificates import load_certified
from rain.cli.main import app

GRID = """
dataset = "csv:{pictures}"
size = "native"
classifier = "models:tiny"
defenses = ["none", "rain(enhancer=bicubic)", "smooth(sigma=0.1)"]
examples = 2
[[attacks]]
attack = "none"
"""
FEW = ("--n0", 5, "--n", 20, "--device", "cpu")


def call(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, ("certify", *arguments))))
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_several_sigmas_of_a_classifier_and_images(pictures: Path, tmp_path: Path) -> None:
    options = ("--images", pictures, "--classifier", "models:tiny", "--size", 0, "--examples", 2)
    text = call(*options, *FEW, "--sigma", 0.1, "--sigma", 0.5, "--out", tmp_path)
    assert "models:tiny behind smooth(sigma=0.1), smooth(sigma=0.5), on 2 images" in text
    assert "5 + 20 draws for each image; a certificate is wrong with a chance of at most 0.001" in text
    assert "l2 0.25" in text
    assert sorted(result.cell.sigma for result in load_certified(tmp_path)) == [0.1, 0.5]
    again = call(*options, *FEW, "--sigma", 0.1, "--sigma", 0.5, "--out", tmp_path)
    assert "nothing to certify" in again


def test_a_grid_says_which_of_its_defences_are_left_out(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures))
    text = call(path, *FEW, "--out", tmp_path / "out")
    assert "rain(enhancer=bicubic) is left out: Rain does not begin with Gaussian noise" in text
    assert "none is left out" not in text
    (result,) = load_certified(tmp_path / "out")
    assert result.cell.defense == "smooth(sigma=0.1)"
    call(path, *FEW, "--out", tmp_path / "other", "--chunk", 1, "--seed", 7, "--images", pictures)
    (other,) = load_certified(tmp_path / "other")
    assert (other.cell.chunk, other.cell.seed) == (1, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to certify: give a grid, or --images"),
        (("demo", "--sigma", 0.5), "a grid says its defences"),
        (("--images", "samples", "--defense", "rain", "--sigma", 0.5), "does not begin with it"),
        (("--images", "samples", "--defense", "rain"), "does not begin with Gaussian noise"),
        (("--images", "samples", "--alpha", 0.7), "alpha must be"),
    ],
)
def test_what_cannot_be_certified_is_one_line(options: tuple, message: str, tmp_path: Path) -> None:
    text = call(*options, "--classifier", "models:tiny", "--out", tmp_path, status=1)
    assert message in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1


def test_a_seed_that_no_file_may_hold_is_refused_before_the_work(pictures: Path, tmp_path: Path) -> None:
    options = ("--images", pictures, "--classifier", "models:tiny", "--sigma", 0.1, "--examples", 1)
    text = call(*options, *FEW, "--out", tmp_path / "out", "--seed", 10**22, status=1)
    assert "seed must be an integer of 64 bits" in text
    assert not (tmp_path / "out").exists()
