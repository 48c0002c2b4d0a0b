"""What ``rain run`` and ``rain demo`` say before they start."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.bench.cells import load
from rain.cli.main import app
from rain.errors import ClassifierError

GRID = """
dataset = "csv:{pictures}"
classifier = "models:seeing(side=24)"
defenses = ["none", "jpeg"]
examples = 7
[[attacks]]
attack = "none"
[[attacks]]
attack = "pgd(steps=40, confidence=inf)"
access = "static"
eps = "4/255"
"""
SMALL_DEMO = """
dataset = "samples"
default_size = 16
classifier = "efficientnet_lite0"
defenses = ["none", "jpeg"]
examples = 20
[[attacks]]
attack = "none"
"""


def rain(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


@pytest.fixture
def grid(pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures))
    return path


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of clean images only, in an empty folder."""
    path = tmp_path / "demo.toml"
    path.write_text(SMALL_DEMO)
    monkeypatch.setattr("rain.bench.grid.shipped", lambda: {"demo": path})
    monkeypatch.chdir(tmp_path)


def test_the_time_is_said_before_the_work(grid: Path, tmp_path: Path) -> None:
    output, _ = rain("run", grid, "--out", tmp_path / "out")
    announced, _, _ = output.partition("\n\n")
    assert "on 7 images" in announced
    assert "at 24 pixels" in announced
    assert re.search(r"it will take about \d+ s; Ctrl-C keeps what is finished", announced)


def test_a_complete_run_has_nothing_to_measure(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, _ = rain("run", grid, "--out", out)
    assert "nothing to measure" not in first
    second, _ = rain("run", grid, "--out", out)
    assert f"nothing to measure: all of it is in {out}" in second
    assert "it will take" not in second
    assert second.partition("\n\n")[2] == first.partition("\n\n")[2]


def test_little_work_is_not_timed(grid: Path, tmp_path: Path) -> None:
    grid.write_text(grid.read_text().replace("steps=40", "steps=1").replace("examples = 7", "examples = 1"))
    output, _ = rain("run", grid, "--out", tmp_path / "out")
    assert "it will take" not in output


@pytest.mark.usefixtures("demo")
def test_the_demo_takes_so_many_examples(pictures: Path, tmp_path: Path) -> None:
    options = ("--classifier", "models:tiny", "--dataset", f"csv:{pictures}")
    rain("demo", *options, "--examples", 3)
    rain("demo", *options)
    counts = {path.name: load(path)[0].cell.examples for path in (tmp_path / "runs").iterdir()}
    assert sorted(counts.values()) == [3, 7]  # of two folders: two reports
    _, errors = rain("demo", *options, "--examples", 8, status=1)
    assert "has 7 images, the grid asks for 8" in errors


@pytest.mark.usefixtures("demo")
@pytest.mark.filterwarnings("ignore:1 of 7 images")
def test_damaged_images_are_left_out_where_it_is_asked(pictures: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pictures, tmp_path / "torn"))
    (root / "2.png").write_bytes(b"no picture")
    options = ("demo", "--classifier", "models:tiny", "--dataset", f"csv:{root}", "--out", tmp_path / "out")
    _, errors = rain(*options, status=1)
    assert "--skip-damaged" in errors
    assert len(errors.strip().splitlines()) == 1
    output, _ = rain(*options, "--skip-damaged")
    text = " ".join(output.split())
    assert "1 of 7 images" in text
    assert "damaged and left out (index 2)" in text
    assert "Damaged images, left out" in (tmp_path / "out" / "report.html").read_text()


def test_a_model_that_cannot_be_timed_is_left_to_the_run(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> float:
        raise ClassifierError("the classifier must answer with logits")

    monkeypatch.setattr("rain.bench.outlook._pace", refuse)
    output, _ = rain("run", grid, "--out", tmp_path / "out")
    assert "it will take" not in output
    assert all(result.complete for result in load(tmp_path / "out"))


def test_little_work_behind_a_slow_defence_is_said(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = grid.read_text().replace("steps=40", "steps=2").replace("examples = 7", "examples = 1")
    grid.write_text(text)
    monkeypatch.setattr("rain.bench.outlook.seconds_for", lambda *_: 3.0)
    output, _ = rain("run", grid, "--out", tmp_path / "out")
    # Of each column one clean answer, one to what was attacked, and two steps.
    assert "it will take about 24 s; Ctrl-C" in output


def test_options_of_a_cluster_are_not_ignored(grid: Path, tmp_path: Path) -> None:
    for options in (("--hours", 2), ("--gpus", 1), ("--jobs", 3)):
        _, told = rain("run", grid, "--out", tmp_path / "out", *options, status=1)
        assert f"{options[0]} would be ignored by a run without --slurm" in told
    assert not (tmp_path / "out").exists()


def test_the_page_measures_nothing() -> None:
    _, told = rain("demo", "--page", "--dataset", "nope", "--skip-damaged", status=1)
    assert "--dataset, --skip-damaged would be ignored by the page" in told
