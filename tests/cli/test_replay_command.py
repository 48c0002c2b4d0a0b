"""``rain run --keep-images`` and ``rain replay``: what they say."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.cli.main import app

GRID = """
dataset = "csv:{pictures}"
size = "native"
classifier = "models:tiny"
defenses = ["none", "jpeg"]
examples = 3
chunk = 3
[[attacks]]
attack = "pgd(steps=2)"
access = ["transfer", "static"]
eps = "8/255"
"""


def rain(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def grid(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "grid.toml"
    path.write_text(GRID.format(pictures=pictures))
    return path


@pytest.fixture(scope="module")
def kept(grid: Path) -> Path:
    folder = grid.parent / "kept"
    output, _ = rain("run", grid, "--out", folder, "--keep-images", "png")
    assert "6 attacked images are kept, as png: up to" in output
    assert "are free" in output
    return folder


def test_a_replay_prints_a_matrix_of_what_was_made_against_what(kept: Path, tmp_path: Path) -> None:
    judges = ["--defense", "none", "--defense", "jpeg", "--classifier", "models:tiny"]
    output, _ = rain("replay", kept, *judges, "--out", tmp_path)
    assert "4 chunks to judge; the images are rounded to 8 bits" in output
    _, _, matrix = output.partition("judged by (columns, before models:tiny)")
    head, _, *lines = [line.split() for line in matrix.splitlines() if line.strip()]
    assert head == ["Made", "against", "Access", "Budget", "Attack", "none", "jpeg"]
    assert [line[:-2] for line in lines] == [
        ["jpeg", "before", "models:tiny", "static", "8/255", "pgd(steps=2)"],
        ["none", "before", "models:tiny", "transfer", "8/255", "pgd(steps=2)"],
    ]
    assert all(0 <= float(figure) <= 100 for line in lines for figure in line[-2:])
    again, _ = rain("replay", kept, *judges, "--out", tmp_path)
    assert "0 chunks to judge" in again


def test_a_run_says_what_an_earlier_one_did_not_keep(grid: Path, tmp_path: Path) -> None:
    rain("run", grid, "--out", tmp_path)
    with pytest.warns(UserWarning, match="4 chunks in .* were finished before without keeping"):
        output, _ = rain("run", grid, "--out", tmp_path, "--keep-images", "float")
    assert "nothing to measure" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--defense", "jpeg"], "give --classifier"),
        (["--defense", "jpg", "--classifier", "models:tiny"], "did you mean 'jpeg'"),
        (["--defense", "none", "--classifier", "models:tiny", "--dataset", "samples"], "of other images"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, kept: Path, tmp_path: Path) -> None:
    _, errors = rain("replay", kept, *arguments, "--out", tmp_path, status=1)
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_form_that_is_none_is_refused(grid: Path, tmp_path: Path) -> None:
    _, errors = rain("run", grid, "--out", tmp_path, "--keep-images", "jpg", status=1)
    assert "images are kept as png or float, got 'jpg'" in errors
