"""``rain prove``: what it takes, what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.bench import proofs
from rain.bench.grid import read
from rain.bench.runners import run
from rain.cli.main import app

GRID = """
dataset = "csv:{pictures}"
size = "native"
classifier = "models:tiny"
defenses = ["none", "jpeg"]
examples = 4
chunk = 2
[[attacks]]
attack = "pgd(steps=8)"
access = "{access}"
eps = "16/255"
[[attacks]]
attack = "pgd(steps=1, step=1/25500)"
access = "{access}"
eps = "16/255"
"""


def call(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, ("prove", *arguments))))
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_it_says_which_attacks_are_fit(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures, access="adaptive"))
    options = ("--out", tmp_path / "out", "--examples", 3, "--inside", 30, "--device", "cpu")
    text = call(path, *options)
    assert "2 tests, on up to 3 images each" in text
    assert "fit: pgd(steps=8) (adaptive; 16/255, linf) on jpeg finds 100.0 %" in text
    assert "NOT FIT to call it robust: pgd(" in text
    assert {proof.passed for proof in proofs.load(tmp_path / "out")} == {True, False}
    again = call(path, *options)
    assert "nothing to prove" in again
    assert "fit: pgd(steps=8)" in again


def test_more_images_are_proven_without_the_first_ones_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures, access="adaptive"))
    call(path, "--out", tmp_path / "out", "--examples", 2, "--inside", 5, "--device", "cpu")
    saved = []
    real = proofs.save
    monkeypatch.setattr(proofs, "save", lambda *arguments: (saved.append(arguments[2]), real(*arguments)))
    call(path, "--out", tmp_path / "out", "--examples", 4, "--inside", 5, "--device", "cpu")
    assert saved == [1, 1]


def test_a_grid_without_adaptive_attacks_is_refused(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures, access="transfer"))
    assert "nothing to prove: the grid needs an adaptive attack" in call(path, "--out", tmp_path, status=1)


@pytest.mark.parametrize("within", ["", "proofs/"])
def test_a_folder_of_results_or_proofs_of_other_weights_is_refused(
    within: str, pictures: Path, tmp_path: Path
) -> None:
    """Of a proof, too, that this grid does not ask for."""
    path, out = tmp_path / "grid.toml", tmp_path / "out"
    path.write_text(GRID.format(pictures=pictures, access="adaptive"))
    if within:
        call(path, "--out", out, "--examples", 1, "--inside", 5, "--device", "cpu")
    else:
        run(read(path), out)
    for file in out.glob(f"{within}*/0*.json"):
        content = json.loads(file.read_text())
        content["made_by"] |= {"classifier_weights": "other"}
        file.write_text(json.dumps(content))
    text = call(path, "--out", out, "--examples", 2, "--inside", 5, "--device", "cpu", status=1)
    assert "made with another classifier weights than now: choose a fresh folder" in " ".join(text.split())
