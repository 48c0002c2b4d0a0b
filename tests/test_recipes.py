"""What the documents and the package tell a user to do, done."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models import tiny
from PIL import Image
from typer.testing import CliRunner

import rain
from rain.bench import runners
from rain.bench.cells import Cell
from rain.bench.grid import Grid, read, shipped
from rain.bench.plan import prepare
from rain.cli.main import app
from rain.specs import canonical

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


STUDIES = sorted((ROOT / "grids").glob("*.toml"))


@pytest.mark.filterwarnings("ignore:.*this is no ablation")
@pytest.mark.parametrize(
    "path",
    [*shipped().values(), *(pytest.param(path, marks=pytest.mark.slow) for path in STUDIES)],
    ids=lambda path: path.stem,
)
def test_every_grid_runs_on_two_small_pictures(path: Path, tmp_path: Path) -> None:
    results = runners.run(of_small_pictures(path, tmp_path), tmp_path / "out")
    assert results
    assert all(result.complete for result in results)


@pytest.mark.filterwarnings("ignore:.*this is no ablation")
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_grid_of_every_study_could_begin(path: Path, tmp_path: Path) -> None:
    """Names, options and access are those that there are; that it runs is seen where the study is made."""
    grid = of_small_pictures(path, tmp_path)
    assert len(prepare(grid, tmp_path / "out").work) >= len(grid.cells)


def of_small_pictures(path: Path, folder: Path) -> Grid:
    """The cells of a grid file on two small pictures, made here, before a small classifier."""
    random = np.random.default_rng(0)
    for index in range(2):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "labels.csv").write_text("file,label\n0.png,0\n1.png,1\n")
    return Grid(tuple({small(cell, f"csv:{folder}") for cell in read(path).cells}), gallery=1)


MOST = {"steps": 4, "queries": 60, "tries": 20, "searches": 2}


def shorter(option: re.Match[str]) -> str:
    return f"{option[1]}={min(int(option[2]), MOST[option[1]])}"


def small(cell: Cell, dataset: str) -> Cell:
    """The same cell on two small pictures, before a small classifier."""
    # Weight files are what the user of a grid brings or trains first: a fresh clone has none.
    attack = re.sub(r"weights=[^()]*\.safetensors", "weights=None", cell.attack)
    attack = re.sub(r"\b(steps|queries|tries|searches)=(\d+)", shorter, attack)
    defense = re.sub(r"weights=[^()]*\.safetensors", "weights=None", cell.defense)
    # Nobody calibrated a gate or an alarm before the small classifier.
    defense = re.sub(r"^gated\((.*)\)$", r"gated(\1, threshold=0.5)", defense)
    defense = re.sub(r"^squeezing$", "squeezing(threshold=1)", defense)
    return replace(
        cell,
        defense=canonical(defense),
        attack=attack,
        dataset=dataset,
        size=32,
        classifier="models:tiny",
        examples=2,
        eot=min(cell.eot, 2),
        draws=min(cell.draws, 4),
    )


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain, "load_classifier", lambda spec: tiny().eval(), raising=False)
    names = {
        "images": torch.rand(2, 3, 32, 32),
        "labels": torch.tensor([0, 1]),
        "network": tiny(),
        "classifier": tiny(),
    }
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["hardened"], rain.Hardened)


def commands() -> list[list[str]]:
    """The words of each ``rain`` and ``make`` command of the README, without its comment."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.split("#")[0].split() for line in lines if line.startswith(("rain ", "make "))]


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {words[1] for words in commands() if words[0] == "make"}
    assert {"demo", "test"} <= named <= set(targets)


def test_the_commands_of_the_readme_exist() -> None:
    for program, name, *rest in commands():
        if program != "rain":
            continue
        answer = CliRunner().invoke(app, [name, "--help"])
        assert answer.exit_code == 0, name
        for option in (word for word in rest if word.startswith("--")):
            assert option in answer.output, (name, option)


def test_every_file_that_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
